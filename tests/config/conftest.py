"""Data directories with servers of their own, and processes that do not outlive a test."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.embedded import destroy
from config.embedded.keeper import wait_until_gone
from config.env import BASE_DIR

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A fresh data directory; whatever its servers left elsewhere goes too."""
    with tempfile.TemporaryDirectory(prefix="weir-test-") as folder:
        path = Path(folder) / "data"
        yield path
        if path.exists():
            wait_until_gone(path, seconds=30)
            destroy(path)


def bare_environment(**changes: str) -> dict[str, str]:
    """The environment of a newcomer's shell, with changes."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | changes


@pytest.fixture
def run_python() -> Iterator[Run]:
    """Start Python code in a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=BASE_DIR,
            env=bare_environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)


def eventually(condition: Callable[[], object], *, seconds: float = 15.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())
