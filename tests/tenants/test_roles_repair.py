"""`ensure_roles` on a server of its own: it says what it would do, does it, and finds whatever has drifted."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command

from config.embedded import Endpoints, destroy, start
from config.management.commands import ensure_roles as command
from tenants.role_plan import AdminRefused, ensure_roles, left_open, plan_roles
from tenants.roles import LOGINS, LOOKUP, OWNER
from tests.environment import LOGIN_URLS, with_database

DATABASE = "weir"


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoints]:
    """A server on which a test may spoil the roles."""
    with tempfile.TemporaryDirectory(prefix="weir-test-") as folder:
        handle = start(Path(folder) / "data", fsync=False)
        yield handle.endpoints
        handle.stop()
        destroy(Path(folder) / "data")


@pytest.fixture
def passwords(server: Endpoints) -> dict[str, str]:
    urls = {login: psycopg.conninfo.conninfo_to_dict(server.urls[name]) for login, name in LOGIN_URLS.items()}
    return {login: str(parts["password"]) for login, parts in urls.items()}


@pytest.fixture
def admin(server: Endpoints) -> str:
    return with_database(server.urls["DATABASE_ADMIN_URL"], DATABASE)


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def plan(dsn: str, passwords: dict[str, str], database: str = DATABASE) -> list[str]:
    return [change.shown for change in plan_roles(dsn, database, passwords)]


def test_where_all_is_right_there_is_nothing_to_do(admin: str, passwords: dict[str, str]) -> None:
    assert plan(admin, passwords) == []
    assert ensure_roles(admin, DATABASE, passwords) == []


DRIFT = {
    "a superuser": "ALTER ROLE weir_app SUPERUSER",
    "a login past the policies": "ALTER ROLE weir_ops BYPASSRLS",
    "a maker of databases": "ALTER ROLE weir_readonly CREATEDB",
    "a maker of roles": "ALTER ROLE weir_app CREATEROLE",
    "a login that replicates": "ALTER ROLE weir_backup REPLICATION",
    "a role that may not sign in": "ALTER ROLE weir_app NOLOGIN",
    "a lookup role that may sign in": "ALTER ROLE weir_lookup LOGIN",
    "a password that ends": "ALTER ROLE weir_app VALID UNTIL '2030-01-01'",
    "another password": "ALTER ROLE weir_app PASSWORD 'something else'",
    "no password": "ALTER ROLE weir_ops PASSWORD NULL",
    "a role that is gone": "DROP OWNED BY weir_readonly; DROP ROLE weir_readonly",
    "a setting that is gone": "ALTER ROLE weir_app RESET lock_timeout",
    "queries that others see": "ALTER ROLE weir_app RESET track_activities",
    "the staff's queries too": "ALTER ROLE weir_ops SET track_activities = on",
    "queries seen in one database": "ALTER ROLE weir_app IN DATABASE weir SET track_activities = on",
    "a reader that may write by default": "ALTER ROLE weir_readonly SET default_transaction_read_only = off",
    "the same for one database": "ALTER ROLE weir_readonly IN DATABASE weir SET default_transaction_read_only = off",
    "a tenant by default": "ALTER ROLE weir_app SET app.tenant_id = '00000000-0000-0000-0000-000000000001'",
    "a tenant for everybody": "ALTER DATABASE weir SET app.tenant_id = '00000000-0000-0000-0000-000000000001'",
    "a search path": "ALTER ROLE weir_owner IN DATABASE weir SET search_path = evil, public",
    "somebody who is the owner too": "GRANT weir_owner TO weir_app",
    "somebody who reads everything": "GRANT pg_read_all_data TO weir_readonly",
    "an owner who is not the lookup role": "REVOKE weir_lookup FROM weir_owner",
    "another owner of the database": "ALTER DATABASE weir OWNER TO weir_admin",
    "anybody may connect": "GRANT CONNECT ON DATABASE weir TO PUBLIC",
    "temporary tables": "GRANT TEMPORARY ON DATABASE weir TO weir_readonly",
    "schemas": "GRANT CREATE ON DATABASE weir TO weir_app",
    "a login that cannot connect": "REVOKE CONNECT ON DATABASE weir FROM weir_app",
    "tables by the app": "GRANT CREATE ON SCHEMA public TO weir_app",
    "tables by anybody": "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "another owner of the schema": "ALTER SCHEMA public OWNER TO weir_app",
    "no use of the schema": "REVOKE USAGE ON SCHEMA public FROM weir_ops",
    "lookups by others": "GRANT USAGE ON SCHEMA lookup TO weir_readonly",
    "no lookups": "REVOKE USAGE ON SCHEMA lookup FROM weir_app",
    "no schema for lookups": "DROP SCHEMA lookup",
    "large objects by anybody": "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC",
    "large objects by the app": "GRANT EXECUTE ON FUNCTION lo_put(oid, bigint, bytea) TO weir_app",
    "a right to switch triggers off": "GRANT SET ON PARAMETER session_replication_role TO weir_app",
    "the same for anybody": "GRANT SET ON PARAMETER session_replication_role TO PUBLIC",
    "a migration that waits for ever": "ALTER ROLE weir_owner RESET lock_timeout",
}  # fmt: skip


@pytest.mark.parametrize("what", DRIFT)
def test_drift_is_found_told_and_mended(admin: str, passwords: dict[str, str], what: str) -> None:
    for statement in DRIFT[what].split("; "):
        run(admin, statement)

    told = plan(admin, passwords)
    assert told
    assert plan(admin, passwords) == told, "planning changed something"

    assert ensure_roles(admin, DATABASE, passwords) == told
    assert plan(admin, passwords) == []
    for login, password in passwords.items():
        psycopg.connect(admin, user=login, password=password).close()


def test_what_somebody_else_owns_goes_back_to_its_owner(admin: str, passwords: dict[str, str]) -> None:
    run(
        admin,
        "CREATE TABLE public.t (id bigint GENERATED ALWAYS AS IDENTITY)",
        "CREATE VIEW public.v AS SELECT id FROM public.t",
        "CREATE FUNCTION lookup.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    assert plan(admin, passwords) == [
        f'ALTER TABLE t OWNER TO "{OWNER}"',
        f'ALTER TABLE v OWNER TO "{OWNER}"',
        f'ALTER FUNCTION lookup.f() OWNER TO "{LOOKUP}"',
    ]
    ensure_roles(admin, DATABASE, passwords)
    assert plan(admin, passwords) == []
    run(admin, "DROP VIEW v", "DROP TABLE t", "DROP FUNCTION lookup.f()")


def test_an_operators_own_tuning_is_left_alone(admin: str, passwords: dict[str, str]) -> None:
    run(admin, "ALTER ROLE weir_readonly SET work_mem = '64MB'", "ALTER ROLE weir_app CONNECTION LIMIT 90")
    assert plan(admin, passwords) == []


def test_no_password_is_shown_or_sent_in_plain(admin: str, passwords: dict[str, str]) -> None:
    changed = passwords | {"weir_app": "a-new-password"}
    (change,) = plan_roles(admin, DATABASE, changed)
    assert change.shown == "ALTER ROLE \"weir_app\" PASSWORD '****'"
    assert "a-new-password" not in change.statement.as_string(None)
    ensure_roles(admin, DATABASE, changed)
    psycopg.connect(admin, user="weir_app", password="a-new-password").close()
    ensure_roles(admin, DATABASE, passwords)


def managed(admin: str, attributes: str) -> str:
    """An administrator as managed servers have them: no superuser."""
    run(admin, "DROP ROLE IF EXISTS manager", f"CREATE ROLE manager LOGIN PASSWORD 'm' {attributes}")
    return psycopg.conninfo.make_conninfo(admin, user="manager", password="m", dbname="postgres")


def remove(admin: str) -> None:
    """A server without any of the roles."""
    run(with_database(admin, "postgres"), "DROP DATABASE weir WITH (FORCE)")
    for role in (*LOGINS, LOOKUP):
        run(with_database(admin, "postgres"), f"DROP ROLE {role}")


def test_a_managed_servers_administrator_makes_everything_and_keeps_no_power(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: Endpoints,
    admin: str,
    passwords: dict[str, str],
) -> None:
    remove(admin)
    manager = managed(with_database(admin, "postgres"), "CREATEROLE CREATEDB")
    told = plan(manager, passwords)
    assert any(line.startswith('CREATE DATABASE "weir"') for line in told)
    assert ensure_roles(manager, DATABASE, passwords) == told
    assert plan(manager, passwords) == []
    with psycopg.connect(manager) as connection:
        assert connection.execute("SELECT pg_has_role('weir_owner', 'USAGE')").fetchone() == (False,)
    for login, password in passwords.items():
        psycopg.connect(admin, user=login, password=password).close()
    # What belongs to the server itself is left to a superuser; whose sessions see each other's queries is said.
    left = {line.split(" ON ")[0] for line in plan(admin, passwords)}
    hidden = {f'ALTER ROLE "weir_{login}" SET "track_activities" = \'off\'' for login in ("app", "ops")}
    assert left == {"REVOKE EXECUTE", *hidden}
    told = left_open(manager, DATABASE, passwords)
    assert [line.split(", which manager may not set")[0] for line in told] == [
        "weir_app has no track_activities = off", "weir_ops has no track_activities = off",
    ]  # fmt: skip
    urls = dict(server.urls) | {"DATABASE_ADMIN_URL": manager}
    assert "There is nothing else to do." in ask(monkeypatch, urls, "--apply")
    assert "weir_app has no track_activities" in capsys.readouterr().err
    run(with_database(admin, "postgres"), "GRANT SET ON PARAMETER track_activities TO manager")
    assert {change.shown for change in plan_roles(manager, DATABASE, passwords)} == hidden
    ensure_roles(manager, DATABASE, passwords)
    assert left_open(manager, DATABASE, passwords) == plan(manager, passwords) == []
    run(with_database(admin, "postgres"), "REVOKE SET ON PARAMETER track_activities FROM manager")
    remove(admin)
    run(with_database(admin, "postgres"), "DROP ROLE manager")
    ensure_roles(with_database(admin, "postgres"), DATABASE, passwords)


def test_an_administrator_who_may_not_is_told_so(admin: str, passwords: dict[str, str]) -> None:
    run(admin, "ALTER ROLE weir_app SUPERUSER")
    with pytest.raises(AdminRefused, match="neither a superuser nor has CREATEROLE"):
        plan_roles(managed(admin, ""), DATABASE, passwords)
    with pytest.raises(AdminRefused, match="Only a superuser can take this away: weir_app SUPERUSER"):
        plan_roles(managed(admin, "CREATEROLE"), DATABASE, passwords)
    run(admin, "DROP ROLE manager")
    ensure_roles(admin, DATABASE, passwords)
    as_app = psycopg.conninfo.make_conninfo(admin, user="weir_app", password=passwords["weir_app"])
    with pytest.raises(AdminRefused, match="one of the roles to be made"):
        plan_roles(as_app, DATABASE, passwords)


def ask(monkeypatch: pytest.MonkeyPatch, urls: dict[str, str], *arguments: str) -> str:
    by_login = {name: urls[variable] for name, variable in command.LOGINS.items() if variable in urls}
    monkeypatch.setitem(command.ENV.__dict__, "database_urls", by_login)
    output = io.StringIO()
    call_command("ensure_roles", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_prints_first_and_applies_when_told(
    monkeypatch: pytest.MonkeyPatch, server: Endpoints, admin: str
) -> None:
    assert "nothing to do" in ask(monkeypatch, server.urls)
    run(admin, "ALTER ROLE weir_app BYPASSRLS")
    assert 'ALTER ROLE "weir_app" NOBYPASSRLS;\n' in ask(monkeypatch, server.urls)
    assert "Nothing was changed" in ask(monkeypatch, server.urls)
    assert "1 statement(s) run" in ask(monkeypatch, server.urls, "--apply")
    assert "nothing to do" in ask(monkeypatch, server.urls)


def test_the_command_names_every_fault_of_the_addresses(
    monkeypatch: pytest.MonkeyPatch, server: Endpoints
) -> None:
    urls = dict(server.urls)
    del urls["DATABASE_ADMIN_URL"]
    urls["DATABASE_OPS_URL"] = urls["DATABASE_URL"]
    urls["DATABASE_READONLY_URL"] = with_database(urls["DATABASE_READONLY_URL"], "elsewhere")
    with pytest.raises(CommandError) as refused:
        ask(monkeypatch, urls)
    for fault in (
        "DATABASE_ADMIN_URL is not set",
        "DATABASE_OPS_URL must sign in as weir_ops",
        "different databases",
        "each login needs a password of its own",
    ):
        assert fault in str(refused.value)
