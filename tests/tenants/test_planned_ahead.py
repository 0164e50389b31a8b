"""Plans that are made for any values, and not kept for longer than the tables stay as they were."""

import os
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections

from tenants import scope
from tenants.models import Tenant
from tenants.scope import tenant_scope
from workflows.lanes.wire import engine_cursor

SAID = "UPDATE grows g SET n = t.n FROM unnest(%s::int[], %s::int[]) t(id, n) WHERE g.id = t.id"
ONE_BY_ONE = r"grows_pkey on .*\n +Index Cond: \(id = t.id\)"


@pytest.fixture
def grows(committed: None) -> Iterator[psycopg.Connection[Any]]:
    """Its owner's session: a table of one row, which nobody will analyze again."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("CREATE TABLE grows (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off)")
        owner.execute("GRANT SELECT, UPDATE ON grows TO PUBLIC")
        owner.execute("INSERT INTO grows VALUES (0, 0)")
        owner.execute("ANALYZE grows")
        yield owner
        owner.execute("DROP TABLE grows")


def say(tenant: Tenant) -> str:
    """Send the statement; the plan that was used."""
    with tenant_scope(tenant, ahead=True), engine_cursor("default", prepared=True) as cursor:
        cursor.execute(SAID, [[1, 2, 3], [4, 5, 6]])
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'UPDATE grows%%'")
        cursor.execute(f'EXPLAIN EXECUTE "{cursor.fetchone()[0]}"(NULL, NULL)')
        return "\n".join(row[0] for row in cursor.fetchall())


def test_a_plan_does_not_outlive_the_size_that_its_tables_had(
    tenant: Tenant, grows: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "PLANS_LAST_S", 3600.0)
    assert not re.search(ONE_BY_ONE, say(tenant))
    grows.execute("INSERT INTO grows SELECT n, 0 FROM generate_series(1, 50000) n")
    assert not re.search(ONE_BY_ONE, say(tenant))
    monkeypatch.setattr(scope, "PLANS_LAST_S", 0.0)
    assert re.search(ONE_BY_ONE, say(tenant))


def test_the_settings_end_with_the_transaction(tenant: Tenant, committed: None) -> None:
    def settings() -> tuple[str, str]:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT current_setting('plan_cache_mode'), current_setting('enable_hashjoin')")
            found: tuple[str, str] = cursor.fetchone()
            return found

    with tenant_scope(tenant, ahead=True):
        assert settings() == ("force_generic_plan", "off")
    assert settings() == ("auto", "on")
