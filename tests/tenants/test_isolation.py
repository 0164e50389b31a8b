"""The database itself keeps tenants apart: what the app login may see and point at, whatever the code forgets."""

from collections.abc import Callable

import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction

from integrations.models import Connection
from tenants.classes import table_classes
from tenants.errors import ScopeError
from tenants.ids import uuid7
from tenants.models import ApiKey, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.factories import ACTOR, make_connection, make_key
from workflows.models import Lane, Run, Workflow
from workflows.operations.accept_run import accept_run, find_workflow

ADA = {"first_name": "Ada", "last_name": "Lovelace", "domain": "engine.example"}


def setting() -> str | None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT nullif(current_setting('app.tenant_id', true), '')")
        return cursor.fetchone()[0]


def test_outside_a_scope_a_query_raises_when_it_is_run_and_not_when_it_is_made(tenant: Tenant) -> None:
    runs = Run.objects.all()
    for query in (lambda: list(runs), runs.count, runs.exists, lambda: runs.update(name="x"), runs.delete):
        with pytest.raises(ScopeError):
            query()


def test_rows_by_the_policys_words_are_the_same_and_keep_the_same_rules(
    committed: None, tenant: Tenant, other_tenant: Tenant
) -> None:
    early = Workflow.objects.by_policy()
    with pytest.raises(ScopeError):
        list(early)
    with tenant_scope(tenant):
        mine = Workflow.objects.by_policy().order_by("id")
        assert [row.pk for row in mine] == [row.pk for row in Workflow.objects.order_by("id")] != []
        assert {row.tenant_id for row in mine} == {tenant.pk}
    with tenant_scope(other_tenant), pytest.raises(ScopeError, match="made for one tenant"):
        list(mine.all())
    with ops_scope("test"):
        assert {row.tenant_id for row in Workflow.objects.by_policy()} == {tenant.pk, other_tenant.pk}


