"""What each class of table gets, as PostgreSQL holds it afterwards: applied to tables of its own, then undone."""

import os
from collections.abc import Iterator

import psycopg
import pytest

from tenants.classes import Isolated, Parent
from tenants.rls import (
    FUNCTIONS,
    definers,
    function_statements,
    grants,
    partition_statements,
    policies,
    statements_for,
)

R, ALL = {"SELECT"}, {"SELECT", "INSERT", "UPDATE", "DELETE"}
OWN = "(tenant_id = (current_setting('app.tenant_id'::text))::uuid)"
ONCE = "(tenant_id = ( SELECT (current_setting('app.tenant_id'::text))::uuid AS current_setting))"
PEOPLE = {"weir_owner_all": ("ALL", "weir_owner", "true", "true"),
          "weir_backup_read": ("SELECT", "weir_backup", "true", None)}  # fmt: skip
STAFF = {"weir_ops_all": ("ALL", "weir_ops", "true", "true"),
         "weir_readonly_read": ("SELECT", "weir_readonly", "true", None)}  # fmt: skip
MINE = {"weir_app_own": ("ALL", "weir_app", OWN, OWN)}
JUNCTION = Isolated("stray", "junction", parents=(Parent("run_id", "run", "id"),))
TWO = Isolated(
    "stray", "junction", parents=(Parent("run_id", "run", "id"), Parent("upload_id", "upload", "id"))
)


@pytest.fixture
def owner(db: None) -> Iterator[psycopg.Connection]:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
        connection.execute("CREATE TABLE stray (tenant_id uuid, run_id uuid, upload_id uuid)")
        yield connection
        connection.rollback()


def held(owner: psycopg.Connection, table: str = "stray") -> dict[str, tuple[str, str, str, str | None]]:
    """The policies of a table, by name: verb, login, condition of rows read, and of rows written."""
    rows = owner.execute(
        """SELECT policyname, cmd, roles::text[], qual, with_check, permissive FROM pg_policies
           WHERE tablename = %s""",
        [table],
    ).fetchall()
    assert all(row[5] == "PERMISSIVE" and len(row[2]) == 1 for row in rows)
    return {name: (verb, roles[0], qual, check) for name, verb, roles, qual, check, _ in rows}


def rights(owner: psycopg.Connection, table: str = "stray") -> dict[str, set[str]]:
    """By login, its verbs on the table; the owner's own are left out."""
    rows = owner.execute(
        """SELECT coalesce(r.rolname, 'PUBLIC'), a.privilege_type FROM pg_class c
           CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
           WHERE c.relname = %s AND a.grantee <> c.relowner""",
        [table],
    ).fetchall()
    return {role: {verb for who, verb in rows if who == role} for role, _ in rows}


def walls(owner: psycopg.Connection) -> tuple[bool, bool]:
    """Whether row security is on, and whether it holds for the table's owner too."""
    found = owner.execute(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'stray'"
    ).fetchone()
    assert found is not None
    return found


def apply(owner: psycopg.Connection, entry: Isolated, *strays: str) -> None:
    for statement in statements_for(entry, list(strays)):
        owner.execute(statement)


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (Isolated("stray", "tenant"), {**PEOPLE, **STAFF, **MINE}),
        (
            Isolated("stray", "tenant", joined=True),
            {**PEOPLE, **STAFF, "weir_app_own": ("ALL", "weir_app", ONCE, ONCE)},
        ),
        (Isolated("stray", "secret"), {**PEOPLE, **MINE}),
        (Isolated("stray", "partition"), PEOPLE),
        *((Isolated("stray", kind), {}) for kind in ("reference", "identity", "system", "sequence")),
    ],
    ids=lambda value: value.kind if isinstance(value, Isolated) else "",
)
def test_rows_of_tenants_have_a_policy_for_each_login_and_others_none(
    owner: psycopg.Connection, entry: Isolated, wanted: dict[str, tuple[str, ...]]
):
    apply(owner, entry)
    assert held(owner) == wanted
    assert walls(owner) == (bool(wanted), bool(wanted))


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (Isolated("stray", "tenant"), {"weir_app": ALL, "weir_ops": ALL, "weir_readonly": R}),
        (
            Isolated("stray", "tenant", append_only=True),
            {"weir_app": {"SELECT", "INSERT"}, "weir_ops": {"SELECT", "INSERT"}, "weir_readonly": R},
        ),
        (JUNCTION, {"weir_app": ALL, "weir_ops": ALL, "weir_readonly": R}),
        (Isolated("stray", "secret"), {"weir_app": ALL}),
        (Isolated("stray", "reference"), {"weir_app": R, "weir_ops": ALL, "weir_readonly": R}),
        (
            Isolated("stray", "reference", read_only=True),
            {"weir_app": R, "weir_ops": R, "weir_readonly": R},
        ),
        (Isolated("stray", "identity"), {"weir_app": ALL, "weir_ops": ALL}),
        (Isolated("stray", "system"), {"weir_ops": ALL}),
        (Isolated("stray", "partition"), {}),
        (Isolated("stray", "sequence"), {}),
    ],
    ids=lambda value: value.kind if isinstance(value, Isolated) else "",
)
def test_each_login_has_what_the_class_allows_and_a_dump_reads_all(
    owner: psycopg.Connection, entry: Isolated, wanted: dict[str, set[str]]
):
    owner.execute("GRANT ALL ON stray TO PUBLIC, weir_app, weir_ops, weir_readonly, weir_backup, weir_lookup")
    apply(owner, entry)
    assert rights(owner) == {**wanted, "weir_backup": R}


