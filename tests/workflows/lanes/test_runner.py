"""The lane engine end to end: real runner, real PostgreSQL, real HTTP vendors."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Sum

from billing.models import UsageEvent
from integrations.models import Connection
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from workflows.lanes.caller import Caller
from workflows.lanes.runner import Runner
from workflows.models import Lane, LaneRun, LaneState, Lookup, Record, RunVendor, Step, StepQueue, Workflow
from workflows.operations import control_lane, control_run


def test_a_run_ends_with_every_record_final_and_the_vendors_counts(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = wait(start(tenant, people(60, last="Smith")))
    assert (run.status, run.pending, run.queued, run.running) == ("completed", 0, 0, 0)
    assert run.found + run.not_found == 60
    summary = vendors.summary()
    with tenant_scope(tenant):
        ours = {vendor.provider: vendor for vendor in RunVendor.objects.filter(run=run)}
        spent = Step.objects.aggregate(total=Sum("credits"))["total"]
        ledger = UsageEvent.objects.filter(kind="attempt").aggregate(total=Sum("credits"))["total"]
        assert UsageEvent.objects.filter(kind="record").count() == 60
        assert StepQueue.objects.count() == LaneRun.objects.count() == 0
    assert {name: vendor.calls for name, vendor in ours.items()} == {
        n: s["calls"] for n, s in summary.items()
    }
    assert run.credits_spent == spent == ledger == round(sum(s["credits"] for s in summary.values()) * 1000)
    assert sum(vendor.accepted for vendor in ours.values()) == run.found


def test_every_attempt_is_in_the_history_with_what_it_cost_and_took(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = wait(start(tenant, people(1)))
    with tenant_scope(tenant):
        record = Record.objects.get(run=run)
        steps = list(Step.objects.filter(record_id=record.pk))
    assert [step.name for step in steps][:2] == ["find:prospeo", "verify:zerobounce"]
    first = steps[0]
    assert (first.status, first.outcome, first.http_status, first.credits) == ("done", "hit", 200, 1000)
    assert first.ready_at <= first.started_at <= first.finished_at
    assert record.credits == sum(step.credits for step in steps)


def test_the_same_person_is_asked_once_and_every_record_gets_the_answer(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    twins = [{**people(1)[0], "first_name": name} for name in ("Person0", " PERSON0 ", "person0", "Person0")]
    run = wait(start(tenant, twins))
    assert [vendor["repeated"] for vendor in vendors.summary().values()] == [0] * len(vendors.summary())
    with tenant_scope(tenant):
        outputs = [record.output for record in Record.objects.filter(run=run)]
        cached = Step.objects.filter(outcome="cached")
        assert cached.exists()
        assert {(step.credits, step.http_status) for step in cached} == {(0, None)}
    assert all(output == outputs[0] for output in outputs)
    assert outputs[0]["email"]


def test_two_runs_under_way_at_once_share_one_question(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    vendors.control("POST", "faults", {"provider": "prospeo", "kind": "slow", "rate": 1.0, "count": 1})
    first, second = start(tenant, people(1)), start(tenant, people(1))
    wait(first, until=lambda run: _waits_for_a_twin(tenant))
    wait(first)
    wait(second)
    assert vendors.summary()["prospeo"]["calls"] == 1


def _waits_for_a_twin(tenant: Tenant) -> bool:
    with tenant_scope(tenant):
        return any(entry.reason == "duplicate" for entry in StepQueue.objects.all())


def test_a_later_run_asks_again_unless_the_workflow_reuses_answers(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    wait(start(tenant, people(1, last="Nobody")))
    wait(start(tenant, people(1, last="Nobody")))
    assert vendors.summary()["prospeo"]["calls"] == 2
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "reuse_days": 7}
        workflow.save()
    wait(start(tenant, people(1, last="Nobody")))
    assert vendors.summary()["prospeo"]["calls"] == 2


@pytest.mark.parametrize("limits", [{"windows": [{"rate": 5, "period": 0.5}], "parallelism": 2}])
def test_a_strict_vendor_never_sees_a_call_over_its_limit(
    tenant: Tenant,
    sandbox: Sandbox,
    committed: None,
    runner: Runner,
    connect: Callable[..., Any],
    limits: dict[str, Any],
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, secret=f"key-{provider}", mode="sandbox", **limits)
        sandbox.set_key(provider, f"key-{provider}", **limits)
    began = time.monotonic()
    wait(start(tenant, people(40, last="Nobody")))
    took = time.monotonic() - began
    summary = sandbox.summary()
    assert [(s["over_limit"], s["rate_limited"]) for s in summary.values()] == [(0, 0)] * len(summary)
    assert all(s["max_in_flight"] <= 2 for s in summary.values())
    assert took < 40 / 10 * 2, "the allowed rate is used"


def test_a_vendors_429_is_obeyed_and_costs_no_attempt(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    vendors.control("POST", "faults", {"provider": "prospeo", "kind": "rate_limit", "rate": 1.0, "count": 1})
    run = wait(start(tenant, people(1)))
    assert run.found + run.not_found == 1
    with tenant_scope(tenant):
        attempts = list(Step.objects.filter(name="find:prospeo"))
    assert [(step.outcome, step.attempt) for step in attempts] == [("rate_limited", 1), ("hit", 1)]


def test_a_vendor_that_fails_is_asked_again_and_then_the_step_is_dead(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    vendors.control("POST", "faults", {"provider": "prospeo", "kind": "status_500", "rate": 1.0})
    run = wait(start(tenant, people(1)), seconds=60)
    assert (run.status, run.failed) == ("completed", 1)
    with tenant_scope(tenant):
        steps = list(Step.objects.all())
        record = Record.objects.get(run=run)
    assert [(step.attempt, step.status, step.outcome) for step in steps] == [
        (1, "failed", "error"),
        (2, "failed", "error"),
        (3, "dead", "error"),
    ]
    assert record.error["code"] == "vendor_error"


@pytest.mark.parametrize(("kind", "status"), [("bad_key", "auth_failed"), ("no_credits", "no_credits")])
def test_a_refused_key_pauses_the_lane_and_burns_no_record(
    tenant: Tenant, vendors: Sandbox, runner: Runner, kind: str, status: str
) -> None:
    vendors.control("POST", "faults", {"provider": "prospeo", "kind": kind, "rate": 1.0})
    run = start(tenant, people(3))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with tenant_scope(tenant):
            lane = Lane.objects.get(provider="prospeo")
        if lane.paused:
            break
        time.sleep(0.05)
    assert (lane.paused, lane.pause_reason) == (True, status)
    with tenant_scope(tenant):
        assert Connection.objects.get(provider="prospeo").status == status
    assert again(run).pending == 3
    vendors.control("DELETE", "faults")
    with tenant_scope(tenant):
        control_lane.resume_lane(lane_id=lane.pk, actor=ACTOR)
    assert wait(run).pending == 0


def test_a_paused_run_stops_and_goes_on(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pin_limits(
            lane_id=lane.pk, windows=[{"rate": 10, "period": 1}], parallelism=5, actor=ACTOR
        )
    run = wait(start(tenant, people(60, last="Nobody")), until=lambda run: run.pending < 60)
    with tenant_scope(tenant):
        control_run.pause_run(run_id=run.pk, actor=ACTOR)
    time.sleep(2)  # a change takes effect within two seconds
    before = again(run).pending
    time.sleep(1)
    assert again(run).pending == before > 0
    assert again(run).status == "paused"
    with tenant_scope(tenant):
        control_run.resume_run(run_id=run.pk, actor=ACTOR)
        control_lane.pin_limits(lane_id=lane.pk, windows=[], parallelism=20, actor=ACTOR)
    assert wait(run).not_found == 60


def test_a_cancelled_run_ends_with_every_record_final_and_gives_back_what_was_never_asked(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pin_limits(
            lane_id=lane.pk, windows=[{"rate": 5, "period": 1}], parallelism=2, actor=ACTOR
        )
    run = wait(start(tenant, people(50, last="Nobody")), until=lambda run: run.pending < 50)
    with tenant_scope(tenant):
        control_run.cancel_run(run_id=run.pk, actor=ACTOR)
    run = wait(run)
    assert run.status == "cancelled"
    assert run.cancelled + run.not_found == 50
    with tenant_scope(tenant):
        billed = UsageEvent.objects.filter(kind="record").aggregate(total=Sum("quantity"))["total"]
        asked = Step.objects.exclude(status="cancelled").values("record_id").distinct().count()
        assert StepQueue.objects.count() == 0
    assert billed == asked


def test_a_small_run_behind_a_large_one_starts_at_once(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pin_limits(
            lane_id=lane.pk, windows=[{"rate": 10, "period": 1}], parallelism=5, actor=ACTOR
        )
    large = wait(start(tenant, people(300, last="Nobody")), until=lambda run: run.running > 0)
    began = time.monotonic()
    small = [{**person, "first_name": "Small"} for person in people(3, last="Nobody")]
    wait(start(tenant, small))
    assert time.monotonic() - began < 4
    with tenant_scope(tenant):
        control_run.cancel_run(run_id=large.pk, actor=ACTOR)


def test_a_run_never_spends_more_than_its_credit_limit(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = start(tenant, people(30), credit_limit=7_000)
    time.sleep(4)
    run = again(run)
    assert 0 < run.credits_spent <= 7_000
    assert run.pending > 0, "at a cap work parks, it does not fail"
    assert run.failed == 0


def test_changed_limits_bite_within_two_seconds(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pin_limits(
            lane_id=lane.pk, windows=[{"rate": 1, "period": 5}], parallelism=1, actor=ACTOR
        )
    run = start(tenant, people(30, last="Nobody"))
    wait(run, until=lambda run: run.running > 0)
    with tenant_scope(tenant):
        control_lane.pin_limits(lane_id=lane.pk, windows=[], parallelism=20, actor=ACTOR)
    assert wait(run, seconds=6).not_found == 30


def test_a_lost_ring_costs_a_sweep_and_not_the_work(
    tenant: Tenant, vendors: Sandbox, committed: None
) -> None:
    run = start(tenant, people(5))  # no runner hears this, and no broker is there to keep it
    late = Runner()
    late.start()
    try:
        assert wait(run, seconds=10).pending == 0
    finally:
        late.stop()


def test_an_idle_runner_gives_its_lanes_back_and_finds_new_work_again(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    wait(start(tenant, people(2)))
    deadline = time.monotonic() + 10
    while runner.lanes and time.monotonic() < deadline:
        time.sleep(0.05)
    assert runner.lanes == {}
    assert wait(start(tenant, people(2, last="Nobody"))).not_found == 2


def test_answers_of_tests_and_of_live_runs_are_kept_apart(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    wait(start(tenant, people(1)))
    with tenant_scope(tenant):
        assert set(Lookup.objects.values_list("livemode", flat=True)) == {True}
        assert Record.objects.exclude(pk=uuid.uuid4()).count() == 1


def test_a_workflow_may_wait_for_its_vendors_for_less_than_they_take(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "timeout_s": 1, "max_attempts": 1}
        workflow.save()
    vendors.fault("prospeo", "slow", seconds=3.0)
    began = time.monotonic()
    run = wait(start(tenant, people(1, last="Nobody")))
    assert time.monotonic() - began < 3.0
    with tenant_scope(tenant):
        step = Step.objects.get(run_id=run.pk, provider="prospeo")
    assert (step.outcome, step.status) == ("timeout", "dead")


def test_a_call_that_the_lapsing_lease_kept_from_leaving_is_made_later_as_if_it_had_never_been_begun(
    tenant: Tenant, vendors: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Caller._ask
    lapsed: list[Any] = []

    async def frozen(self: Caller, works: Any, secret: Any, sent: Any) -> Any:
        if not lapsed:
            lapsed.extend(works)
            self.lane.held_until = 0.0  # until the next renewal
        return await ask(self, works, secret, sent)

    monkeypatch.setattr(Caller, "_ask", frozen)
    run = wait(start(tenant, people(2)))
    assert lapsed
    assert (run.found, run.credits_reserved) == (2, 0)
    assert vendors.summary()["prospeo"]["calls"] == 2
    with tenant_scope(tenant):
        assert set(Step.objects.values_list("status", "attempt")) == {("done", 1)}
        assert LaneState.objects.get(lane__provider="prospeo").failures == 0
