"""The embedded PostgreSQL cluster: create, launch, recover from a crash, stop."""

import contextlib
import json
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from config.embedded.errors import EmbeddedError
from config.embedded.layout import Layout, own_file, own_folder
from config.embedded.processes import (
    as_account,
    clean_environment,
    free_port,
    parent_of,
    signal_all,
    spawn,
    stop_child,
    tail,
    wait_until,
    working_in,
)
from config.files import read_json, write_private

ADMIN = "weir_admin"
_START_SECONDS = 120  # crash recovery of a large write-ahead log takes its time

# Failed statements and their details may hold a tenant's data or a secret, so the log gets neither.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_parallel_workers_per_gather": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# For tests: a power cut may lose the cluster, but whatever was committed still survives kill -9.
_WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}


def create_cluster(layout: Layout, password: str, *, fsync: bool) -> None:
    """Run initdb unless the cluster is there; an interrupted one is started over."""
    if (layout.pgdata / "PG_VERSION").is_file():
        return
    fresh = layout.pgdata.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    own_folder(layout, fresh)
    password_file = layout.home / ".initdb"
    own_file(layout, password_file, password)
    command = [
        layout.postgres_program("initdb"),
        f"--pgdata={fresh}",
        f"--username={ADMIN}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
    ]
    try:
        done = subprocess.run(
            command if fsync else [*command, "--no-sync"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=layout.home,
            env=clean_environment(),
            umask=0o077,
            **as_account(layout.account),
        )
    finally:
        password_file.unlink()
    if done.returncode:
        raise EmbeddedError(f"initdb failed: {(done.stderr or done.stdout).strip()}")
    fresh.rename(layout.pgdata)


def launch(layout: Layout, password: str, *, fsync: bool, port: int | None = None) -> subprocess.Popen[bytes]:
    """Start the server on `port` (else the recorded or a free one) and wait until it answers.

    Whatever an earlier life left behind is stopped or cleared first. Raises EmbeddedError.
    """
    clear_leftovers(layout)
    chosen = port or free_port(recorded_port(layout.data_dir))
    settings = _SETTINGS | {"port": str(chosen)} | ({} if fsync else _WITHOUT_FSYNC)
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    child = spawn(
        [layout.postgres_program("postgres"), "-D", str(layout.pgdata), *options],
        log=layout.log("postgres"),
        cwd=layout.home,
        account=layout.account,
        death_signal=signal.SIGINT,
    )
    write_private(layout.record("postgres"), json.dumps({"port": chosen, "pid": child.pid}))
    wait_until(lambda: child.poll() is not None or answers(chosen, password), seconds=_START_SECONDS)
    if child.poll() is None and answers(chosen, password):
        return child
    stop(child)
    raise EmbeddedError(
        f"PostgreSQL did not start; {layout.log('postgres')} ends with:\n{tail(layout.log('postgres'))}"
    )


def recorded_port(data_dir: Path) -> int | None:
    """The port that the cluster last listened on."""
    return read_json(data_dir / "run" / "postgres.json").get("port")


def url(user: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"


def answers(port: int, password: str) -> bool:
    """Whether our cluster (it knows our password) answers a query on this port."""
    try:
        with psycopg.connect(url(ADMIN, password, port, "postgres"), connect_timeout=3) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def clear_leftovers(layout: Layout) -> None:
    """Stop an orphan of ours and remove its lock file.

    PostgreSQL's processes work in their data directory, and that alone makes one ours: the number in a stale
    postmaster.pid may belong to somebody else by now. The lock file goes only when no such process is left, since
    it is what keeps a second server off the same files.
    """

    def left() -> list[int]:
        return working_in(layout.pgdata, "postgres")

    for number, seconds in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
        pids = left()
        if not pids:
            break
        masters = [pid for pid in pids if parent_of(pid) not in pids]
        signal_all(masters if number == signal.SIGINT else pids, number)
        wait_until(lambda: not left(), seconds=seconds)
    if left():
        raise EmbeddedError(f"An old PostgreSQL in {layout.pgdata} cannot be stopped.")
    with contextlib.suppress(FileNotFoundError):
        (layout.pgdata / "postmaster.pid").unlink()


def stop(child: subprocess.Popen[bytes]) -> None:
    """Fast shutdown: sessions are ended, everything is on disk afterwards."""
    stop_child(child, number=signal.SIGINT, seconds=40)