def test_applying_twice_is_harmless_and_strays_go(owner: psycopg.Connection):
    owner.execute('CREATE POLICY "Open to all" ON stray USING (true)')
    apply(owner, Isolated("stray", "tenant"), "Open to all")
    once = held(owner)
    apply(owner, Isolated("stray", "tenant"))
    assert held(owner) == once == {**PEOPLE, **STAFF, **MINE}


def test_a_table_that_is_no_tenants_any_more_loses_its_walls(owner: psycopg.Connection):
    apply(owner, Isolated("stray", "tenant"))
    apply(owner, Isolated("stray", "system"), *held(owner))
    assert (held(owner), walls(owner)) == ({}, (False, False))


def test_the_column_that_says_whose_a_row_is_may_have_another_name(owner: psycopg.Connection):
    apply(owner, Isolated("stray", "tenant", column="run_id"))
    assert held(owner)["weir_app_own"][2] == OWN.replace("tenant_id =", "run_id =")


@pytest.mark.parametrize(("entry", "parents"), [(JUNCTION, ["run"]), (TWO, ["run", "upload"])])
def test_a_junction_row_is_its_parents_tenants(
    owner: psycopg.Connection, entry: Isolated, parents: list[str]
):
    apply(owner, entry)
    (app,) = [policy for name, policy in held(owner).items() if name == "weir_app_own"]
    assert app[2] == app[3]
    single = [
        f"(EXISTS ( SELECT 1\n   FROM {parent} p\n  WHERE (p.id = stray.{parent}_id)))" for parent in parents
    ]
    assert app[2] == (single[0] if len(single) == 1 else f"({' AND '.join(single)})")


def test_a_new_partition_is_reached_by_dumps_and_its_owner_alone(owner: psycopg.Connection):
    owner.execute("GRANT ALL ON stray TO PUBLIC, weir_app, weir_ops")
    for statement in partition_statements("stray"):
        owner.execute(statement)
    assert held(owner) == PEOPLE
    assert walls(owner) == (True, True)
    assert rights(owner) == {"weir_backup": R}


def test_the_lookups_read_whole_tables_or_the_columns_that_they_need():
    assert grants(Isolated("tenants_apikey", "tenant"))["weir_lookup"] == R
    assert grants(Isolated("tenants_user", "identity"))["weir_lookup"] == {"SELECT (id)", "SELECT (email)"}
    assert "weir_lookup" not in grants(Isolated("stray", "tenant"))
    lookup = [p for p in policies(Isolated("tenants_apikey", "tenant")) if p.role == "weir_lookup"]
    assert [(p.name, p.verb, p.condition, p.check) for p in lookup] == [
        ("weir_lookup_read", "SELECT", "true", None)
    ]


def test_the_lookup_functions_are_made_anew_owned_and_called_by_the_right_logins(owner: psycopg.Connection):
    def found() -> dict[str, tuple[str, str, bool, bool]]:
        rows = owner.execute(
            """SELECT p.oid::regprocedure::text, pg_get_function_identity_arguments(p.oid), r.rolname,
                      has_function_privilege('weir_app', p.oid, 'EXECUTE'),
                      has_function_privilege('weir_ops', p.oid, 'EXECUTE')
               FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
               WHERE p.pronamespace = 'lookup'::regnamespace AND p.prosecdef"""
        ).fetchall()
        return {row[0]: row[1:] for row in rows}

    there = found()
    owner.execute("SET ROLE weir_lookup")
    owner.execute("CREATE FUNCTION lookup.stray() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")
    owner.execute("RESET ROLE")
    for statement in function_statements([*there, "lookup.stray()"]):
        owner.execute(statement)
    assert found() == there
    assert {name.split("(")[0] for name in there} == {f"lookup.{name.split('(')[0]}" for name in FUNCTIONS}
    assert {row[1:] for row in there.values()} == {("weir_lookup", True, False)}
    assert owner.execute("SELECT current_user").fetchone() == ("weir_owner",)


def test_every_function_with_its_owners_rights_is_listed_as_it_is_there(owner: psycopg.Connection):
    rows = owner.execute(
        """SELECT p.pronamespace::regnamespace::text || '.' || p.proname,
                  coalesce((SELECT string_agg(format_type(t, NULL), ', ' ORDER BY o)
                            FROM unnest(p.proargtypes) WITH ORDINALITY a(t, o)), ''),
                  encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'), r.rolname
           FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.prosecdef"""
    ).fetchall()
    listed = list(definers())
    assert {(d.name, d.types, d.digest, d.owner) for d in listed} == set(rows)
    assert {d.caller for d in listed if d.name.startswith("lookup.")} == {"weir_app"}
    assert len(listed) == len(rows) == len(FUNCTIONS) + 4


@pytest.mark.parametrize(
    ("arguments", "types"),
    [
        ("a uuid", "uuid"),
        ("a uuid, b text[]", "uuid, text[]"),
        ("a timestamptz, b int[], c bool", "timestamp with time zone, integer[], boolean"),
        ("", ""),
    ],
)
def test_types_are_spelled_as_postgresql_prints_them(
    monkeypatch: pytest.MonkeyPatch, arguments: str, types: str
):
    monkeypatch.setattr("tenants.rls.REVIEWED_DEFINERS", ())
    monkeypatch.setattr("tenants.rls.FUNCTIONS", {f"some({arguments})": "AS $$ SELECT\n1 $$"})
    (found,) = definers()
    assert (found.name, found.types) == ("lookup.some", types)


def test_a_function_without_a_body_is_a_mistake(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tenants.rls.FUNCTIONS", {"some(a uuid)": "RETURN 1"})
    with pytest.raises(AssertionError, match="some has no body"):
        list(definers())
