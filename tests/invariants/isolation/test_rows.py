"""Invariant 1, by raw SQL as the app login: in one tenant's scope nothing of another's is read or changed."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.invariants.isolation.acts import ACTS, DENIED, Act
from tests.invariants.isolation.logins import SignedIn
from tests.invariants.isolation.seeds import Subject, World


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_no_act_reaches_another_tenants_rows(
    act: Act, world: World, app: SignedIn, others: Callable[[Subject], Any]
) -> None:
    assert len(world.subjects) > 20
    faults = []
    for table, subject in world.subjects.items():
        before = others(subject)
        fault = act(app, subject, world)
        if others(subject) != before:
            fault = f"{fault or 'no error'}; and rows of others changed"
        if fault:
            faults.append(f"{table}: {fault}")
    assert faults == []


ACROSS_TENANTS = (
    "SELECT u.email, t.* FROM tenants_user u, lookup.tenants_of(u.id) t",
    "SELECT * FROM lookup.data_keys_due('{}', 'infinity', '00000000-0000-0000-0000-000000000000', 100)",
)


@pytest.mark.parametrize("question", ACROSS_TENANTS)
def test_what_is_told_over_all_tenants_is_not_told_inside_one(
    question: str, world: World, app: SignedIn
) -> None:
    """Before a tenant is known the app has to ask; inside one the same question would name all the others."""
    inside = app.run(world.me, (question, []))
    assert inside.error == DENIED, inside.rows
    assert app.run(None, (question, [])).count > 1
    left: list[tuple[str, list[object]]] = [
        ("SELECT set_config('app.tenant_id', '', true)", []),
        (question, []),
    ]
    assert app.run(None, *left).count > 1


def test_history_does_not_go_with_what_it_is_about(
    world: World, app: SignedIn, others: Callable[[Subject], Any]
) -> None:
    """Events are append-only: whoever may delete a run does not delete what its history says with it."""
    event = world.subjects["run_event"].mine
    queue: tuple[str, list[object]] = ("DELETE FROM step_queue", [])
    run: tuple[str, list[object]] = ("DELETE FROM run WHERE id = %s", [event["run_id"]])
    answer = app.run(world.me, queue, run)
    assert answer.error in ("23001", "23503"), answer
    assert "run_event" in answer.text
