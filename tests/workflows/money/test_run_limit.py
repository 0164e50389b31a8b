"""A run that waits at its own credit limit goes on as soon as there is room, whoever made it and however."""

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connections

from integrations.connectors import registry
from integrations.http import CallResult
from integrations.outcomes import Miss, Poll, Retry
from tenants.models import Tenant
from tenants.operations.tenant_settings import change_tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start
from tests.workflows.lanes.test_recovery import Hand
from tests.workflows.lanes.test_suppressed import configure
from workflows.lanes import settle, sweep
from workflows.lanes.doubt import worst_of
from workflows.lanes.outcome import judge
from workflows.lanes.tally import Tally
from workflows.lanes.work import Batch, Flushed, Work
from workflows.models import LaneRun, Lookup, Run, StepQueue

UNANSWERED = CallResult(Retry("timeout", "no answer in time", uncertain=True), None, 5)


@pytest.fixture
def hand(tenant: Tenant, vendors: Sandbox) -> Hand:
    return Hand(tenant)


def stamp(hand: Hand, works: Sequence[Work]) -> Flushed:
    """As a runner stamps: with the worst that each call can cost beside what is booked."""
    connector = registry.get(hand.lane.provider)
    return settle.flush(
        Batch(stamps=[(work, 30.0, worst_of(work, connector)) for work in works]), hand.holder
    )


def states(run_id: uuid.UUID, tenant: Tenant) -> set[str]:
    with tenant_scope(tenant):
        return set(LaneRun.objects.filter(run_id=run_id).values_list("state", flat=True))


def unanswered(hand: Hand, work: Work) -> None:
    """The call breaks off: booked at the most that it may have cost, and due to be asked again."""
    hand.settle([judge(work, hand.holder, UNANSWERED, 1.0, 2.0).settlement])
    with tenant_scope(hand.lane.tenant_id):
        StepQueue.objects.filter(pk=work.id).update(not_before=None, reason="")


def test_a_repeat_that_costs_nothing_makes_room_for_what_waits(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(2), credit_limit=1_000)
    first, second = hand.claim()
    stamp(hand, [first])
    unanswered(hand, first)
    works = {work.id: work for work in hand.claim()}
    flushed = stamp(hand, [works[first.id], works[second.id]])
    assert flushed.stamped == {first.id}, "the repeat reserves nothing, and the other has no room"
    assert states(run.pk, tenant) == {"budget"}
    assert hand.settle([hand.answer(works[first.id], Miss(0))]).woken >= {(tenant.pk, hand.lane.pk)}
    assert states(run.pk, tenant) == {"active"}
    assert (again(run).credits_spent, again(run).credits_reserved) == (0, 0)


