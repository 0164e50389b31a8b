"""The sweep over the catalogue: every table in its class, with its policies, grants, keys and unique indexes."""

import json
import os
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from psycopg import sql

from tenants import upkeep
from tenants.classes import REVIEWED_UNIQUES, models_by_table, table_classes
from tenants.rls import REVIEWED_DEFINERS
from tenants.roles import LOGINS
from tenants.verdicts import report
from tests.invariants.isolation.logins import Pretended
from tests.invariants.isolation.seeds import CannotSeed, build


def faults(connection: psycopg.Connection) -> list[str]:
    with connection.cursor() as cursor:
        return report(cursor).faults


@pytest.mark.parametrize("login", LOGINS)
def test_the_database_holds_what_the_models_say_whoever_asks(login: str, django_db_setup: None) -> None:
    variable = {"weir_app": "DATABASE_URL"}.get(login, f"DATABASE_{login.removeprefix('weir_').upper()}_URL")
    with psycopg.connect(os.environ[variable]) as connection:
        assert faults(connection) == []


def test_every_table_of_every_app_is_swept(admin: psycopg.Connection) -> None:
    there = admin.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    ).fetchall()
    with admin.cursor() as cursor:
        swept = {verdict.table for verdict in report(cursor).tables}
    assert len(there) > 50
    assert {row[0] for row in there} <= swept
    assert {model._meta.db_table for model in models_by_table().values()} <= swept


