"""A whole Weir under its supervisor, as `make run` starts it, and an integrator's view of it from outside."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from config.embedded.layout import make_layout
from config.embedded.processes import free_port, working_in
from config.env import BASE_DIR

START_SECONDS = 120.0


class System:
    """`manage.py up --no-demo` in a data directory of its own; `api_key` belongs to a tenant of plan `pro`."""

    command: tuple[str, ...] = ("manage.py", "up", "--no-demo")
    start_seconds = START_SECONDS
    folder = BASE_DIR
    """The code that runs."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        # Not one fixed port: other test runs on this machine start systems of theirs at the same time.
        self.data_dir, self.port = data_dir, free_port(random.randrange(18_000, 28_000, 2))
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.environment = {
            **keep,
            "WEIR_ENV": "test",
            "WEIR_DATA_DIR": str(data_dir),
            "PORT": str(self.port),
        }
        self.environment |= environment
        self.log = data_dir.parent / "up.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=self.folder, env=self.environment, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._wait_until_ready()
        made = subprocess.run(
            [sys.executable, "manage.py", "create_tenant", "--name", "Acme", "--email", "a@acme.example", "--plan", "pro",
             "--json"],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        self.tenant = json.loads(made.stdout.strip().splitlines()[-1])
        sandbox = json.loads((data_dir / "run" / "sandbox.json").read_text())["port"]
        self.sandbox_url = f"http://127.0.0.1:{sandbox}/_sandbox"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"Weir did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> int:
        """Ask it to stop as Ctrl-C would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=90)

    def children(self, *words: str) -> list[psutil.Process]:
        """Processes under the supervisor whose command line has all these words."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if all(word in " ".join(process.cmdline()) for word in words):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, *words: str) -> int:
        """kill -9 of every process of the supervisor's with these words in its command; how many."""
        victims = self.children(*words)
        for victim in victims:
            victim.kill()
        return len(victims)

    def kill_server(self, name: str) -> int:
        """kill -9 of the embedded `postgres` or `redis-server`, with its children."""
        layout = make_layout(self.data_dir)
        folder = layout.pgdata if name == "postgres" else layout.redis_dir
        pids = list(working_in(folder, name))
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(pids)

    # --- the API from outside ------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, *, tries: int = 1) -> Any:
        """The parsed answer; with several tries, a server that is being restarted is asked again."""
        for attempt in range(tries):
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}/api/v1{path}",
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={
                    "Authorization": f"Bearer {self.tenant['api_key']}",
                    "Content-Type": "application/json",
                },
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code < 500 or attempt == tries - 1:
                    raise AssertionError(
                        f"{method} {path}: {error.code} {error.read().decode()[:500]}"
                    ) from error
            except OSError:
                if attempt == tries - 1:
                    raise
            time.sleep(1)
        raise AssertionError("unreachable")

    def upload(self, content: bytes, filename: str = "contacts.csv") -> Any:
        edge = "weir-edge"
        body = (
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
            "Content-Type: text/csv\r\n\r\n"
        ).encode() + content + f"\r\n--{edge}--\r\n".encode()  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/uploads",
            data=body,
            headers={
                "Authorization": f"Bearer {self.tenant['api_key']}",
                "Content-Type": f"multipart/form-data; boundary={edge}",
            },
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def csv_of(self, run_id: str) -> list[dict[str, str]]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/runs/{run_id}/results.csv",
            headers={"Authorization": f"Bearer {self.tenant['api_key']}"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return list(csv.DictReader(io.TextIOWrapper(answer, "utf-8-sig", newline="")))

    def sandbox(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.sandbox_url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def connect_vendors(self, **limits: Any) -> None:
        """The three vendors of the email waterfall in sandbox mode, the sandbox enforcing the same limits."""
        limits = {"windows": [{"rate": 10_000, "period": 1}], "parallelism": 20, **limits}
        for provider in ("prospeo", "findymail", "zerobounce"):
            key = f"key-{provider}"
            self.sandbox("POST", "keys", {"provider": provider, "key": key, **limits})
            self.call(
                "POST", "/connections", {"provider": provider, "secret": key, "mode": "sandbox", **limits}
            )

    def wait_for(self, run_id: str, *, seconds: float, until: int | None = None) -> Any:
        """The run when it has ended, or when `until` of its records have."""
        deadline = time.monotonic() + seconds
        run: Any = None
        while time.monotonic() < deadline:
            run = self.call("GET", f"/runs/{run_id}", tries=60)
            ended = run["records"]["total"] - run["records"]["queued"] - run["records"]["running"]
            if run["finished_at"] or (until is not None and ended >= until):
                return run
            time.sleep(0.2)
        raise AssertionError(f"the run has not come that far in {seconds} s: {run}")
