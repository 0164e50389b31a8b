"""Invariant 1, by raw SQL as the app login: in one tenant's scope nothing of another's is read or changed."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.invariants.isolation.acts import ACTS, Act
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
