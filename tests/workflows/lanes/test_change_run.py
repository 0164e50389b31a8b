"""Credit limits and turns of runs, changed while they are under way."""

import time
from typing import Any

import pytest

from tenants.errors import InvalidInput, NotFound
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from workflows.errors import RunIsFinal
from workflows.lanes.runner import Runner
from workflows.models import Lane, LaneRun, Run, StepQueue
from workflows.operations import control_lane
from workflows.operations.change_run import change_run


def change(run: Run, **changes: Any) -> None:
    change_run(tenant_id=run.tenant_id, run_id=run.pk, actor=ACTOR, changes=changes)  # type: ignore[arg-type]


def parked(run: Run) -> bool:
    with tenant_scope(run.tenant_id):
        lanes = StepQueue.objects.filter(run_id=run.pk).values_list("lane_id", flat=True)
        of_run = LaneRun.objects.filter(
            run_id=run.pk, lane_id__in=list(lanes)
        )  # where nothing waits, nothing parks
        states = set(of_run.values_list("state", flat=True))
    return states == {"budget"} and again(run).credits_reserved == 0


def test_parked_work_goes_on_when_the_limit_is_raised_and_stops_at_the_new_one(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = wait(start(tenant, people(30), credit_limit=7_000), until=parked)
    assert 0 < run.credits_spent <= 7_000
    for limit in (15_000, 31_000):
        before = again(run).credits_spent
        began = time.monotonic()
        change(run, credit_limit=limit)
        wait(run, until=lambda run, before=before: run.credits_spent > before, seconds=5)
        assert time.monotonic() - began < 2
        assert before < wait(run, until=parked).credits_spent <= limit
    change(run, credit_limit=None)
    run = wait(run)
    assert (run.found, run.credits_reserved) == (30, 0)
    with tenant_scope(tenant):
        entry = AuditEvent.objects.filter(verb="run.changed").order_by("id").first()
    assert entry is not None
    assert entry.detail == {"changes": {"credit_limit": [7_000, 15_000]}}


def test_a_run_without_a_limit_gets_one_under_way(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pin_limits(
            lane_id=lane.pk, windows=[{"rate": 10, "period": 1}], parallelism=5, actor=ACTOR
        )
    run = wait(start(tenant, people(100)), until=lambda run: run.credits_spent > 0)
    limit = again(run).credits_spent + 60_000
    change(run, credit_limit=limit)
    run = wait(run, until=parked, seconds=40)
    assert limit - 2_000 <= run.credits_spent <= limit
    assert run.pending > 0
    change(run, credit_limit=None)
    with tenant_scope(tenant):
        control_lane.pin_limits(lane_id=lane.pk, windows=[], parallelism=20, actor=ACTOR)
    run = wait(run)
    assert (run.found + run.not_found, run.credits_reserved) == (100, 0)


def test_steps_that_wait_for_another_run_s_answers_take_no_room_under_a_limit(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    """More questions than the limit has room for, all asked already: nothing may park for good with nothing spent."""
    vendors.fault("prospeo", "slow", rate=1.0, count=12)
    first = wait(start(tenant, people(12)), until=lambda run: run.running == 12)
    second = wait(start(tenant, people(12), credit_limit=5_000))
    assert second.found + second.not_found == 12
    assert second.credits_spent <= 5_000
    assert vendors.summary()["prospeo"]["calls"] == 12
    assert wait(first).found == second.found


def test_a_turn_is_changed_in_every_lane(tenant: Tenant, vendors: Sandbox) -> None:
    run = start(tenant, people(3), priority=2)
    change(run, priority=9)
    with tenant_scope(tenant):
        assert {entry.priority for entry in LaneRun.objects.all()} == {again(run).priority} == {9}


def test_only_what_can_be_is_changed(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    run = wait(start(tenant, people(1)))
    with pytest.raises(RunIsFinal):
        change(run, priority=3)
    for changes in ({"priority": 10}, {"priority": -1}, {"credit_limit": -1}):
        with pytest.raises(InvalidInput):
            change(run, **changes)
    run.pk = run.tenant_id
    with pytest.raises(NotFound):
        change(run, priority=3)
