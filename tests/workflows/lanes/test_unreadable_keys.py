"""A stored key that cannot be opened stops its own lane with a clear reason, and entering it again starts it."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from integrations import operations
from integrations.models import Connection, ConnectionSecret
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tests.factories import ACTOR, make_connection
from tests.integrations.test_vault import new_master
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from workflows.lanes.runner import Runner
from workflows.models import Lane
from workflows.operations import control_lane
from workflows.operations.note_lane import pause_for_trouble


def until(true: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def damage(tenant: Tenant, provider: str) -> None:
    with tenant_scope(tenant):
        row = ConnectionSecret.objects.get(connection__provider=provider)
        sealed = bytearray(row.sealed)
        sealed[-1] ^= 1
        ConnectionSecret.objects.filter(pk=row.pk).update(sealed=bytes(sealed))


def lane_of(tenant: Tenant, provider: str) -> Lane:
    with tenant_scope(tenant):
        return Lane.objects.select_related("connection").get(provider=provider)


def enter_again(tenant: Tenant, provider: str) -> None:
    with tenant_scope(tenant):
        connection = Connection.objects.get(provider=provider)
        operations.replace_connection_secret(
            connection_id=connection.pk, secret=Secret(f"key-{provider}"), actor=ACTOR
        )


def test_the_lane_waits_with_a_reason_and_goes_on_with_the_same_key_entered_again(
    tenant: Tenant, other_tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(other_tenant, provider, secret=f"key-{provider}", windows=[], parallelism=5)
    damage(tenant, "prospeo")
    run = start(tenant, people(2))
    until(lambda: lane_of(tenant, "prospeo").paused)
    lane = lane_of(tenant, "prospeo")
    assert (lane.pause_reason, lane.connection.status) == ("auth_failed", "auth_failed")
    assert lane.connection.last_error == "The stored secret cannot be opened. Enter the key again."
    assert wait(start(other_tenant, people(2, last="Other"))).status == "completed"
    assert again(run).finished_at is None
    enter_again(tenant, "prospeo")
    assert (lane_of(tenant, "prospeo").paused, lane_of(tenant, "prospeo").connection.status) == (False, "ok")
    assert wait(run, seconds=40).status == "completed"
    assert vendors.calls(provider="prospeo", key="key-prospeo")


def test_resuming_without_a_readable_key_pauses_again(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    damage(tenant, "prospeo")
    start(tenant, people(1))
    until(lambda: lane_of(tenant, "prospeo").paused)
    with tenant_scope(tenant):
        control_lane.resume_lane(lane_id=lane_of(tenant, "prospeo").pk, actor=ACTOR)
    until(lambda: not lane_of(tenant, "prospeo").paused, 2)
    until(lambda: lane_of(tenant, "prospeo").paused, 40)
    assert vendors.summary().get("prospeo", {"calls": 0})["calls"] == 0


def test_a_replaced_key_is_what_the_vendor_sees_next(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    wait(start(tenant, people(1)))
    vendors.set_key("prospeo", "a-fresh-key-0815", windows=[{"rate": 1000, "period": 1}], parallelism=20)
    with tenant_scope(tenant):
        connection = Connection.objects.get(provider="prospeo")
        operations.replace_connection_secret(
            connection_id=connection.pk, secret=Secret("a-fresh-key-0815"), actor=ACTOR
        )
    assert lane_of(tenant, "prospeo").key_hint == "0815"
    wait(start(tenant, people(2, last="Later")), seconds=40)
    assert vendors.calls(provider="prospeo", key="a-fresh-key-0815")


def test_a_key_that_is_replaced_while_calls_are_under_way_is_called_with_within_two_seconds(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    vendors.fault("prospeo", "slow", seconds=1.0)
    run = start(tenant, people(80, last="Nobody"))
    until(lambda: len(vendors.calls(provider="prospeo", key="key-prospeo")) >= 20)
    vendors.set_key("prospeo", "a-fresh-key-0815", windows=[{"rate": 1000, "period": 1}], parallelism=20)
    with tenant_scope(tenant):
        connection = Connection.objects.get(provider="prospeo")
        operations.replace_connection_secret(
            connection_id=connection.pk, secret=Secret("a-fresh-key-0815"), actor=ACTOR
        )
    replaced = time.monotonic()
    until(lambda: vendors.calls(provider="prospeo", key="a-fresh-key-0815"))
    assert vendors.calls(provider="prospeo", key="a-fresh-key-0815")[0]["mono"] - replaced < 2.0
    assert max(call["mono"] for call in vendors.calls(provider="prospeo", key="key-prospeo")) < replaced + 2.0
    assert wait(run, seconds=60).not_found == 80
    assert len(vendors.calls(provider="prospeo")) == 80, "what was under way was answered and counted"


def test_the_old_keys_refusal_does_not_stop_the_new_one(tenant: Tenant, vendors: Sandbox) -> None:
    lane = lane_of(tenant, "prospeo")
    refused = lane.connection.key_hash
    with tenant_scope(tenant):
        operations.replace_connection_secret(
            connection_id=lane.connection_id, secret=Secret("a-fresh-key-0815"), actor=ACTOR
        )
    assert not pause_for_trouble(lane.pk, tenant.pk, "auth_failed", "refused", refused)
    assert (lane_of(tenant, "prospeo").paused, lane_of(tenant, "prospeo").connection.status) == (False, "ok")
    mine = lane_of(tenant, "prospeo").connection.key_hash
    assert pause_for_trouble(lane.pk, tenant.pk, "auth_failed", "refused", mine)


def test_a_missing_master_key_pauses_nobody(
    tenant: Tenant, vendors: Sandbox, runner: Runner, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    right, settings.VAULT_KEYS = settings.VAULT_KEYS, [new_master()]
    run = start(tenant, people(1))
    until(lambda: "master_key_missing" in caplog.text)
    assert lane_of(tenant, "prospeo").paused is False
    assert again(run).finished_at is None
    settings.VAULT_KEYS = right
    assert wait(run, seconds=40).status == "completed"
