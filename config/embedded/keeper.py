"""The process that runs the embedded servers for as long as anybody uses them.

Every user holds a shared lock on one file, which the kernel gives back however the user ends. The keeper stops the
servers once it gets that lock for itself, and starts again what dies until then.

    python -m config.embedded DATA_DIR [--no-fsync]
"""

import contextlib
import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import IO

from config.embedded.errors import AlreadyHeld, EmbeddedError
from config.embedded.layout import lost_place
from config.embedded.processes import tail, wait_until
from config.embedded.servers import Endpoints, running, start
from config.files import locked, prepare_data_dir

_TICK = 0.1
_SETTLE_SECONDS = 150.0
_ROOT = Path(__file__).resolve().parents[2]

_spawned: list[tuple[Path, subprocess.Popen[bytes]]] = []
"""Keepers that this process started and has to reap, with their data directories; they may well outlive it."""


class Use:
    """A claim on the servers: they run at least until `release()` or until this process ends."""

    def __init__(self, data_dir: Path, endpoints: Endpoints, lock: IO[str]) -> None:
        self.data_dir, self.endpoints, self._lock = data_dir, endpoints, lock

    def fill(self, environ: MutableMapping[str, str]) -> None:
        """Add the addresses that an environment lacks: of the database, of Redis, or of both."""
        wanted = {name for name in ("DATABASE_URL", "REDIS_URL") if not environ.get(name)}
        for name, url in self.endpoints.urls.items():
            belongs = "REDIS_URL" if name == "REDIS_URL" else "DATABASE_URL"
            if belongs in wanted and not environ.get(name):
                environ[name] = url

    def release(self) -> None:
        self._lock.close()


def use(data_dir: Path, *, fsync: bool = True) -> Use:
    """Claim the servers of a data directory, starting them when they do not run. Raises EmbeddedError.

    Any number of processes may do this at once.
    """
    data_dir = prepare_data_dir(data_dir)
    lock = _users_lock(data_dir)
    fcntl.flock(lock, fcntl.LOCK_SH)  # waits while a keeper is stopping the servers
    try:
        return Use(data_dir, ensure_kept(data_dir, fsync=fsync), lock)
    except BaseException:
        lock.close()
        raise


def ensure_kept(data_dir: Path, *, fsync: bool = True) -> Endpoints:
    """The endpoints, with a keeper at work; the caller holds a claim already. Raises EmbeddedError."""
    with locked(data_dir / "run" / "start.lock"):
        deadline = time.monotonic() + _SETTLE_SECONDS
        keeper: subprocess.Popen[bytes] | None = None
        while time.monotonic() < deadline:
            if is_kept(data_dir):
                found = running(data_dir)
                if found:
                    return found
            elif keeper is None or keeper.poll() is not None:
                if keeper is not None and keeper.returncode:
                    break
                _tell_of_loss(data_dir)
                keeper = _spawn_keeper(data_dir, fsync=fsync)
            time.sleep(0.05)
    raise EmbeddedError(f"The embedded servers did not start:\n{tail(data_dir / 'logs' / 'keeper.log')}")


def is_kept(data_dir: Path) -> bool:
    """Whether a keeper of this data directory is alive."""
    _spawned[:] = [(where, keeper) for where, keeper in _spawned if keeper.poll() is None]
    with (data_dir / "run" / "keeper.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def wait_until_gone(data_dir: Path, *, seconds: float = 60.0) -> bool:
    """Wait for the keeper to stop the servers after the last release; False, at once, when others still use them."""
    wait_until(
        lambda: has_users(data_dir) or (not is_kept(data_dir) and not _leaving(data_dir)), seconds=seconds
    )
    return not is_kept(data_dir)


def has_users(data_dir: Path) -> bool:
    """Whether any process claims the servers."""
    with _users_lock(data_dir) as lock:
        if _free(lock):
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # the keeper has it for itself: it is stopping them
        return True


def _leaving(data_dir: Path) -> bool:
    """Whether a keeper that we started has given up its lock but not ended yet."""
    return any(keeper.poll() is None for where, keeper in _spawned if where == data_dir)


def _tell_of_loss(data_dir: Path) -> None:
    lost = lost_place(data_dir)
    if lost:
        print(
            f"{lost} is gone, and the databases of {data_dir} with it: new, empty ones are made.",
            file=sys.stderr,
        )


def _users_lock(data_dir: Path) -> IO[str]:
    return (data_dir / "run" / "users.lock").open("a")


def _free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _spawn_keeper(data_dir: Path, *, fsync: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "config.embedded", str(data_dir)]
    with (data_dir / "logs" / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            command if fsync else [*command, "--no-fsync"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=_ROOT,
            start_new_session=True,
        )
    _spawned.append((data_dir, keeper))
    return keeper


def keep(data_dir: Path, *, fsync: bool) -> None:
    """Run the servers until nobody uses them or a SIGTERM comes. Raises EmbeddedError when they do not start."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.append(received))
    with (data_dir / "run" / "keeper.lock").open("a") as only, _users_lock(data_dir) as users:
        if not _free(only):
            raise AlreadyHeld(f"The servers of {data_dir} have a keeper already.")
        handle = start(data_dir, fsync=fsync)
        try:
            while not asked and not _free(users):
                time.sleep(_TICK)
                with contextlib.suppress(
                    EmbeddedError
                ):  # its log says why; the next try follows after a pause
                    for line in handle.tend():
                        print(line, flush=True)
        finally:
            handle.stop()
