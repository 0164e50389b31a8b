"""What every tenant-owned model inherits, and the key that keeps its relations inside one tenant, on tables of its own."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections, models
from django.test.utils import isolate_apps

from tenants.base import SameTenant, owned_key, require_scope, tenant_relation, vouched_tenant
from tenants.errors import ScopeError
from tenants.models import ApiKey, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.factories import make_tenant

MINE, THEIRS = uuid.UUID(int=1), uuid.UUID(int=2)
SHELF = uuid.UUID(int=10)
OPTIONS = {"field": "shelf", "to": "tenants.Shelf", "name": "book_shelf_same"}


def statements(constraint: SameTenant, way: str) -> list[str]:
    """What a migration runs to add or remove the constraint, on a model `Book` that points at a `Shelf`."""
    with isolate_apps("tenants"):

        class Shelf(models.Model):
            class Meta:
                app_label = "tenants"
                db_table = "Shelf of"

        class Book(models.Model):
            shelf = models.ForeignKey(Shelf, models.CASCADE, db_column="on Shelf")

            class Meta:
                app_label = "tenants"
                db_table = "Book of"

        with connections["default"].schema_editor(collect_sql=True, atomic=False) as editor:
            now = getattr(constraint, way)(Book, editor)
            found = [str(statement) for statement in (now, *editor.deferred_sql) if statement]
            editor.deferred_sql.clear()
        return found


@pytest.fixture
def owner(db: None) -> Iterator[psycopg.Connection]:
    """The owner, with a shelf of ours; whatever happens is undone."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
        connection.execute('CREATE TABLE "Shelf of" (tenant_id uuid, id uuid, UNIQUE (tenant_id, id))')
        connection.execute('CREATE TABLE "Book of" (tenant_id uuid NOT NULL, id int, "on Shelf" uuid)')
        connection.execute('INSERT INTO "Shelf of" VALUES (%s, %s)', [MINE, SHELF])
        yield connection
        connection.rollback()


def put(owner: psycopg.Connection, tenant: uuid.UUID, shelf: uuid.UUID | None = SHELF) -> None:
    owner.execute('INSERT INTO "Book of" VALUES (%s, 1, %s)', [tenant, shelf])


def add(owner: psycopg.Connection, way: str = "create_sql", **options: str) -> None:
    (statement,) = statements(SameTenant(**{**OPTIONS, **options}), way)
    owner.execute(statement)


@pytest.mark.parametrize("way", ["create_sql", "constraint_sql"])
def test_a_row_cannot_point_into_another_tenant(owner: psycopg.Connection, way: str):
    add(owner, way)
    put(owner, MINE)
    put(owner, THEIRS, None)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="book_shelf_same"):
        put(owner, THEIRS)


def test_the_order_of_inserts_is_free_where_it_is_asked_for(owner: psycopg.Connection):
    add(owner)
    owner.execute("SET CONSTRAINTS book_shelf_same DEFERRED")
    put(owner, THEIRS)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        owner.execute("SET CONSTRAINTS book_shelf_same IMMEDIATE")


@pytest.mark.parametrize(
    ("options", "left"),
    [({}, []), ({"on_delete": "CASCADE"}, []), ({"on_delete": "SET NULL"}, [(MINE, 1, None)])],
)
def test_what_becomes_of_rows_whose_target_goes(owner: psycopg.Connection, options: Any, left: Any):
    add(owner, **options)
    put(owner, MINE)
    owner.execute('DELETE FROM "Shelf of"')
    assert owner.execute('SELECT * FROM "Book of"').fetchall() == left


def test_a_target_that_is_needed_stays(owner: psycopg.Connection):
    add(owner, on_delete="RESTRICT")
    put(owner, MINE)
    with pytest.raises(psycopg.errors.RestrictViolation):
        owner.execute('DELETE FROM "Shelf of"')


def test_it_can_be_taken_away_and_taking_away_twice_is_harmless(owner: psycopg.Connection):
    add(owner)
    (statement,) = statements(SameTenant(**OPTIONS), "remove_sql")
    owner.execute(statement)
    owner.execute(statement)
    put(owner, THEIRS)


def test_a_migration_writes_it_down_and_gets_the_same_again():
    one = SameTenant(**OPTIONS, on_delete="SET NULL")
    assert one.deconstruct() == ("tenants.base.SameTenant", (), {**OPTIONS, "on_delete": "SET NULL"})
    assert SameTenant(**OPTIONS).deconstruct()[2]["on_delete"] == "CASCADE"
    assert one.clone() == one
    assert one.clone() is not one


@pytest.mark.parametrize("change", [{"field": "x"}, {"to": "x"}, {"name": "x"}, {"on_delete": "RESTRICT"}])
def test_any_difference_is_one(change: dict[str, str]):
    assert SameTenant(**OPTIONS) == SameTenant(**OPTIONS)
    assert SameTenant(**OPTIONS) != SameTenant(**{**OPTIONS, **change})
    assert SameTenant(**OPTIONS) != models.UniqueConstraint(fields=["shelf"], name=OPTIONS["name"])


