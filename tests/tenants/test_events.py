"""Emitting an event: who may, what may, and who hears of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tenants import signals
from tenants.errors import ScopeError
from tenants.events import EVENTS, emit
from tenants.scope import tenant_scope
from tests.factories import make_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any, str]]]:
    told: list[tuple[str, Any, str]] = []

    def hear(name: str, data: Any, key: str, **kwargs: Any) -> None:
        told.append((name, data, key))

    signals.tenant_event.connect(hear)
    yield told
    signals.tenant_event.disconnect(hear)


def test_an_event_is_announced_with_its_data_and_key(heard: list[Any]) -> None:
    with tenant_scope(make_tenant("Acme").tenant):
        emit("plan.changed", {"from": "free", "to": "pro"}, key="once")
    assert heard == [("plan.changed", {"from": "free", "to": "pro"}, "once")]


def test_an_event_without_a_tenant_is_refused(heard: list[Any]) -> None:
    with pytest.raises(ScopeError):
        emit("plan.changed", {})
    assert heard == []


@pytest.mark.parametrize(
    ("name", "data", "key"),
    [
        ("plan.forgotten", {}, ""),
        ("plan.changed", {"at": object()}, ""),
        ("plan.changed", {"share": float("nan")}, ""),
        ("plan.changed", {}, "k" * 201),
    ],
)
def test_what_cannot_be_told_is_refused(heard: list[Any], name: str, data: Any, key: str) -> None:
    with tenant_scope(make_tenant("Acme").tenant), pytest.raises(ValueError, match=r"event|JSON"):
        emit(name, data, key=key)
    assert heard == []


def test_the_events_are_those_of_the_contract() -> None:
    assert list(EVENTS) == [
        "run.completed", "run.failed", "record.completed", "lane.paused", "quota.warning", "plan.changed",
    ]  # fmt: skip
