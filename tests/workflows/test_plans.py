"""R6: with the policies on, no hot query reads a large table from end to end."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from bench.policies import accept, claim_steps, list_runs
from bench.seed import Seeded, seed
from tenants.scope import tenant_scope
from workflows import queries

LARGE = 10_000
VERBS = {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
TENANTS, RUNS, WAITING = 10, 1_100, 1_100


def read_run(one: Seeded) -> None:
    with tenant_scope(one.tenant_id):
        run = queries.get_run(one.waiting.facts.id)
        record = queries.records(run.pk)[100]
        queries.get_record(run.pk, record.pk)
        queries.record_steps(record)
        list(queries.runs("completed")[:51])


def filtered(one: Seeded) -> None:
    """Every filter of the lists of runs and records (workflows/api), alone and for a test key."""
    now = timezone.now()
    with tenant_scope(one.tenant_id):
        flow = queries.workflows()[0].pk
        for filters in (
            {"status": "queued"}, {"status": "failed"}, {"workflow": flow}, {"since": now - timedelta(minutes=1)},
            {"before": now - timedelta(days=1)}, {"workflow": flow, "status": "failed"}, {"test_only": True},
            {"test_only": True, "status": "completed"}, {"since": now - timedelta(days=1), "before": now},
        ):  # fmt: skip
            list(queries.runs(**filters)[:51])
        for status in (None, "queued", "failed"):
            list(queries.records(one.waiting.facts.id, status)[:51])


@pytest.fixture
def large(committed: None) -> tuple[list[Seeded], set[str]]:
    """Tenants, and the tables that have more than LARGE rows."""
    made = seed(tenants=TENANTS, runs=RUNS, waiting=WAITING)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE run, record, step_queue, lookup, workflow, lane")
        found = owner.execute("SELECT relname FROM pg_class WHERE reltuples > %s AND relkind = 'r'", (LARGE,))
        return made, {row[0] for row in found}


def plans_of(work: Callable[[Seeded], None], one: Seeded) -> list[tuple[str, Any]]:
    """(statement, its plan) of everything that `work` asks, as the app login in the tenant's scope."""
    plans = []

    def explained(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        verb = statement.split(maxsplit=1)[0].upper()
        if verb in VERBS and "set_config" not in statement:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", params)
                plan = cursor.fetchone()[0]
                plans.append((statement, json.loads(plan) if isinstance(plan, str) else plan))
        return execute(statement, params, many, context)

    with connection.execute_wrapper(explained):
        work(one)
    return plans


def scanned(plan: Any) -> set[str]:
    """The tables that a plan reads from end to end."""
    if isinstance(plan, list):
        return set().union(*map(scanned, plan))
    if not isinstance(plan, dict):
        return set()
    here = {plan["Relation Name"]} if plan.get("Node Type") == "Seq Scan" else set()
    return here.union(*(scanned(value) for value in plan.values()))


@pytest.mark.slow
def test_no_hot_query_reads_a_large_table_from_end_to_end(large: tuple[list[Seeded], set[str]]) -> None:
    made, tables = large
    assert tables >= {"run", "record", "step_queue"}
    asked = 0
    for work in (claim_steps, accept, list_runs, read_run, filtered):
        for statement, plan in plans_of(work, made[3]):
            asked += 1
            assert not scanned(plan) & tables, (
                f"{work.__name__}: {statement[:200]}\n{json.dumps(plan)[:1500]}"
            )
    assert asked > 12
    # What policy and ORM ask for is one condition: no step on top that compares the two for every row.
    (pages, _) = plans_of(list_runs, made[3])
    assert "One-Time Filter" not in json.dumps(pages)

    def count_all(one: Seeded) -> None:
        with tenant_scope(one.tenant_id), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM record WHERE input::text LIKE %s", ["%x%"])

    # The check can fail: a query that must look at every row of a tenant with most of them does.
    with connection.cursor() as cursor:
        cursor.execute(
            "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off"
        )
    assert any(scanned(plan) & tables for _, plan in plans_of(count_all, made[3]))
    with connection.cursor() as cursor:
        cursor.execute("RESET ALL")
