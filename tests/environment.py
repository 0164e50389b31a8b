"""Where the tests of this process run: servers, a database of its own, a Redis database of its own, folders.

Imported before Django reads its settings. Each process (pytest, or each of its xdist workers) has its own database, so
that any number of test runs can share the servers.
"""

import gc
import json
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
import redis
from celery import current_app
from django.conf import settings

from config.embedded import Use, provide
from config.env import data_dir_of

LOGIN_URLS = {
    "weir_app": "DATABASE_URL",
    "weir_ops": "DATABASE_OPS_URL",
    "weir_owner": "DATABASE_OWNER_URL",
    "weir_readonly": "DATABASE_READONLY_URL",
    "weir_backup": "DATABASE_BACKUP_URL",
}
PREFIX = "weir_test_"
_REDIS_CLAIM = 0x57454952  # first key of the advisory locks that claim a Redis database
_DATABASE_CLAIM = 0x57454953
BEYOND_ALL_PIDS = 10_000_000


class Claims:
    """A connection of the administrator for as long as this process lives; its locks tell others what is in use."""

    def __init__(self, servers: Use | None, *, forked: bool = False) -> None:
        self._servers = servers
        self.process, self.forked = os.getpid(), forked
        self.admin = psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True)

    def release(self) -> None:
        self.admin.close()
        if self._servers:
            self._servers.release()

    def database(self) -> str:
        """The name of a database that no other living process uses."""
        for number in range(os.getpid(), os.getpid() + 1_000):
            if self.take(_DATABASE_CLAIM, number):
                return f"{PREFIX}{number}"
        raise RuntimeError("No name for a test database is free.")

    def another_database(self) -> str:
        """The name of a second one for this process, whose own name it would be given again: it may take it."""
        number = os.getpid() + BEYOND_ALL_PIDS
        if not self.take(_DATABASE_CLAIM, number):
            raise RuntimeError("This process's second database is in use.")
        return f"{PREFIX}{number}"

    def redis_database(self, url: str) -> int:
        """The number of a Redis database that no other living process uses. 0 is left to others."""
        with redis.Redis.from_url(url) as client:
            count = int(client.config_get("databases")["databases"])
        for number in range(1, count):
            if self.take(_REDIS_CLAIM, number):
                return number
        raise RuntimeError(f"All {count} databases of Redis are in use by other test runs.")

    def take(self, kind: int, number: int) -> bool:
        row = self.admin.execute("SELECT pg_try_advisory_lock(%s, %s)", (kind, number)).fetchone()
        return bool(row and row[0])

    def give_back(self, kind: int, number: int) -> None:
        self.admin.execute("SELECT pg_advisory_unlock(%s, %s)", (kind, number))

    def drop_abandoned(self) -> None:
        """Remove the databases of test runs that were killed."""
        found = self.admin.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{PREFIX}%",))
        for (name,) in found.fetchall():
            number = int(name.removeprefix(PREFIX))
            if self.take(_DATABASE_CLAIM, number):
                self.admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                self.give_back(_DATABASE_CLAIM, number)


def with_database(url: str, name: str | int) -> str:
    """The same address with another database at its end."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def passwords() -> dict[str, str]:
    """By login, what the addresses in the environment say."""
    return {
        login: unquote(urlsplit(os.environ[variable]).password or "")
        for login, variable in LOGIN_URLS.items()
    }


def prepare() -> Claims:
    """Complete os.environ so that settings, and child processes, see this process's own database and Redis."""
    os.environ["WEIR_ENV"] = "test"
    os.environ["WEIR_UNKNOWN_CALLERS_PER_MINUTE"] = "100000"  # one address makes all of the requests here
    # Where bytecode is not to be kept, every worker and every process of a test compiles all of it for itself.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    servers = provide(os.environ, data_dir_of(os.environ))
    missing = [name for name in (*LOGIN_URLS.values(), "DATABASE_ADMIN_URL") if not os.environ.get(name)]
    if missing:
        raise pytest.UsageError(f"DATABASE_URL is set, so the tests need {', '.join(missing)} too.")
    claims = Claims(servers)
    _name_in_environment(claims)
    os.environ.pop("CELERY_BROKER_URL", None)
    return claims


def prepare_fork() -> tuple[Claims, Path]:
    """The same for a process forked from one that had its settings read: bench/mutants.py makes one per mutant."""
    gc.freeze()  # what was loaded before is nobody's garbage, and takes long to look through
    claims = Claims(None, forked=True)  # whoever forked it keeps the servers
    _name_in_environment(claims)
    for alias in settings.DATABASES:
        settings.DATABASES[alias]["NAME"] = urlsplit(os.environ["DATABASE_URL"]).path.strip("/")
    settings.REDIS_URL = settings.CELERY_BROKER_URL = os.environ["REDIS_URL"]
    settings.CACHES["default"]["LOCATION"] = os.environ["REDIS_URL"]
    current_app.conf.broker_url = os.environ["REDIS_URL"]
    return claims, own_folder()


def measured() -> dict[str, float]:
    """By test, the seconds that it took when bench/mutants.py ran all of them; empty elsewhere."""
    notes = Path("mutmut-stats.json")
    found: dict[str, float] = json.loads(notes.read_text())["duration_by_test"] if notes.exists() else {}
    return found


def _name_in_environment(claims: Claims) -> None:
    name = claims.database()
    for variable in LOGIN_URLS.values():
        os.environ[variable] = with_database(os.environ[variable], name)
    redis_url = os.environ["REDIS_URL"]
    os.environ["REDIS_URL"] = with_database(redis_url, claims.redis_database(redis_url))


def load_settings() -> Path:
    """Read the settings, and let files go to a folder of this process, which is returned."""
    # Not left in the environment: pytest-django in an xdist worker would read settings before the worker is prepared.
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    assert settings.WEIR_ENV == "test"
    del os.environ["DJANGO_SETTINGS_MODULE"]
    settings.PASSWORD_HASHERS = ["tests.factories.QuickHasher"]
    return own_folder()


def own_folder() -> Path:
    """Let files go to a folder of this process, which is returned."""
    folder = Path(tempfile.mkdtemp(prefix="weir-tests-"))
    settings.MEDIA_ROOT = folder / "files"
    settings.STATIC_ROOT = folder / "static"
    settings.STATIC_ROOT.mkdir()
    settings.STORAGES = {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(settings.MEDIA_ROOT)},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    return folder
