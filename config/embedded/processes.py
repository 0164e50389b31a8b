"""Start, recognise and stop the server processes. Linux: relies on /proc and on the parent-death signal."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from config.files import Account

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> Callable[[], None]:
    """A preexec function: the kernel sends `number` to the child when the starting thread ends.

    Made before the fork, so that the child only does one system call. Changing the user clears the setting,
    therefore it must run after that (subprocess does).
    """
    parent = os.getpid()

    def set_death_signal() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # died between fork and prctl
            os._exit(1)

    return set_death_signal


def spawn(
    argv: list[str],
    *,
    log: Path | None,
    cwd: Path,
    account: Account | None,
    death_signal: int,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that a terminal's Ctrl-C does not reach it.

    It gets `env` (else a bare environment) and writes to `log` (else to our own output). Call this from a thread that
    lives as long as the process should: its end ends the process.
    """
    with contextlib.ExitStack() as files:
        out = files.enter_context(log.open("ab")) if log else None
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if log else None,
            cwd=cwd,
            env=clean_environment() if env is None else dict(env),
            start_new_session=True,
            umask=0o077,
            preexec_fn=die_with_parent(death_signal),
            **as_account(account),
        )


def as_account(account: Account | None) -> dict[str, Any]:
    """The subprocess arguments that drop to `account`; none when the caller's own account will do."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def clean_environment() -> dict[str, str]:
    """No PG* or language setting of the caller may change what the servers do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def working_in(directory: Path, name: str) -> list[int]:
    """Processes called `name` whose working directory is `directory`: a server of ours and its children."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            here = os.readlink(entry / "cwd") == str(directory)
            if here and (entry / "comm").read_text().strip() == name and _state(entry) != "Z":
                found.append(int(entry.name))
    return sorted(found)


def _state(entry: Path) -> str:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0]


def parent_of(pid: int) -> int | None:
    """The parent's id, or None when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], bool], *, seconds: float, step: float = 0.02) -> bool:
    """Poll until the condition holds; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True


def stop_child(child: subprocess.Popen[bytes], *, number: int, seconds: float) -> None:
    """Ask a child to stop and wait; kill it when it does not."""
    if child.poll() is None:
        child.send_signal(number)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait(10)


def free_port(preferred: int | None) -> int:
    """The preferred loopback port when nobody listens there, else any free one."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise OSError("no free loopback port")


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as source:
            source.seek(max(0, log.stat().st_size - 4096))
            return "\n".join(source.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
