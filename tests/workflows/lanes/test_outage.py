"""A vendor that is out of service: its lane rests, its records wait unburned or go on, and nobody else pays for it."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from integrations.models import Connection
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR, make_connection
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from workflows import queries
from workflows.lanes import breaker
from workflows.lanes.runner import Runner
from workflows.models import Lane, LaneState, Record, Run, RunEvent, Step, Workflow
from workflows.operations import control_lane

REST = 1.5


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "REST_S", REST)
    monkeypatch.setattr(breaker, "REST_MAX_S", 2 * REST)


def until(true: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def state_of(tenant: Tenant, provider: str = "prospeo") -> LaneState:
    with tenant_scope(tenant):
        return LaneState.objects.get(lane__provider=provider)


def shown(tenant: Tenant) -> queries.LaneView:
    with tenant_scope(tenant):
        return queries.lane_views([lane_of(tenant).pk])[0]


def rested_until(tenant: Tenant) -> float:
    """When the lane's rest is over, on the clock that the vendors' calls are listed by."""
    moment = state_of(tenant).breaker_until
    assert moment is not None
    return time.monotonic() + (moment - timezone.now()).total_seconds()


def lane_of(tenant: Tenant, provider: str = "prospeo") -> Lane:
    with tenant_scope(tenant):
        return Lane.objects.get(provider=provider)


def go_on_at_outages(tenant: Tenant) -> None:
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "on_outage": "skip"}
        workflow.save()


def records_of(tenant: Tenant, run: Run) -> list[Record]:
    with tenant_scope(tenant):
        return list(Record.objects.filter(run=run))


def test_records_wait_unburned_while_the_lane_rests_and_all_are_answered_afterwards(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    vendors.fault("prospeo", "status_500")
    run = start(tenant, people(30))
    until(lambda: state_of(tenant).breaker == "open")
    until(lambda: shown(tenant).wait_reason == "breaker")
    assert shown(tenant).breaker in ("open", "half_open")
    view = shown(tenant)
    assert (view.breaker_until is None) == (view.breaker == "half_open")
    time.sleep(1)  # what was in flight at the opening is back
    before = vendors.summary()["prospeo"]["calls"]
    time.sleep(4 * REST)
    probes = vendors.summary()["prospeo"]["calls"] - before
    assert 1 <= probes <= 4, "single calls test whether the vendor is back"
    assert again(run).pending == 30
    vendors.control("DELETE", "faults")
    run = wait(run)
    assert (run.failed, run.found + run.not_found) == (0, 30)
    until(lambda: state_of(tenant).breaker == "closed")
    with tenant_scope(tenant):
        assert max(Step.objects.filter(name="find:prospeo").values_list("attempt", flat=True)) <= 3
        kinds = list(
            RunEvent.objects.filter(run=run, kind__startswith="lane.").values_list("kind", flat=True)
        )
        trail = set(AuditEvent.objects.filter(verb__startswith="lane.r").values_list("verb", flat=True))
    assert kinds == ["lane.rests", "lane.recovered"]
    assert trail == {"lane.rests", "lane.recovered"}


def test_one_probe_at_a_time(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    vendors.fault("prospeo", "status_500", count=breaker.FAILURES)
    with tenant_scope(tenant):
        control_lane.pin_limits(lane_id=lane_of(tenant).pk, windows=[], parallelism=4, actor=ACTOR)
    run = start(tenant, people(60))
    until(lambda: state_of(tenant).breaker == "open")
    vendors.fault("prospeo", "slow", seconds=1.0, count=1)
    rested = rested_until(tenant)
    wait(run)
    after = [call["mono"] for call in vendors.calls(provider="prospeo") if call["mono"] >= rested - 0.2]
    assert after[1] - after[0] >= 0.9, "the second call waits for the answer to the probe"


@pytest.mark.parametrize("orderly", [True, False])
def test_the_rest_outlives_its_holder(
    tenant: Tenant, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch, orderly: bool
) -> None:
    monkeypatch.setattr(breaker, "REST_S", 6.0)
    monkeypatch.setattr(breaker, "REST_MAX_S", 6.0)
    vendors.fault("prospeo", "status_500")
    first, second = Runner(), Runner()
    first.start()
    try:
        run = start(tenant, people(12))
        until(lambda: state_of(tenant).breaker == "open")
        rested = rested_until(tenant)
        if not orderly:  # as if it had died just then: nobody holds the lane, and nothing more was written
            with tenant_scope(tenant):
                LaneState.objects.filter(lane__provider="prospeo").update(
                    holder=uuid.uuid4(), lease_until="2020-01-01T00:00Z"
                )
        else:
            first.stop()
        vendors.control("DELETE", "faults")
        before = time.monotonic()
        second.start()
        run = wait(run, seconds=40)
        assert run.failed == 0
        later = [call["mono"] for call in vendors.calls(provider="prospeo") if call["mono"] > before]
        assert later
        assert later[0] >= rested - 0.1, "the new holder kept the rest"
    finally:
        first.stop()
        second.stop()


def test_records_go_on_to_the_next_finder_where_the_workflow_does_not_wait(
    tenant: Tenant, vendors: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST_S", 30.0)
    monkeypatch.setattr(breaker, "REST_MAX_S", 30.0)
    go_on_at_outages(tenant)
    vendors.fault("prospeo", "status_500")
    run = wait(start(tenant, people(60)), seconds=25)
    assert (run.failed, run.found + run.not_found) == (0, 60)
    assert vendors.summary()["prospeo"]["calls"] <= breaker.FAILURES + 40, "what was in flight, and no more"
    with tenant_scope(tenant):
        passed = Step.objects.filter(name="find:prospeo", outcome="skipped")
        assert passed.count() >= 15
        assert {(step.status, step.credits, step.http_status) for step in passed} == {("done", 0, None)}
    silent = [record for record in records_of(tenant, run) if record.status == "not_found"]
    assert all(record.error and record.error["code"] == "vendor_out_of_service" for record in silent)


@pytest.mark.parametrize("kind", ["bad_key", "no_credits"])
def test_records_go_on_past_a_key_that_is_refused(
    tenant: Tenant, vendors: Sandbox, runner: Runner, kind: str
) -> None:
    go_on_at_outages(tenant)
    vendors.fault("prospeo", kind)
    run = wait(start(tenant, people(20)))
    assert (run.failed, run.found + run.not_found) == (0, 20)
    assert lane_of(tenant).paused
    until(lambda: not runner.lanes)  # idle: the lane is given back, and is not driven by anybody
    later = wait(start(tenant, people(5, last="Smith")))
    assert later.pending == 0


def test_records_that_wait_are_not_passed_over_beside_those_that_go_on(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    vendors.fault("prospeo", "bad_key")
    waiting = start(tenant, people(5, last="Smith"))
    until(lambda: lane_of(tenant).paused)
    go_on_at_outages(tenant)
    assert wait(start(tenant, people(5))).pending == 0
    assert again(waiting).pending == 5


def test_an_address_that_nobody_could_verify_is_kept_and_the_record_can_be_retried(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    go_on_at_outages(tenant)
    vendors.fault("zerobounce", "bad_key")
    run = wait(start(tenant, people(3)))
    for record in records_of(tenant, run):
        assert record.error is not None
        assert record.output is not None
        assert (record.status, record.error["code"]) == ("failed", "vendor_out_of_service")
        assert (record.output["email_status"], record.output["verified_by"]) == ("unverified", None)
    assert vendors.summary()["findymail"]["calls"] == 0, (
        "no second address is bought that could not be judged either"
    )


def test_a_refused_key_is_told_once_to_each_admin_and_a_new_one_goes_on(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    vendors.fault("prospeo", "bad_key")
    run = start(tenant, people(30))
    until(lambda: mail.outbox)
    time.sleep(1.5)
    [letter] = mail.outbox
    assert len(letter.to) == 1
    assert "Prospeo refuses your key" in letter.subject
    assert "/vendors" in letter.body
    assert "key-prospeo" not in letter.body
    with tenant_scope(tenant):
        trail = AuditEvent.objects.filter(verb="lane.paused")
        assert [(entry.actor, entry.detail["reason"]) for entry in trail] == [
            ("system:engine", "auth_failed")
        ]
        assert Connection.objects.get(provider="prospeo").status == "auth_failed"
    vendors.control("DELETE", "faults")
    with tenant_scope(tenant):
        control_lane.resume_lane(lane_id=lane_of(tenant).pk, actor=ACTOR)
    assert wait(run).pending == 0
    assert len(mail.outbox) == 1


def test_a_hung_vendor_costs_the_lanes_of_others_nothing(
    tenant: Tenant, other_tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(
            other_tenant, provider, secret=f"key-{provider}-2", mode="sandbox", windows=[], parallelism=20
        )
    with tenant_scope(other_tenant):  # a runner that ends waits for what is in flight
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "timeout_s": 10}
        workflow.save()
    with tenant_scope(tenant):
        control_lane.pin_limits(
            lane_id=lane_of(tenant).pk, windows=[{"rate": 20, "period": 1}], parallelism=20, actor=ACTOR
        )

    def timed(last: str) -> float:
        began = time.monotonic()
        wait(start(tenant, people(80, last=last)))
        return time.monotonic() - began

    alone = timed("Nobody")
    vendors.fault("prospeo", "hang", key="key-prospeo-2")
    hung = start(other_tenant, people(40))
    until(lambda: len(vendors.calls(provider="prospeo", key="key-prospeo-2")) >= 20)
    beside = timed("Noone")
    assert again(hung).pending == 40
    assert beside <= alone * 1.1 + 0.25
    vendors.control("DELETE", "faults")


def test_a_lane_without_credits_goes_on_when_there_are_some(
    tenant: Tenant, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.lanes.loops.BALANCE_EVERY_S", 0.2)
    monkeypatch.setattr("workflows.lanes.balance.ASK_EVERY_S", 0.5)
    vendors.set_key("prospeo", "key-prospeo", credits=0)
    runner = Runner()
    runner.start()
    try:
        run = start(tenant, people(5))
        until(lambda: lane_of(tenant).paused)
        time.sleep(2)
        assert lane_of(tenant).paused, "nothing was bought yet"
        vendors.set_key("prospeo", "key-prospeo", credits=500)
        assert wait(run).pending == 0
    finally:
        runner.stop()
    with tenant_scope(tenant):
        assert Connection.objects.get(provider="prospeo").status == "ok"
        assert AuditEvent.objects.get(verb="lane.resumed").actor == "system:engine"
    assert len(mail.outbox) == 1