def test_raw_sql_outside_a_scope_is_an_error_and_never_an_empty_result(tenant: Tenant) -> None:
    """Over empty tables too, as most are here: the planner asks whose rows are meant before it looks for any. But for those
    that joins look rows up in, where PostgreSQL asks when there is a row."""
    asked = 0
    for entry in (entry for entry in table_classes() if entry.walled and not entry.joined):
        table, column = entry.table, entry.column
        statements = [
            f"SELECT * FROM {table}",
            f"SELECT count(*) FROM {table}",
            f"SELECT 1 FROM {table} LIMIT 1",
        ]
        statements.append(f"SELECT 1 FROM {table} WHERE {column} = '{tenant.pk}'")
        if not entry.append_only:
            statements += [f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"]
        for statement in statements:
            with (
                pytest.raises(DatabaseError, match=r"app\.tenant_id|for type uuid"),
                transaction.atomic(),
                connections["default"].cursor() as cursor,
            ):
                cursor.execute(statement)
            asked += 1
    assert asked > 60


def test_raw_sql_sees_the_open_tenants_rows_alone(tenant: Tenant, other_tenant: Tenant) -> None:
    for mine in (tenant, other_tenant):
        with tenant_scope(mine), connections["default"].cursor() as cursor:
            cursor.execute("SELECT DISTINCT tenant_id FROM workflow")
            assert cursor.fetchall() == [(mine.pk,)]
            cursor.execute("SELECT id FROM tenants_tenant")
            assert cursor.fetchall() == [(mine.pk,)]


def test_another_tenants_rows_cannot_be_changed_or_added(tenant: Tenant, other_tenant: Tenant) -> None:
    with tenant_scope(other_tenant):
        theirs = Workflow.objects.get(slug="email-waterfall")
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        cursor.execute("UPDATE workflow SET name = 'mine' WHERE id = %s", [theirs.pk])
        assert cursor.rowcount == 0
        cursor.execute("DELETE FROM workflow WHERE id = %s", [theirs.pk])
        assert cursor.rowcount == 0
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Workflow.objects.create(tenant_id=other_tenant.pk, template="x", name="x", slug="x")


def test_a_row_cannot_point_into_another_tenant(tenant: Tenant, other_tenant: Tenant) -> None:
    theirs = make_connection(other_tenant, "prospeo")
    with (
        tenant_scope(tenant),
        pytest.raises(IntegrityError, match="lane_connection_fk"),
        transaction.atomic(),
    ):
        Lane.objects.create(connection_id=theirs.pk, provider="prospeo", key_hint="x")


def test_a_unique_value_of_another_tenant_is_free(tenant: Tenant, other_tenant: Tenant) -> None:
    with tenant_scope(other_tenant):
        Workflow.objects.create(template="email-waterfall", name="Same", slug="same")
    with tenant_scope(tenant):
        Workflow.objects.create(template="email-waterfall", name="Same", slug="same")


def test_a_scope_leaves_nothing_behind_however_it_is_left(tenant: Tenant) -> None:
    with tenant_scope(tenant):
        assert setting() == str(tenant.pk)
        with tenant_scope(tenant):
            pass
        assert setting() == str(tenant.pk)
    assert setting() is None
    with pytest.raises(RuntimeError), tenant_scope(tenant):
        raise RuntimeError
    assert setting() is None
    with pytest.raises(DatabaseError), tenant_scope(tenant), connections["default"].cursor() as cursor:
        cursor.execute("SELECT nonsense")
    assert setting() is None


def test_one_tenants_scope_does_not_open_inside_anothers(tenant: Tenant, other_tenant: Tenant) -> None:
    with tenant_scope(tenant), pytest.raises(ScopeError), tenant_scope(other_tenant):
        pass
    with tenant_scope(tenant), pytest.raises(ScopeError), ops_scope("why"):
        pass
    with ops_scope("why"), pytest.raises(ScopeError), tenant_scope(tenant):
        pass


def test_a_query_made_for_one_tenant_does_not_run_in_anothers_scope(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    with tenant_scope(tenant):
        mine = Workflow.objects.all()
    with tenant_scope(other_tenant), pytest.raises(ScopeError):
        list(mine)


def test_the_app_login_cannot_change_the_schema_or_the_trail(tenant: Tenant) -> None:
    for statement in (
        "CREATE TABLE x (id int)",
        "ALTER TABLE run DISABLE ROW LEVEL SECURITY",
        "DROP POLICY weir_app_own ON run",
        "TRUNCATE run",
        "SET ROLE weir_owner",
        "UPDATE tenants_auditevent SET verb = 'x'",
        "DELETE FROM billing_usageevent",
        "UPDATE step SET credits = 0",
        "SELECT * FROM step_default",
    ):
        with (
            tenant_scope(tenant),
            connections["default"].cursor() as cursor,
            pytest.raises(DatabaseError),
            transaction.atomic(),
        ):
            cursor.execute(statement)


def test_every_table_has_forced_policies_that_name_their_login(tenant: Tenant) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            """SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
                      ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = c.oid AND 0 = ANY(polroles))
               FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"""
        )
        tables = cursor.fetchall()
    # The machine's own may say whose a row turned out to be: the app login cannot touch them.
    machines = {entry.table for entry in table_classes() if entry.kind == "system"}
    tables = [row for row in tables if row[0] not in machines]
    assert len(tables) > 20
    assert [name for name, forced, _ in tables if not forced] == []
    assert [name for name, _, for_everybody in tables if for_everybody] == []


def test_secrets_are_out_of_reach_of_the_ops_login(
    committed: None, tenant: Tenant, connect: Callable[..., Connection]
) -> None:
    connect("prospeo", secret="sk-canary-1234")
    with ops_scope("test"), connections["ops"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM integrations_connection")
        assert cursor.fetchone() == (1,)
        with pytest.raises(DatabaseError, match="permission denied"):
            cursor.execute("SELECT * FROM integrations_connectionsecret")


def test_a_key_finds_its_tenant_before_any_scope_and_nothing_else(tenant: Tenant) -> None:
    from tenants.api_keys import digest
    from tenants.queries import key_owners, tenants_of

    plain = make_key(tenant)
    owner = key_owners([digest(plain)])[digest(plain)]
    assert owner is not None
    assert (owner.tenant_id, owner.scopes) == (tenant.pk, ("read", "write", "admin"))
    assert key_owners([digest(plain + "x")]) == {}
    assert tenants_of(uuid7()) == []


def test_the_usage_of_one_tenant_is_not_the_others(
    tenant: Tenant, other_tenant: Tenant, connect: Callable[..., Connection]
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="sandbox")
    with tenant_scope(tenant):
        accept_run(
            workflow=find_workflow("email-waterfall"), records=[ADA], actor=ACTOR, source="api", livemode=True
        )
    with tenant_scope(other_tenant):
        assert Run.objects.count() == 0
        assert ApiKey.objects.count() == 0
