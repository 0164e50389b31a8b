"""The engine writes sets: the number of statements does not grow with the number of steps, and arrays arrive whole."""

import re
import uuid
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import Error, connections, transaction
from django.test.utils import CaptureQueriesContext

from integrations.outcomes import Done, Miss, Retry
from tenants.models import Tenant
from tenants.scope import planned_ahead
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import people, start
from tests.workflows.lanes.test_recovery import Hand
from workflows.lanes.wire import array_text, engine_cursor

FOUND = {"email_status": "valid"}


def statements_of_a_flush(hand: Hand, count: int) -> tuple[int, int, int]:
    """How many statements it takes to claim, to stamp and to settle `count` steps, of every outcome."""
    with CaptureQueriesContext(connections["default"]) as claiming:
        works = hand.claim(count)
    assert len(works) == count
    with CaptureQueriesContext(connections["default"]) as stamping:
        assert len(hand.stamp(works)) == count
    outcomes: list[Any] = [Done({"email": "ada@firm.example"}, credits=1000), Miss(), Retry("error", "away")]
    settlements = [hand.answer(work, outcomes[n % 3]) for n, work in enumerate(works)]
    with CaptureQueriesContext(connections["default"]) as settling:
        hand.settle(settlements)
    return len(claiming), len(stamping), len(settling)


def test_a_flush_takes_as_many_statements_for_sixty_steps_as_for_six(
    tenant: Tenant, vendors: Sandbox
) -> None:
    start(tenant, people(78), credit_limit=10**9)
    hand = Hand(tenant)
    statements_of_a_flush(hand, 6)  # with it the run starts, which is told once
    few = statements_of_a_flush(hand, 6)
    assert statements_of_a_flush(hand, 60) == few
    claiming, stamping, settling = few
    assert claiming > 0
    assert stamping > 4
    assert settling > 8


def test_what_the_engine_says_all_the_time_is_planned_for_any_values_and_goes_along_indexes(
    tenant: Tenant, vendors: Sandbox
) -> None:
    """The tables are all but empty here, so that a plan by their size alone would read them whole."""
    start(tenant, people(24), credit_limit=10**9)
    accepting = {statement for statement, _, _ in prepared_statements()}
    hand = Hand(tenant)
    for _ in range(2):
        statements_of_a_flush(hand, 6)
    said = [one for one in prepared_statements() if one[0] not in accepting]
    assert len(said) > 12
    assert [statement for statement, generic, custom in said if custom or not generic] == []
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute(
            planned_ahead(connections["default"]) + "SELECT set_config('app.tenant_id', %s, true)",
            [str(tenant.pk)],
        )
        for statement, _, _ in said:
            cursor.execute("EXPLAIN (GENERIC_PLAN) " + statement)
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert not re.search("Seq Scan|Hash Join|Merge Join", plan), plan


def prepared_statements() -> list[tuple[str, int, int]]:
    """What this session has prepared, and how often it was run by a plan for any values and by one for the values."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
        return cursor.fetchall()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("uuid", [uuid.uuid4(), None, uuid.uuid4()]),
        (
            "text",
            ['a "quoted" one', "back\\slash", "{curly, comma}", "NULL", "null", None, "", " ", "Zoë\n\t😀"],
        ),
        ("text", [None, None]),
        ("bigint", [0, -1, 2**62, None]),
        ("float8", [0, 0.1, 1e300, None]),
        ("boolean", [True, None, False]),
        ("timestamptz", [datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC), None]),
        ("uuid", []),
    ],
)
def test_an_array_arrives_as_it_was_sent(committed: None, kind: str, values: list[Any]) -> None:
    with transaction.atomic(), engine_cursor("default") as cursor:
        cursor.execute(f"SELECT v FROM unnest(%s::{kind}[]) WITH ORDINALITY t(v, n) ORDER BY n", [values])
        assert [row[0] for row in cursor.fetchall()] == values


def test_what_cannot_be_kept_is_refused_and_not_cut_off() -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        array_text(["before\0after"])
    with pytest.raises(TypeError, match="dict"):
        array_text([{}])


def test_errors_are_those_of_django(committed: None) -> None:
    with pytest.raises(Error), transaction.atomic(), engine_cursor("default") as cursor:
        cursor.execute("SELECT 1 / %s", [0])