def test_saving_leaves_the_check_to_the_database():
    SameTenant(**OPTIONS).validate(ApiKey, ApiKey())  # a query would raise outside a scope


def test_a_relation_has_no_key_of_its_own_and_goes_with_its_target():
    relation = tenant_relation("tenants.ApiKey", null=True, related_name="+")
    assert relation.remote_field.on_delete is models.CASCADE
    assert str(relation.remote_field.model) == "tenants.ApiKey"
    assert relation.db_constraint is False
    assert relation.null
    assert tenant_relation("x", on_delete=models.PROTECT).remote_field.on_delete is models.PROTECT


def test_a_tenant_that_another_key_vouches_for_has_no_key_and_no_index_of_its_own():
    field = vouched_tenant()
    assert field.remote_field.on_delete is models.CASCADE
    assert str(field.remote_field.model) == "tenants.Tenant"
    assert field.remote_field.related_name == "+"
    assert (field.db_constraint, field.db_index, field.editable, field.null) == (False, False, False, False)


def test_the_key_that_relations_refer_to():
    key = owned_key("book")
    assert (key.fields, key.name) == (("tenant", "id"), "book_tenant_id_key")


def test_outside_a_scope_is_told_what_to_do():
    with pytest.raises(ScopeError) as told:
        require_scope("default")
    assert (
        str(told.value)
        == "Tenant data was asked for outside a tenant scope: wrap the call in tenant_scope()."
    )


def test_the_ops_login_needs_an_ops_scope_even_inside_a_tenant(tenant: Tenant):
    with pytest.raises(ScopeError) as told:
        require_scope("ops")
    assert str(told.value) == "The ops login was used outside an ops scope."
    with tenant_scope(tenant), pytest.raises(ScopeError):
        require_scope("ops")
    with ops_scope("tests"):
        require_scope("ops")
        with pytest.raises(ScopeError):
            require_scope("default")


def test_a_query_of_one_tenant_does_not_run_in_anothers_scope(tenant: Tenant, other_tenant: Tenant):
    with tenant_scope(tenant):
        query = ApiKey.objects.filter(name="x")
        require_scope("default", tenant.pk)
        assert not query.exists()
    with tenant_scope(other_tenant), pytest.raises(ScopeError) as told:
        list(query)
    assert str(told.value) == "A query made for one tenant was run in another tenant's scope."


@pytest.mark.parametrize("how", ["update", "delete", "bulk_create"])
def test_no_write_runs_outside_a_scope(tenant: Tenant, how: str):
    act: Any = {
        "update": lambda: ApiKey.objects.update(name="x"),
        "delete": lambda: ApiKey.objects.all().delete(),
        "bulk_create": lambda: ApiKey.objects.bulk_create([]),
    }[how]
    with pytest.raises(ScopeError):
        act()
    with tenant_scope(tenant):
        assert act() in (0, (0, {}), [])


def test_many_rows_are_made_in_steps_and_may_be_there_already(tenant: Tenant):
    def rows() -> list[ApiKey]:
        return [
            ApiKey(tenant_id=tenant.pk, name="x", hint="x", digest=bytes([n]) * 32, scopes=["read"])
            for n in range(3)
        ]

    with tenant_scope(tenant):
        assert len(ApiKey.objects.bulk_create(rows(), batch_size=2)) == 3
        ApiKey.objects.bulk_create(rows(), ignore_conflicts=True)
        assert ApiKey.objects.count() == 3
        assert ApiKey.objects.update(name="y") == 3
        assert ApiKey.objects.filter(name="y").delete() == (3, {"tenants.ApiKey": 3})


def test_inside_an_ops_scope_many_rows_are_written_by_the_ops_login(committed: None):
    tenant = make_tenant().tenant
    row = ApiKey(tenant_id=tenant.pk, name="x", hint="x", digest=b"1" * 32, scopes=["read"])
    with ops_scope("tests"):
        assert [made._state.db for made in ApiKey.objects.bulk_create([row])] == ["ops"]
        assert ApiKey.objects.update(name="y") == 1
        assert ApiKey.objects.filter(name="y").delete()[0] == 1


def test_a_row_is_saved_under_the_open_tenant_unless_told_otherwise(tenant: Tenant, other_tenant: Tenant):
    with tenant_scope(tenant):
        row = ApiKey(name="x", hint="x", digest=b"1" * 32, scopes=["read"])
        row.save()
        assert row.tenant_id == tenant.pk
        row.name, row.hint = "y", "y"
        row.save(update_fields=["name"])
        row.refresh_from_db()
        assert (row.name, row.hint) == ("y", "x")
        told = ApiKey(tenant_id=other_tenant.pk, name="x", hint="x", digest=b"2" * 32, scopes=["read"])
        with pytest.raises(Exception, match="row-level security"):
            told.save()
    with pytest.raises(ScopeError):
        ApiKey(name="x", hint="x", digest=b"3" * 32, scopes=["read"]).save()
