"""What each login may do is decided by PostgreSQL: whatever is tried in a transaction, a reader reads and no more.

The first five tests are the five checks of the mission's "Migration safety".
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from config.env import BASE_DIR
from tenants.models import Tenant
from tenants.role_plan import plan_roles
from tenants.roles import LOGINS
from tests.environment import LOGIN_URLS, passwords
from tests.factories import make_tenant

REFUSED = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)


@pytest.fixture
def tenant(committed: None) -> Tenant:
    return make_tenant().tenant


@pytest.fixture
def reader(committed: None) -> Iterator[psycopg.Connection]:
    with psycopg.connect(os.environ["DATABASE_READONLY_URL"], autocommit=True) as connection:
        yield connection


def refused(connection: psycopg.Connection, *statements: str) -> None:
    """The last of these statements is refused, as not permitted; those before are the trick."""
    *before, last = statements
    for statement in before:
        connection.execute(statement)
    with pytest.raises(REFUSED):
        connection.execute(last)
    connection.rollback()


# --- 1. The read-only role is there ----------------------------------------------------------------------------------


def test_the_read_only_login_is_there_and_has_no_power(reader: psycopg.Connection) -> None:
    row = reader.execute(
        """SELECT current_user, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication,
                  (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)
           FROM pg_roles r WHERE rolname = current_user"""
    ).fetchone()
    assert row == ("weir_readonly", False, False, False, False, False, 0)
    assert reader.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


# --- 2. Reads work ---------------------------------------------------------------------------------------------------


def test_it_reads_every_table_that_is_for_reports(reader: psycopg.Connection, tenant: Tenant) -> None:
    rows = reader.execute("SELECT tenant_id FROM workflow").fetchall()
    assert rows
    assert {row[0] for row in rows} == {tenant.pk}
    assert reader.execute("SELECT count(*) FROM django_migrations").fetchone() != (0,)
    # Schema tools look here.
    assert reader.execute("SELECT count(*) FROM information_schema.columns").fetchone() != (0,)


def test_it_reads_no_secrets_and_no_sign_ins(reader: psycopg.Connection) -> None:
    for table in ("integrations_connectionsecret", "tenants_user", "django_session"):
        refused(reader, f"SELECT * FROM {table}")


# --- 3. Writes fail --------------------------------------------------------------------------------------------------

WRITES = (
    "INSERT INTO workflow (id) SELECT gen_random_uuid()",
    "UPDATE workflow SET name = 'x'",
    "DELETE FROM workflow",
    "TRUNCATE workflow",
    "MERGE INTO workflow w USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    "COPY workflow FROM STDIN",
    "SELECT * FROM workflow FOR UPDATE",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT nextval('django_migrations_id_seq')",
    "CREATE TEMP TABLE t (id int)",
    "SELECT id INTO TEMP t FROM workflow",
)


@pytest.mark.parametrize("statement", WRITES)
def test_writes_fail_in_whatever_transaction(
    reader: psycopg.Connection, tenant: Tenant, statement: str
) -> None:
    refused(reader, statement)
    refused(reader, "BEGIN READ WRITE", statement)


# --- 4. Schema changes fail ------------------------------------------------------------------------------------------

CHANGES = (
    "CREATE TABLE x (id int)",
    "CREATE TABLE lookup.x (id int)",
    "CREATE SCHEMA x",
    "CREATE VIEW x AS SELECT * FROM workflow",
    "CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP EXTENSION plpgsql",
    "CREATE POLICY x ON workflow USING (true)",
    "CREATE INDEX ON workflow (name)",
    "ALTER TABLE workflow ADD COLUMN x int",
    "ALTER TABLE workflow DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE workflow OWNER TO weir_readonly",
    "DROP TABLE workflow",
    "DROP POLICY weir_app_own ON workflow",
    "COMMENT ON TABLE workflow IS 'x'",
    "CREATE ROLE x",
    "CREATE DATABASE x",
    "ALTER ROLE weir_readonly BYPASSRLS",
)


@pytest.mark.parametrize("login", ["weir_readonly", "weir_app", "weir_ops", "weir_backup"])
def test_schema_changes_fail_for_every_login_but_the_owner(committed: None, login: str) -> None:
    with psycopg.connect(os.environ[LOGIN_URLS[login]], autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in CHANGES:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.parametrize("login", ["weir_readonly", "weir_app", "weir_ops", "weir_backup"])
def test_migrate_with_another_login_than_the_owners_fails_in_the_database(
    committed: None, login: str
) -> None:
    url = os.environ[LOGIN_URLS[login]]
    # One step back: how far is planned takes the longer, the more there are.
    for command in (["migrate", "tenants", "0015"], ["migrate", "tenants", "0015", "--fake"]):
        done = manage(*command, DATABASE_OWNER_URL=url)
        assert done.returncode != 0
        assert re.search("permission denied|read-only transaction|must be owner", done.stderr), done.stderr
    with psycopg.connect(os.environ["DATABASE_READONLY_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM tenants_tenant").fetchone() == (0,)


def test_makemigrations_works_as_the_reader_and_asks_the_database(committed: None) -> None:
    done = manage("makemigrations", "--check", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "No changes detected\n"), done.stderr
    done = manage("makemigrations", "--check", "--dry-run", DATABASE_READONLY_URL=with_wrong_password())
    assert "weir_readonly" in done.stderr, "makemigrations did not sign in as the reader"
    assert "[X]" in manage("showmigrations", "tenants").stdout


def with_wrong_password() -> str:
    url = os.environ["DATABASE_READONLY_URL"]
    return url.replace(passwords()["weir_readonly"], "wrong")


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


# --- 5. No trick with transactions gets around it ---------------------------------------------------------------------

WRITE = "UPDATE workflow SET name = 'x'"
TRICKS = {
    "the session's default": ["SET default_transaction_read_only = off", WRITE],
    "the session's characteristics": ["SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", WRITE],
    "a transaction": ["BEGIN", "SET TRANSACTION READ WRITE", WRITE],
    "a transaction that began to write": ["BEGIN READ WRITE", "SELECT 1", WRITE],
    "a savepoint": ["BEGIN READ WRITE", "SAVEPOINT s", WRITE],
    "the setting of a transaction": ["BEGIN", "SET LOCAL transaction_read_only = off", WRITE],
    "a lock": ["BEGIN READ WRITE", "LOCK TABLE workflow IN ROW EXCLUSIVE MODE"],
    "a snapshot": ["BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE", WRITE],
    "forgetting": ["SET default_transaction_read_only = off", "DISCARD ALL", "BEGIN READ WRITE", WRITE],
    "a block": ["BEGIN READ WRITE", f"DO $$ BEGIN EXECUTE '{WRITE.replace(chr(39), chr(39) * 2)}'; END $$"],
    "a prepared statement": ["BEGIN READ WRITE", f"PREPARE p AS {WRITE}", "EXECUTE p"],
    "explaining": ["BEGIN READ WRITE", f"EXPLAIN ANALYZE {WRITE}"],
    "a common table expression": [
        "BEGIN READ WRITE",
        "WITH x AS (DELETE FROM workflow RETURNING 1) SELECT * FROM x",
    ],
    "a tenant": [
        "BEGIN READ WRITE",
        "SELECT set_config('app.tenant_id', gen_random_uuid()::text, true)",
        WRITE,
    ],
    "another role": ["SET ROLE weir_owner"],
    "the app's role": ["SET ROLE weir_app"],
    "another session": ["SET SESSION AUTHORIZATION weir_owner"],
    "row security": ["BEGIN READ WRITE", "SET LOCAL row_security = off", WRITE],
    "replication": ["SET session_replication_role = replica"],
    "a program": ["COPY (SELECT 1) TO PROGRAM 'true'"],
    "a file": ["COPY (SELECT 1) TO '/tmp/x'"],
    "the server's files": ["SELECT pg_read_file('PG_VERSION')"],
    "a lookup function": ["SELECT * FROM lookup.api_key('x')"],
    "the catalog": ["BEGIN READ WRITE", "UPDATE pg_class SET relrowsecurity = false"],
    "a signal": ["SELECT pg_terminate_backend(1) FROM pg_reload_conf()"],
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_gets_around_it(reader: psycopg.Connection, tenant: Tenant, trick: str) -> None:
    refused(reader, *TRICKS[trick])
    assert reader.execute("SELECT count(*) FROM workflow WHERE name = 'x'").fetchone() == (0,)


# --- The other logins ------------------------------------------------------------------------------------------------


def test_no_login_but_the_owner_owns_anything_or_may_make_temporary_tables(committed: None) -> None:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        rows = connection.execute(
            """SELECT rolname, has_database_privilege(oid, current_database(), 'TEMP, CREATE'),
                      has_schema_privilege(oid, 'public', 'CREATE'), has_schema_privilege(oid, 'lookup', 'CREATE'),
                      (SELECT count(*) FROM pg_class WHERE relowner = r.oid)
                      + (SELECT count(*) FROM pg_proc WHERE proowner = r.oid)
               FROM pg_roles r WHERE rolname = ANY(%s)""",
            ([login for login in LOGINS if login != "weir_owner"],),
        ).fetchall()
    assert sorted(rows) == sorted(
        (login, False, False, False, 0) for login in LOGINS if login != "weir_owner"
    )
    for login in ("weir_app", "weir_ops", "weir_backup"):
        with psycopg.connect(os.environ[LOGIN_URLS[login]], autocommit=True) as connection:
            refused(connection, "BEGIN READ WRITE", "CREATE TEMP TABLE t (id int)")
            refused(connection, "SET ROLE weir_owner")


def test_backup_reads_everything_and_writes_nothing(committed: None) -> None:
    with psycopg.connect(os.environ["DATABASE_BACKUP_URL"], autocommit=True) as connection:
        connection.execute("SELECT * FROM integrations_connectionsecret")
        for statement in WRITES:
            refused(connection, "BEGIN READ WRITE", statement)


def test_the_test_servers_roles_are_as_they_should_be(committed: None) -> None:
    admin = os.environ["DATABASE_ADMIN_URL"]
    database = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])["dbname"]
    assert [change.shown for change in plan_roles(admin, str(database), passwords())] == []
