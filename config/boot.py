"""What every entry point does before settings are read: the .env file, the database login, embedded servers."""

import os
import sys

import environ

from config.env import BASE_DIR, LOGIN_VARIABLE, EnvInvalid, data_dir_of
from config.errors import CannotStart

_LOGIN_OF_COMMAND = {
    "migrate": "owner",
    "flush": "owner",
    "sqlmigrate": "owner",
    "createcachetable": "owner",
    "makemigrations": "readonly",
    "showmigrations": "readonly",
}
# Commands that touch no database, or bring their servers themselves.
_WITHOUT_SERVERS = {
    "",
    "up",
    "env_check",
    "help",
    "version",
    "--version",
    "--help",
    "-h",
    "collectstatic",
    "spectacular",
}


def prepare(command: str | None = None) -> None:
    """Make the process's environment complete. `command` is manage.py's, or None for web and workers.

    Raises EmbeddedError when embedded servers are needed and do not start.
    """
    read_dotenv()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ[LOGIN_VARIABLE] = _LOGIN_OF_COMMAND.get(command or "", "app")
    if command in _WITHOUT_SERVERS or os.environ.get("WEIR_ENV", "local") not in {"local", "test"}:
        return
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
        return
    # Imported where they are needed alone: staging and production never load the embedded servers.
    from config.embedded import provide

    provide(os.environ, data_dir_of(os.environ))


def read_dotenv() -> None:
    """Add what `.env` at the project's root says and the environment does not; tests never read it."""
    path = BASE_DIR / ".env"
    if os.environ.get("WEIR_ENV") != "test" and path.is_file():
        environ.Env.read_env(path)


def refuse(error: EnvInvalid | CannotStart) -> int:
    """Say why the process does not start, without a traceback; returns the exit code."""
    print(error.detail if isinstance(error, EnvInvalid) else error, file=sys.stderr)
    return 1
