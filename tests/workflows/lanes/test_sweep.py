"""What the sweep puts right, and that nothing it comes across keeps it from the rest."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tests.factories import ACTOR, make_connection
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start
from tests.workflows.lanes.test_recovery import Hand
from workflows.callback_tokens import Token
from workflows.lanes import book, sweep
from workflows.models import Callback, LaneRun, Lookup, Run, Step, StepQueue, Upload, Workflow
from workflows.operations import fill_run
from workflows.operations.receive_callback import receive_callback


@pytest.fixture
def broken(tenant: Tenant, vendors: Sandbox) -> Run:
    """A cancelled run whose counts do not add up: to cancel what waits of it is refused by the database."""
    run = start(tenant, people(3))
    with tenant_scope(tenant):
        Run.objects.filter(pk=run.pk).update(status="cancelled", queued=0)
        LaneRun.objects.filter(run_id=run.pk).update(state="cancelled")
    return run


def test_a_run_that_cannot_be_cancelled_holds_up_nobody_else(
    tenant: Tenant, broken: Run, other_tenant: Tenant
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(other_tenant, provider, secret=f"other-{provider}", mode="sandbox")
    theirs, cancelled = start(other_tenant, people(1)), start(other_tenant, people(2))
    with tenant_scope(other_tenant):
        LaneRun.objects.filter(run_id=cancelled.pk).update(state="cancelled")
        Run.objects.filter(pk=cancelled.pk).update(status="cancelled")
        [lane_id] = LaneRun.objects.filter(run_id=theirs.pk).values_list("lane_id", flat=True)
    assert (other_tenant.pk, lane_id) in sweep.sweep()
    assert again(cancelled).cancelled == 2
    assert again(broken).pending == 3


def test_a_failed_run_is_swept_until_its_last_step_and_no_longer(tenant: Tenant, vendors: Sandbox) -> None:
    run = start(tenant, people(3))
    hand = Hand(tenant)
    works = hand.claim()
    assert len(hand.stamp(works[:1])) == 1
    fill_run._fail(tenant.pk, run.pk, "The file is gone.")
    sweep.sweep()
    with tenant_scope(tenant):
        assert set(LaneRun.objects.values_list("state", flat=True)) == {"cancelled"}
        assert [entry.id for entry in StepQueue.objects.all()] == [works[0].id], "its call is in flight"
    hand.settle([hand.answer(works[0])])
    with tenant_scope(tenant):
        [lane_run] = LaneRun.objects.exclude(lane_id=hand.lane.pk)
        assert lane_run.state == "cancelled", "what follows the answer is not asked"
    sweep.sweep()
    sweep.sweep()
    with tenant_scope(tenant):
        assert not StepQueue.objects.exists()
        assert not LaneRun.objects.exists()
    run = again(run)
    assert (run.status, run.cancelled, run.pending, run.credits_reserved) == ("failed", 3, 0, 0)


def test_posts_that_wait_with_their_steps_hide_none_that_comes_late(
    tenant: Tenant, committed: None, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("jobs", secret="key-jobs", mode="sandbox", windows=[], parallelism=20)
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "finders": ["jobs"], "verifier": None}
        workflow.save(update_fields=["config"])
    monkeypatch.setattr(sweep, "POSTS", 3)
    run = start(tenant, people(4))
    with tenant_scope(tenant):
        *waiting, gone = StepQueue.objects.order_by("id")
    for entry in waiting:  # nobody reads them for now: as of a run that is paused
        receive_callback(token=Token(tenant.pk, entry.pk, entry.record_id, 1), body=b'{"job":"j"}')
    with tenant_scope(tenant), connections[APP_ALIAS].cursor() as cursor:
        book.write_history(cursor, tenant.pk, [_ended(run, gone)])
        StepQueue.objects.filter(pk=gone.pk).delete()
    body = b'{"job":"j","status":"done","result":{"email":"a@b.example","verdict":"valid"}}'
    receive_callback(token=Token(tenant.pk, gone.pk, gone.record_id, 1), body=body)
    sweep.sweep()
    with tenant_scope(tenant):
        assert Step.objects.filter(queue_id=gone.pk, status="late").count() == 1
        assert sorted(Callback.objects.values_list("state", flat=True)) == ["late", "new", "new", "new"]


def _ended(run: Run, entry: StepQueue) -> tuple[Any, ...]:
    """The history of a call that timed out."""
    call: tuple[uuid.UUID, ...] = (uuid7(), entry.lane_id, run.pk, entry.record_id, entry.pk)
    return (*call, "verify", "jobs", 1, "dead", "timeout", "", None, None, None, 0, None, None, None)


def followed(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status="paused")


def parked(run: Run) -> None:
    LaneRun.objects.filter(run_id=run.pk).update(state="budget")


def parked_for_the_month(run: Run) -> None:
    LaneRun.objects.filter(run_id=run.pk).update(state="budget", parked_until="9999-01-01T00:00Z")


def at_a_job(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(credit_limit=0)
    StepQueue.objects.filter(run_id=run.pk).update(job={"kind": "poll"})
    parked(run)


def without_a_leader(run: Run) -> None:
    entry = StepQueue.objects.filter(run_id=run.pk).latest("id")
    StepQueue.objects.filter(pk=entry.pk).update(reason="duplicate", not_before="9999-01-01T00:00Z")
    Lookup.objects.create(
        provider="prospeo", livemode=True, fingerprint=entry.fingerprint, leader=uuid7(), outcome=""
    )


def not_read_on(run: Run) -> None:
    upload = Upload.objects.create(
        filename="a.csv", stored_as="a", size=1, dialect={}, rows=4, created_by=ACTOR
    )
    Run.objects.filter(pk=run.pk).update(upload=upload, total=4, filled_at="2020-01-01T00:00Z")


@pytest.mark.parametrize(
    "state", [followed, parked, parked_for_the_month, at_a_job, without_a_leader, not_read_on]
)
def test_what_somebody_is_writing_keeps_the_sweep_from_nothing_else(
    tenant: Tenant, vendors: Sandbox, state: Callable[[Run], None]
) -> None:
    """Nor does it wait for rows while it has others in hand, which is how two wait for each other."""
    run = start(tenant, people(3))
    with tenant_scope(tenant):
        state(run)
        due = StepQueue.objects.earliest("id")
        StepQueue.objects.filter(pk=due.pk).update(not_before="2020-01-01T00:00Z")
    found: list[sweep.Found] = []

    def look() -> None:
        try:
            found.append(sweep.look())
        finally:
            connections.close_all()

    with tenant_scope(tenant):
        for model in (LaneRun, Lookup, Run):
            list(model.objects.select_for_update())
        sweeping = threading.Thread(target=look)
        sweeping.start()
        sweeping.join(5)
        in_time = not sweeping.is_alive()
    sweeping.join(20)
    assert in_time
    assert (tenant.pk, due.lane_id) in found[0].lanes
    seen = sweep.look()
    assert seen.lanes or seen.stalled, "what was left is seen to with the next sweep"
