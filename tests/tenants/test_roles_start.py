"""Weir does not start, and opens no connection, with a login that could get past the policies."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connections

from config.env import BASE_DIR
from tenants.logins import LoginTooPowerful, refuse_powerful
from tests.environment import with_database

WEB = [sys.executable, "-c", "import config.wsgi"]
WORKER = [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "-P", "solo"]


def database() -> str:
    return str(psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])["dbname"])


@pytest.fixture
def past_policies(committed: None) -> Iterator[str]:
    """The address of a login with BYPASSRLS and nothing else."""
    name = f"{database()}_bypass"
    with psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN BYPASSRLS PASSWORD 'x'")
        admin.execute(f"GRANT CONNECT ON DATABASE {database()} TO {name}")
        yield psycopg.conninfo.make_conninfo(os.environ["DATABASE_URL"], user=name, password="x")
        admin.execute(f"REVOKE CONNECT ON DATABASE {database()} FROM {name}")
        admin.execute(f"DROP ROLE {name}")


def start(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.run(
        command,
        cwd=BASE_DIR,
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", [WEB, WORKER], ids=["web", "worker"])
def test_web_and_worker_refuse_a_superuser(committed: None, command: list[str]) -> None:
    done = start(command, DATABASE_URL=with_database(os.environ["DATABASE_ADMIN_URL"], database()))
    assert done.returncode != 0
    assert "Weir cannot start: The database login weir_admin (default) is a superuser" in done.stderr
    assert "ensure_roles" in done.stderr


def test_web_refuses_the_owner_on_either_alias(committed: None) -> None:
    owner = os.environ["DATABASE_OWNER_URL"]
    for variable, alias in (("DATABASE_URL", "default"), ("DATABASE_OPS_URL", "ops")):
        done = start(WEB, **{variable: owner})
        assert done.returncode != 0
        assert f"weir_owner ({alias}) may act as the owner of the database" in done.stderr


def test_web_starts_with_its_own_logins_and_while_the_database_is_away(committed: None) -> None:
    assert start(WEB).returncode == 0
    nowhere = "postgresql://weir_app:x@127.0.0.1:1/weir"
    done = start(WEB, DATABASE_URL=nowhere, DATABASE_OPS_URL=nowhere)
    assert done.returncode == 0, done.stderr
    assert "login_not_checked" in done.stderr


def test_every_new_connection_is_asked_and_a_refused_one_is_closed(
    past_policies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connections["default"]
    connection.close()
    with monkeypatch.context() as patch:
        for name, value in psycopg.conninfo.conninfo_to_dict(past_policies).items():
            if name in {"user", "password"}:
                patch.setitem(connection.settings_dict, name.upper(), value)
        for _ in range(2):
            with pytest.raises(LoginTooPowerful, match="has BYPASSRLS"), connection.cursor():
                pytest.fail("a connection was opened")
            assert connection.connection is None
    refuse_powerful(connection)
    assert connection.connection is not None


def test_the_report_is_given_to_a_login_that_is_refused_and_says_so(past_policies: str) -> None:
    rls = [sys.executable, "manage.py", "rls", "--json"]
    parts = psycopg.conninfo.conninfo_to_dict(past_policies)
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format_map(parts)
    done = start(rls, DATABASE_URL=url)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert len(found["tables"]) > 50
    assert [fault for fault in found["beside"] if "_bypass (default) has BYPASSRLS" in fault]
    done = start(rls[:-1], DATABASE_URL=with_database(os.environ["DATABASE_ADMIN_URL"], database()))
    assert done.returncode == 1, done.stderr
    assert "weir_admin (default) is a superuser" in done.stdout
    assert "tenants_membership" in done.stdout