# What a hand may do to the database beside a table, and the words that the sweep finds for it.
HANDS = {
    "CREATE TABLE forgotten (id uuid PRIMARY KEY, tenant_id uuid)": "forgotten: is in no class",
    "CREATE SCHEMA side; CREATE TABLE side.forgotten (id int)": "side.forgotten: is in no class",
    "CREATE VIEW peek AS SELECT * FROM run": "peek: is a view without security_invoker",
    "CREATE VIEW peek WITH (security_invoker) AS SELECT * FROM run; GRANT SELECT ON peek TO PUBLIC": (
        "peek: everybody has SELECT"
    ),
    "CREATE MATERIALIZED VIEW kept AS SELECT * FROM run": "kept: is a materialised view",
    "CREATE TABLE step_2099_01 PARTITION OF step FOR VALUES FROM ('fffffff0-0000-0000-0000-000000000000') "
    "TO ('fffffff1-0000-0000-0000-000000000000')": "step_2099_01: row-level security is off",
    "GRANT SELECT ON step_default TO weir_app": "step_default: weir_app has SELECT, too many",
    "GRANT USAGE ON SEQUENCE auth_group_id_seq TO weir_app": "auth_group_id_seq: weir_app has USAGE, too many",
    "GRANT INSERT ON django_migrations TO weir_ops": "django_migrations: weir_ops has INSERT, too many",
    "GRANT SELECT (session_key) ON django_session TO weir_readonly": (
        "django_session: weir_readonly has SELECT (session_key), too many"
    ),
    "GRANT SELECT ON run TO weir_app WITH GRANT OPTION": "run: weir_app has SELECT WITH GRANT OPTION, too many",
    "CREATE RULE also AS ON INSERT TO run DO ALSO NOTHING": "run: has the rule also",
    "ALTER TABLE run OWNER TO weir_ops": "run: belongs to weir_ops",
    "CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM run'": (
        "peek() runs with the rights of"
    ),
    "CREATE FUNCTION lookup.peek() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'": "lookup.peek() runs with",
    "CREATE FUNCTION public.eq(uuid, uuid) RETURNS bool LANGUAGE sql LEAKPROOF AS 'SELECT true'": "leakproof",
    "GRANT EXECUTE ON FUNCTION lookup.api_key(bytea) TO PUBLIC": "lookup.api_key(bytea) belongs to weir_lookup, for ",
    "ALTER FUNCTION lookup.api_key(bytea) RESET search_path": "lookup.api_key(bytea) has no pinned search path",
    "ALTER FUNCTION lookup.api_key(bytea) SET search_path = public, pg_catalog": "has no pinned search path",
    "ALTER FUNCTION lookup.api_key(bytea) SET search_path = pg_catalog, public": "has no pinned search path",
    "ALTER FUNCTION lookup.api_key(bytea) OWNER TO weir_owner": "belongs to weir_owner",
    "DROP FUNCTION lookup.tenants_of(uuid)": "the function lookup.tenants_of is missing",
    "CREATE OR REPLACE FUNCTION lookup.api_key(wanted bytea) RETURNS TABLE (key_id uuid, tenant_id uuid, "
    "tenant_name text, plan text, tenant_status text, livemode boolean, scopes text[], expires_at timestamptz, "
    "revoked_at timestamptz, last_used_at timestamptz, hint text) LANGUAGE sql SECURITY DEFINER "
    "SET search_path = pg_catalog, public AS 'SELECT NULL::uuid, NULL::uuid, NULL, NULL, NULL, true, NULL::text[], "
    "now(), now(), now(), NULL'": "lookup.api_key(bytea) is not what was reviewed",
    "GRANT CREATE ON SCHEMA public TO weir_app": "weir_app may create in: public",
    "GRANT TEMPORARY ON DATABASE {database} TO weir_app": "weir_app may create in: temporary tables",
    "ALTER DEFAULT PRIVILEGES FOR ROLE weir_owner GRANT SELECT ON TABLES TO weir_app": (
        "new tables of weir_owner are open to weir_app"
    ),
    "DROP TRIGGER weir_closing_is_final ON tenants_tenant": "tenants_tenant: lacks the trigger weir_closing_is_final",
    "ALTER TABLE tenants_user DISABLE TRIGGER weir_staff_made": "the trigger weir_staff_made is switched off",
    "CREATE OR REPLACE FUNCTION weir_staff_by_ops() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'": (
        "tenants_user_groups: the trigger weir_staff_groups is not what was reviewed"
    ),
    "CREATE OR REPLACE TRIGGER weir_staff_made BEFORE INSERT ON tenants_user FOR EACH ROW WHEN (NEW.is_staff) "
    "EXECUTE FUNCTION weir_staff_by_ops()": "tenants_user: the trigger weir_staff_made is not what was reviewed",
    "CREATE TRIGGER more BEFORE INSERT ON run FOR EACH ROW EXECUTE FUNCTION weir_staff_by_ops()": (
        "run: has the trigger more, unreviewed"
    ),
    "ALTER ROLE weir_app RESET track_activities": "sessions of weir_app can read each other's queries",
    "ALTER ROLE weir_ops IN DATABASE {database} SET track_activities = on": "sessions of weir_ops can read",
    "ALTER ROLE weir_app BYPASSRLS": "policies do not hold for weir_app",
    "ALTER ROLE weir_ops SUPERUSER": "policies do not hold for weir_ops",
    "GRANT weir_owner TO weir_app": "weir_app can act as weir_owner",
    "GRANT SET ON PARAMETER session_replication_role TO weir_app": "weir_app may set session_replication_role",
    "GRANT SET ON PARAMETER session_replication_role TO PUBLIC": "PUBLIC may set session_replication_role",
    "GRANT EXECUTE ON FUNCTION lo_put(oid, bigint, bytea) TO weir_app": "weir_app may write large objects: lo_put",
    "GRANT USAGE ON SCHEMA lookup TO weir_readonly": "weir_readonly may use the schema lookup",
    "ALTER FUNCTION pg_catalog.textlike(text, text) LEAKPROOF": "textlike(text,text) calls itself leakproof",
    "ALTER FUNCTION pg_catalog.int4div(int, int) LEAKPROOF": "int4div(integer,integer) calls itself leakproof",
    "ALTER ROLE weir_app SET app.tenant_id = '00000000-0000-0000-0000-000000000001'": (
        "sessions of weir_app begin with a value of app.tenant_id"
    ),
    "ALTER DATABASE {database} SET app.tenant_id = '00000000-0000-0000-0000-000000000001'": (
        "sessions of everybody begin with a value of app.tenant_id"
    ),
    "ALTER ROLE weir_app IN DATABASE {database} SET session_replication_role = replica": (
        "sessions of weir_app begin with a value of session_replication_role"
    ),
    "CREATE FUNCTION public.noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; "
    "CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION public.noted()": (
        "the event trigger noted is unreviewed"
    ),
    "ALTER TABLE lane ALTER tenant_id SET DEFAULT '00000000-0000-0000-0000-000000000001'": (
        "lane: its column tenant_id has the default"
    ),
    "ALTER TABLE run DROP CONSTRAINT run_workflow_fk; ALTER TABLE run ADD CONSTRAINT run_workflow_fk FOREIGN KEY "
    "(tenant_id, workflow_id) REFERENCES workflow (tenant_id, id) ON UPDATE CASCADE ON DELETE RESTRICT": (
        "run: foreign key run_workflow_fk changes its rows with what they point at"
    ),
    "ALTER TABLE run_event DROP CONSTRAINT run_event_keeps_run; ALTER TABLE run_event ADD CONSTRAINT run_event_keeps_run "
    "FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id) ON DELETE CASCADE": (
        "run_event: foreign key run_event_keeps_run deletes or changes history"
    ),
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_a_hand_did_beside_the_models_is_found(hand: str, admin: psycopg.Connection) -> None:
    database = sql.Identifier(admin.info.dbname).as_string(admin)
    admin.execute(hand.replace("{database}", database))
    found = faults(admin)
    assert [fault for fault in found if HANDS[hand] in fault], found


def test_a_new_table_with_the_right_column_and_no_policy_is_closed_and_found(
    admin: psycopg.Connection,
) -> None:
    admin.execute("SET ROLE weir_owner")
    admin.execute(
        "CREATE TABLE gadget (id uuid PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES tenants_tenant)"
    )
    for login in LOGINS[1:]:
        answer = Pretended(admin, login).run(None, ("SELECT * FROM gadget", []))
        assert answer.error == "42501", login
    admin.execute("RESET ROLE")
    assert faults(admin) == ["gadget: is in no class: no model makes it"]


def test_the_upkeep_mends_what_was_undone_and_then_touches_nothing(admin: psycopg.Connection) -> None:
    for hand in (
        "DROP POLICY weir_app_own ON run",
        "ALTER POLICY weir_app_own ON record USING (true)",
        "CREATE POLICY mine ON lane TO weir_app USING (true)",
        "ALTER TABLE upload NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE workflow DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE django_session ENABLE ROW LEVEL SECURITY",
        "GRANT SELECT ON integrations_connectionsecret TO weir_ops",
        "GRANT SELECT ON step_default TO weir_app",
        "REVOKE SELECT ON billing_plan FROM weir_app",
        "DROP FUNCTION lookup.tenants_of(uuid)",
        "GRANT EXECUTE ON FUNCTION lookup.invitation(bytea) TO PUBLIC",
    ):
        admin.execute(hand)
    assert len(faults(admin)) >= 11
    admin.execute("SET LOCAL SESSION AUTHORIZATION weir_owner")
    with admin.cursor() as cursor:
        changed = upkeep.apply(cursor)
        assert set(changed) == {
            "run", "record", "lane", "upload", "workflow", "django_session",
            "integrations_connectionsecret", "step_default", "billing_plan",
        }  # fmt: skip
        assert report(cursor).faults == []
        assert upkeep.apply(cursor) == []


def test_a_migrate_that_changes_nothing_waits_for_nobody(admin: psycopg.Connection) -> None:
    """Policies are dropped and made under the strongest lock there is, so a release must not do that for nothing."""
    admin.execute("SELECT 1 FROM run")  # a reader in an open transaction
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner, owner.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
        assert upkeep.apply(cursor) == []
        locks = cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock'"
        ).fetchone()
        assert locks == (0,)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_each_table_and_says_that_nothing_is_wrong(
    db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("rls")
    shown = capsys.readouterr().out
    for word in (
        "tenants_membership",
        "app=own",
        "integrations_connectionsecret",
        "secret",
        "identity",
        "no fault",
    ):
        assert word in shown
    call_command("rls", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["beside"] == []
    run = next(table for table in found["tables"] if table["table"] == "run")
    assert run["class"] == "tenant"
    assert run["forced"] is True
    assert run["grants"]["weir_app"] == "rawd"
    assert "weir_app_own" in run["policies"]


def test_the_command_fails_and_names_the_fault(
    db: None, capsys: pytest.CaptureFixture[str], owner: psycopg.Connection
) -> None:
    owner.execute("ALTER TABLE run NO FORCE ROW LEVEL SECURITY")
    try:
        with pytest.raises(SystemExit) as stopped:
            call_command("rls", "--faults")
        assert stopped.value.code == 1
        shown = capsys.readouterr().out
        assert "run: row-level security is not forced" in shown
        assert "tenants_membership" not in shown
        with pytest.raises(SystemExit):
            call_command("rls", "--json")
        assert json.loads(capsys.readouterr().out)["ok"] is False
    finally:
        owner.execute("ALTER TABLE run FORCE ROW LEVEL SECURITY")


def test_reviewed_exceptions_are_few_and_in_use(admin: psycopg.Connection) -> None:
    names = {row[0] for row in admin.execute("SELECT relname FROM pg_class WHERE relkind = 'i'").fetchall()}
    assert REVIEWED_UNIQUES.keys() <= names
    assert len(REVIEWED_UNIQUES) <= 6
    assert len(REVIEWED_DEFINERS) <= 4


def test_a_table_that_introspection_cannot_fill_stops_the_suite(owner: psycopg.Connection) -> None:
    with undone_by_owner(owner):
        owner.execute("ALTER TABLE lane ADD CONSTRAINT odd CHECK (parallelism > 1 AND provider LIKE 'x%')")
        with pytest.raises(CannotSeed, match=r"lane cannot be filled.*HINTS"):
            build(owner)


def undone_by_owner(connection: psycopg.Connection) -> Any:
    return connection.transaction(force_rollback=True)


def test_all_classes_are_in_use_and_no_table_is_named_twice() -> None:
    tables = [entry.table for entry in table_classes()]
    assert len(tables) == len(set(tables))
    assert {entry.kind for entry in table_classes()} >= {
        "tenant",
        "secret",
        "reference",
        "identity",
        "system",
    }