def test_room_that_is_made_while_the_run_is_being_parked_is_found(
    tenant: Tenant, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker parks the run in its lane after another, settling in the next lane, has looked for parked ones."""
    run = start(tenant, people(2), credit_limit=1_000)
    first, second = hand.claim()
    hand.stamp([first])
    other = Hand(tenant, "findymail")
    with tenant_scope(tenant):
        StepQueue.objects.filter(pk=second.id).update(lane_id=other.lane.pk, name="find:findymail")
        LaneRun.objects.create(lane_id=other.lane.pk, run_id=run.pk)
    [second] = other.claim()
    looked, go_on = threading.Event(), threading.Event()
    write = Tally.write

    def hold(tally: Tally) -> list[uuid.UUID]:
        if threading.current_thread().name == "settles":
            looked.set()
            go_on.wait(10)
        return write(tally)

    monkeypatch.setattr(Tally, "write", hold)
    settles = _in_a_thread("settles", lambda: hand.settle([hand.answer(first, Miss(0))]))
    assert looked.wait(10)
    parks = _in_a_thread("parks", lambda: other.stamp([second]))
    parks.join(10)
    go_on.set()
    settles.join(10)
    assert "budget" in states(run.pk, tenant)
    assert (tenant.pk, other.lane.pk) in sweep.sweep()
    assert states(run.pk, tenant) == {"active"}
    assert other.stamp(other.claim()) == {second.id}


def due(hand: Hand, work: Work) -> None:
    with tenant_scope(hand.lane.tenant_id):
        assert StepQueue.objects.filter(pk=work.id).update(not_before="2020-01-01T00:00Z") == 1


def test_a_repeat_that_costs_nothing_is_made_though_its_run_has_been_parked_meanwhile(
    tenant: Tenant, hand: Hand
) -> None:
    """Nothing but its answer makes room: what the lost call is booked at is the whole limit."""
    run = start(tenant, people(2), credit_limit=1_000)
    first, second = hand.claim()
    stamp(hand, [first])
    hand.settle([judge(first, hand.holder, UNANSWERED, 1.0, 2.0).settlement])
    assert stamp(hand, [second]).parked, "the repeat is not due yet"
    due(hand, first)
    assert (tenant.pk, hand.lane.pk) in sweep.sweep()
    works = {work.id: work for work in hand.claim()}
    flushed = stamp(hand, [works[second.id]])
    assert (flushed.stamped, flushed.parked) == (set(), set()), "it would wait with its run"
    assert flushed.woken == {(tenant.pk, hand.lane.pk)}
    assert stamp(hand, [works[second.id], works[first.id]]).stamped == {first.id}
    assert states(run.pk, tenant) == {"budget"}
    hand.settle([hand.answer(works[first.id], Miss(0))])
    assert stamp(hand, hand.claim()).stamped == {second.id}


def test_a_doubt_whose_repeat_would_cost_is_no_reason_to_go_on(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(2), credit_limit=1_000)
    first, second = hand.claim()
    stamp(hand, [first])
    hand.settle([judge(first, hand.holder, UNANSWERED, 1.0, 2.0).settlement])
    with tenant_scope(tenant):
        StepQueue.objects.filter(pk=first.id).update(fingerprint="another question", not_before=None)
    assert stamp(hand, [second]).parked
    sweep.sweep()
    assert states(run.pk, tenant) == {"budget"}


@pytest.mark.parametrize("monthly", [False, True])
def test_the_result_of_a_job_is_asked_for_though_its_run_is_parked(
    tenant: Tenant, committed: None, connect: Callable[..., Any], monthly: bool
) -> None:
    connect("jobs", secret="key-jobs", mode="sandbox", windows=[], parallelism=20)
    configure(tenant, finders=["jobs"], verifier=None)
    if monthly:
        with tenant_scope(tenant):
            change_tenant(actor=ACTOR, changes={"monthly_credit_limit": 1_000})
    run = start(tenant, people(2), credit_limit=None if monthly else 1_000)
    hand = Hand(tenant, "jobs")
    first, second = hand.claim()
    assert hand.stamp([first, second]) == {first.id}
    hand.settle([hand.answer(first, Poll(60.0, {"job": "j1"}))])
    sweep.sweep()
    assert states(run.pk, tenant) == {"budget"}
    due(hand, first)
    assert (tenant.pk, hand.lane.pk) in sweep.sweep()
    works = {work.id: work for work in hand.claim()}
    assert hand.stamp([works[second.id], works[first.id]]) == {first.id}
    hand.settle([hand.answer(works[first.id], Miss(0))])
    if monthly:
        sweep.sweep()
    assert hand.stamp(hand.claim()) == {second.id}


def test_a_run_without_room_is_left_where_it_waits(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(2), credit_limit=1_500)
    first, second = hand.claim()
    assert hand.stamp([first, second]) == {first.id}
    assert states(run.pk, tenant) == {"budget"}
    sweep.sweep()
    assert states(run.pk, tenant) == {"budget"}, "500 are left, and a call may cost 1,000"


def test_a_run_is_not_kept_from_others_while_an_equal_question_is_waited_for(
    tenant: Tenant, hand: Hand
) -> None:
    """Whoever cancels another run has its questions in hand when it asks for runs."""
    start(tenant, people(1))
    hand.stamp(hand.claim())
    run = start(tenant, people(1), credit_limit=5_000)
    [work] = hand.claim()
    with tenant_scope(tenant):
        assert len(Lookup.objects.select_for_update()) == 1
        stamps = _in_a_thread("stamps", lambda: hand.stamp([work]))
        stamps.join(0.5)
        assert stamps.is_alive(), "it waits for the question"
        assert len(Run.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=run.pk)) == 1
    stamps.join(10)
    with tenant_scope(tenant):
        assert StepQueue.objects.get(pk=work.id).reason == "duplicate"


def _in_a_thread(name: str, act: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name=name)
    thread.start()
    return thread
