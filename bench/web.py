"""The web process as production starts it, and load on it, for the benches of the API."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from bench.stage import ROOT
from config.embedded.processes import free_port
from config.env import data_dir_of

READY_S = 60.0


@dataclass(frozen=True)
class Web:
    """A web process that answers."""

    port: int
    process: psutil.Process


@contextmanager
def web(application: str = "config.wsgi:application") -> Iterator[Web]:
    """What the Procfile calls `web`, on a port of its own, or the same server with another application; ended with the
    block."""
    port = free_port(None)
    log = data_dir_of(os.environ) / "logs" / f"bench-{application.partition(':')[0]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ) | {"PORT": str(port)}
    with log.open("w") as out:
        process = subprocess.Popen(
            command(port, application), cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        _ready(port, process, log)
        yield Web(port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(timeout=60)


def command(port: int, application: str) -> list[str]:
    """The Procfile's line for web, with this Python, port and application."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    line = next(line for line in lines if line.startswith("web: ")).removeprefix("web: ")
    values = {"PORT": str(port)}
    line = re.sub(r"\$\{(\w+):-(\w+)\}", lambda found: values.get(found[1], found[2]), line)
    program, *arguments = shlex.split(line.replace("0.0.0.0", "127.0.0.1"))
    return [sys.executable, "-m", program, *arguments[:-1], application]


def _ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"The web process did not start: see {log}")


def put_load(
    port: int,
    *,
    path: str,
    keys: Sequence[str],
    body: Mapping[str, Any],
    rate: float,
    seconds: float,
    connections: int,
    warm: int = 0,
    first: int = 0,
) -> tuple[dict[str, Any], list[uuid.UUID]]:
    """Load from a process of its own (bench/load.py): what came of it, and the ids of what was accepted."""
    text = json.dumps(body, separators=(",", ":"))
    heads = [
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text.encode())}\r\n\r\n"
        for key in keys
    ]
    accepted = data_dir_of(os.environ) / "run" / "bench-accepted"
    job = {
        "port": port, "rate": rate, "seconds": seconds, "connections": connections, "warm": warm, "head": heads,
        "body": text, "accepted": str(accepted), "first": first,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], cwd=ROOT, input=json.dumps(job), capture_output=True, text=True,
        timeout=seconds + 120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"The load generator failed: {done.stderr[-2000:]}")
    ids = [uuid.UUID(text) for text in accepted.read_text().split()]
    return json.loads(done.stdout), ids
