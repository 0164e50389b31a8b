"""What keys have left: asked for now and then, shown, and told of once when it is low."""

import asyncio
from typing import Any

import pytest
from django.core import mail

from integrations.http import VendorClient
from integrations.models import Connection
from tenants.models import AuditEvent, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.factories import connect_all, make_run
from tests.sandbox import Sandbox
from workflows.lanes import balance
from workflows.models import LaneState
from workflows.operations.note_lane import tell_low_balance


async def asked_of(due: list[balance.Asked]) -> list[Any]:
    async with VendorClient() as client:
        return [await client.balance(a.connector, secret=a.secret, base_url=a.base_url) for a in due]


def ask() -> list[balance.Asked]:
    """One round of the runner's."""
    due = balance.due()
    for asked, told in zip(due, asyncio.run(asked_of(due)), strict=True):
        balance.answered(asked, told)
    return due


def again() -> None:
    with ops_scope("test"):
        LaneState.objects.update(balance_asked_at="2020-01-01T00:00Z")


@pytest.mark.usefixtures("committed")
def test_balances_of_healthy_keys_are_asked_for_and_not_at_once_again(
    tenant: Tenant, sandbox: Sandbox
) -> None:
    connect_all(tenant)
    assert len(ask()) == 3
    with tenant_scope(tenant):
        told = {c.provider: (c.balance, c.balance_at) for c in Connection.objects.all()}
    assert all(left > 0 and at is not None for left, at in told.values())
    assert ask() == []
    with tenant_scope(tenant):
        Connection.objects.filter(provider="zerobounce").update(status="auth_failed")
    again()
    assert {asked.connector.provider for asked in ask()} == {"prospeo", "findymail"}, (
        "a refused key is not tried"
    )


@pytest.mark.usefixtures("committed")
def test_a_low_balance_is_told_of_once_until_it_has_recovered(tenant: Tenant, sandbox: Sandbox) -> None:
    connect_all(tenant)
    [asked] = [one for one in ask() if one.connector.provider == "prospeo"]
    assert not balance.low_since(asked)
    with tenant_scope(tenant):
        Connection.objects.update(mode="live", balance=4_000, balance_per_hour=2_000)
    assert not balance.low_since(asked), "nothing waits that could need more"
    make_run(tenant, 5)
    assert [balance.low_since(asked) for _ in range(3)] == [True, False, False]
    assert tell_low_balance(asked.lane_id, asked.tenant_id)
    [message] = mail.outbox
    assert "has 4 credits left" in message.subject
    assert "used up about" in message.body
    with tenant_scope(tenant):
        assert AuditEvent.objects.filter(verb="connection.low_balance").count() == 1
        Connection.objects.update(balance=9_000)
    assert not balance.low_since(asked)
    with tenant_scope(tenant):
        Connection.objects.update(balance=1_000)
    assert balance.low_since(asked)
