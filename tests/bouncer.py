"""PgBouncer in transaction mode before the test database: as a production's pooler is, with two server connections."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.embedded.processes import die_with_parent, free_port, wait_until
from tests.environment import LOGIN_URLS, passwords

START_SECONDS = 15.0


def program() -> str:
    """PgBouncer's path. Without one the test is skipped, or fails where WEIR_REQUIRE names pgbouncer."""
    if path := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        return path
    words = "No PgBouncer was found (apt-get install pgbouncer): nothing is tried behind it."
    if "pgbouncer" in os.environ.get("WEIR_REQUIRE", ""):
        pytest.fail(words)
    pytest.skip(words)


class Bouncer:
    """A running PgBouncer that knows the test logins; `settings` is what Django's connection needs to go through it."""

    def __init__(self, *, pool_size: int = 2) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="weir-bouncer-", dir="/tmp")
        folder = Path(self._folder.name)
        # It refuses to run as root, and so do we.
        owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        port = free_port(None)
        server: Any = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])
        self.settings = {"HOST": "127.0.0.1", "PORT": port}
        self._url = psycopg.conninfo.make_conninfo(os.environ["DATABASE_URL"], host="127.0.0.1", port=port)
        users = folder / "users.txt"
        users.write_text("".join(f'"{login}" "{passwords()[login]}"\n' for login in LOGIN_URLS))
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"""[databases]
{server["dbname"]} = host={server["host"]} port={server["port"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
"""
        )
        drop: dict[str, Any] = {}
        if owner:
            for path in (folder, users, config):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            drop = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [program(), "-q", str(config)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGTERM),
            **drop,
        )
        wait_until(lambda: self._process.poll() is not None or self._answers(), seconds=START_SECONDS)
        if not self._answers():
            self._log.seek(0)
            words = self._log.read()
            self.stop()
            raise RuntimeError(f"PgBouncer did not start: {words}")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End it at once; its clients are gone by then."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
        self._log.close()
        self._folder.cleanup()
