"""Both servers together: `start` makes them children of this process, `running` finds those of another."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config import credentials
from config.embedded import postgres, redis_server
from config.embedded.errors import AlreadyHeld
from config.embedded.layout import Layout, abandoned_places, make_layout
from config.files import prepare_data_dir
from tenants.role_plan import ensure_roles
from tenants.roles import LOGINS

DATABASE = "weir"
_URL_OF_LOGIN = {
    "weir_app": "DATABASE_URL",
    "weir_ops": "DATABASE_OPS_URL",
    "weir_owner": "DATABASE_OWNER_URL",
    "weir_readonly": "DATABASE_READONLY_URL",
    "weir_backup": "DATABASE_BACKUP_URL",
}
_FIRST_PAUSE, _LONGEST_PAUSE, _LONG_LIFE = 0.2, 10.0, 30.0


@dataclass(frozen=True)
class Endpoints:
    """How to reach the servers."""

    urls: dict[str, str] = field(repr=False)
    """By name of the environment variable: DATABASE_URL, DATABASE_ADMIN_URL, ..., REDIS_URL."""
    postgres_port: int
    redis_port: int


@dataclass
class _Watch:
    """Back-off of one server."""

    started: float
    pause: float = _FIRST_PAUSE
    not_before: float = 0.0


class Handle:
    """The running servers and the right to run them; both end with `stop()`, and with this process."""

    def __init__(self, layout: Layout, lock: IO[str], passwords: dict[str, str], *, fsync: bool) -> None:
        self.layout = layout
        self._lock, self._passwords, self._fsync = lock, passwords, fsync
        self._postgres = postgres.launch(layout, passwords[postgres.ADMIN], fsync=fsync)
        try:
            self._redis = redis_server.launch(layout, passwords["redis"], fsync=fsync)
        except BaseException:
            postgres.stop(self._postgres)
            raise
        now = time.monotonic()
        self._watches = {"postgres": _Watch(now), "redis": _Watch(now)}

    @property
    def endpoints(self) -> Endpoints:
        found = _recorded_endpoints(self.layout.data_dir, self._passwords)
        assert found is not None  # both were recorded when they were launched
        return found

    @property
    def postgres_pid(self) -> int:
        return self._postgres.pid

    @property
    def redis_pid(self) -> int:
        return self._redis.pid

    def tend(self) -> list[str]:
        """Start again what died, on the same port and data, with growing pauses; returns what was done.

        Call it often, from the thread that called `start`.
        """
        done = []
        if self._due("postgres", self._postgres):
            self._postgres = postgres.launch(
                self.layout,
                self._passwords[postgres.ADMIN],
                fsync=self._fsync,
                port=self.endpoints.postgres_port,
            )
            done.append("PostgreSQL was gone and is back")
        if self._due("redis", self._redis):
            self._redis = redis_server.launch(
                self.layout, self._passwords["redis"], fsync=self._fsync, port=self.endpoints.redis_port
            )
            done.append("Redis was gone and is back")
        return done

    def _due(self, name: str, child: subprocess.Popen[bytes]) -> bool:
        if child.poll() is None:
            return False
        watch, now = self._watches[name], time.monotonic()
        if now < watch.not_before:
            return False
        if now - watch.started > _LONG_LIFE:
            watch.pause = _FIRST_PAUSE
        watch.started, watch.not_before = now, now + watch.pause
        watch.pause = min(watch.pause * 2, _LONGEST_PAUSE)
        return True

    def stop(self) -> None:
        """Stop Redis, then PostgreSQL, in good order; may be called twice."""
        _ready_mark(self.layout.data_dir).unlink(missing_ok=True)
        redis_server.stop(self._redis)
        postgres.stop(self._postgres)
        self._lock.close()


def start(data_dir: Path, *, fsync: bool = True) -> Handle:
    """Start both servers as children of this process, with the roles and the database in place.

    Call it from the main thread: the servers stop when the calling thread ends, even by kill -9. Raises AlreadyHeld
    when another process runs the servers of this data directory, EmbeddedError when one does not start.
    """
    data_dir = prepare_data_dir(data_dir)
    layout = make_layout(data_dir)
    lock = layout.lock.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise AlreadyHeld(f"The servers of {data_dir} are run by another process.") from None
    try:
        _ready_mark(data_dir).unlink(missing_ok=True)
        passwords = _passwords(data_dir)
        postgres.create_cluster(layout, passwords[postgres.ADMIN], fsync=fsync)
        handle = Handle(layout, lock, passwords, fsync=fsync)
    except BaseException:
        lock.close()
        raise
    try:
        ensure_roles(
            handle.endpoints.urls["DATABASE_ADMIN_URL"], DATABASE, {name: passwords[name] for name in LOGINS}
        )
    except BaseException:
        handle.stop()
        raise
    _remove_abandoned(data_dir)
    _ready_mark(data_dir).touch()
    return handle


def running(data_dir: Path) -> Endpoints | None:
    """The endpoints of a data directory's servers when both are up and answering, else None."""
    data_dir = data_dir.expanduser().resolve()
    if not _ready_mark(data_dir).exists():  # no roles yet, or stopping
        return None
    passwords = _passwords(data_dir)
    found = _recorded_endpoints(data_dir, passwords)
    if found is None or not redis_server.answers(found.redis_port, passwords["redis"]):
        return None
    return found if postgres.answers(found.postgres_port, passwords[postgres.ADMIN]) else None


def destroy(data_dir: Path) -> None:
    """Remove a data directory with everything that its servers kept elsewhere.

    Raises AlreadyHeld while they are running.
    """
    data_dir = data_dir.expanduser().resolve()
    if not data_dir.is_dir():
        return
    layout = make_layout(data_dir)
    with layout.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyHeld(f"The servers of {data_dir} are running; stop them first.") from None
        postgres.clear_leftovers(layout)
        redis_server.clear_leftovers(layout)
        _remove_abandoned(data_dir)
        shutil.rmtree(layout.home)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(data_dir)


def _ready_mark(data_dir: Path) -> Path:
    return data_dir / "run" / "ready"


def _passwords(data_dir: Path) -> dict[str, str]:
    return credentials.ensure(data_dir, dict.fromkeys((postgres.ADMIN, "redis", *LOGINS)))


def _recorded_endpoints(data_dir: Path, passwords: dict[str, str]) -> Endpoints | None:
    postgres_port, redis_port = postgres.recorded_port(data_dir), redis_server.recorded_port(data_dir)
    if postgres_port is None or redis_port is None:
        return None
    urls = {
        variable: postgres.url(login, passwords[login], postgres_port, DATABASE)
        for login, variable in _URL_OF_LOGIN.items()
    }
    # The roles are made before the database is, so the administrator starts in one that always exists.
    urls["DATABASE_ADMIN_URL"] = postgres.url(
        postgres.ADMIN, passwords[postgres.ADMIN], postgres_port, "postgres"
    )
    urls["REDIS_URL"] = redis_server.url(passwords["redis"], redis_port)
    return Endpoints(urls, postgres_port, redis_port)


def _remove_abandoned(data_dir: Path) -> None:
    """Root's server folders of an earlier data directory at the same path, once nothing runs in them."""
    if os.geteuid() != 0:
        return
    for place in abandoned_places(data_dir):
        old = Layout(data_dir, place, place / "programs", None)
        postgres.clear_leftovers(old)
        redis_server.clear_leftovers(old)
        shutil.rmtree(place, ignore_errors=True)
