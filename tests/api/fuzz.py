"""Schemathesis against the web server as production starts it: the schema that it serves is what it is held to."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.embedded.processes import die_with_parent, free_port
from config.env import BASE_DIR

START_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a run of schemathesis ended, and how many requests it made up and sent."""

    exit_code: int
    output: str
    cases: int

    @property
    def found(self) -> str:
        """What it complains of, without the progress before it."""
        _, _, rest = self.output.partition("= FAILURES =")
        return rest or self.output[-6_000:]


@contextmanager
def web(folder: Path, **environment: str) -> Iterator[tuple[str, int]]:
    """(address, process id) of a web server on this test's database and Redis, as the Procfile starts it."""
    port = free_port(None)
    line = next(row for row in (BASE_DIR / "Procfile").read_text().splitlines() if row.startswith("web:"))
    values = {"PORT": str(port), "WEB_CONCURRENCY": "1"}
    line = re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: values.get(found[1], found[2] or ""), line)
    command = line.partition(":")[2].replace("0.0.0.0", "127.0.0.1").split()
    log = folder / "web.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=BASE_DIR,
            env={**os.environ, "WEIR_ENV": "test", "WEIR_LOG_LEVEL": "WARNING", **environment},
            stdout=out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent(signal.SIGTERM),
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()[-3_000:]
                assert time.monotonic() < deadline, log.read_text()[-3_000:]
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def fuzz(
    url: str,
    key: str,
    folder: Path,
    named: dict[str, Any],
    *options: str,
    seconds: float,
    schema: Path | None = None,
) -> Outcome:
    """Run it with the key; `named` are values of path parameters that name things of the tenant's."""
    # Other methods than a route has: tests/invariants/test_routes_permissions.py.
    lines = [
        "[phases.coverage]",
        "unexpected-methods = []",
        "[parameters]",
        *(f'"path.{name}" = {json.dumps(str(value))}' for name, value in named.items()),
    ]
    (folder / "schemathesis.toml").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run",
         str(schema or f"{url}/api/schema/"), "--url", url, "--header", f"Authorization: Bearer {key}", "--no-color",
         *options],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(BASE_DIR)}, capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    output = done.stdout + done.stderr
    found = re.search(r"([\d,]+) generated", output)
    return Outcome(done.returncode, output, int(found[1].replace(",", "")) if found else 0)
