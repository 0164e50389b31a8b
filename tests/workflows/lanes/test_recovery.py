"""What a dead or frozen holder leaves behind: nothing is lost, nothing is counted twice, and it is said."""

import threading
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction
from django.db.models import Sum

from billing.models import UsageEvent
from integrations.http import CallResult
from integrations.models import Connection
from integrations.outcomes import Done, Retry
from tenants.models import Tenant
from tenants.scope import ops_scope, set_tenant, tenant_scope
from tests.factories import make_connection
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from workflows.lanes import claim, lease, settle
from workflows.lanes.outcome import judge, lost
from workflows.lanes.runner import Runner
from workflows.lanes.work import Batch, Settlement, Work
from workflows.models import Lane, LaneState, Record, Run, RunVendor, Step, StepQueue, Workflow
from workflows.operations.control_run import pause_run

ANSWER = Done({"email": "ada@engine.example", "email_status": "valid"}, credits=1000)


class Hand:
    """A holder that does by hand what a runner does, so that it can be stopped between any two steps."""

    def __init__(self, tenant: Tenant, provider: str = "prospeo") -> None:
        self.holder = uuid.uuid4()
        with tenant_scope(tenant):
            self.lane = Lane.objects.get(provider=provider)
        taken = lease.acquire(self.lane.pk, self.holder)
        assert taken is not None, "somebody else holds the lane"
        self.foreign = taken[1]

    def claim(self, count: int = 10) -> list[Work]:
        _, runs = lease.look([self.lane.pk])
        found = claim.claim(
            self.lane.tenant_id,
            self.lane.pk,
            self.lane.provider,
            [(run, count) for run in runs[self.lane.pk]],
            [],
        )
        return [work for _, works, _ in found for work in works]

    def stamp(self, works: list[Work], span: float = 30.0) -> set[uuid.UUID]:
        return settle.flush(
            Batch(stamps=[(work, span, 0 if work.job else 1000) for work in works]), self.holder
        ).stamped

    def answer(self, work: Work, outcome: Any = ANSWER) -> Settlement:
        return judge(work, self.holder, CallResult(outcome, 200, 5), time.time(), time.time()).settlement

    def settle(self, settlements: list[Settlement], *, retried: bool = False) -> Any:
        return settle.flush(Batch(settlements=settlements, retried=retried), self.holder)


@pytest.fixture
def hand(tenant: Tenant, vendors: Sandbox) -> Hand:
    return Hand(tenant)


def expire(lane: Lane, *, deadline: bool = True) -> None:
    """As if the holder had died long enough ago: its lease has lapsed, and the deadlines of its calls are over."""
    with ops_scope("test"):
        LaneState.objects.filter(lane_id=lane.pk).update(lease_until="2020-01-01T00:00Z")
        if deadline:
            StepQueue.objects.filter(lane_id=lane.pk).exclude(sent_at=None).update(
                deadline_at="2020-01-01T00:00Z"
            )


def test_a_lane_has_one_holder_at_a_time(tenant: Tenant, hand: Hand) -> None:
    assert lease.acquire(hand.lane.pk, uuid.uuid4()) is None
    expire(hand.lane)
    assert lease.acquire(hand.lane.pk, uuid.uuid4()) is not None


def test_only_stamped_steps_of_a_dead_holder_are_in_doubt(tenant: Tenant, hand: Hand) -> None:
    start(tenant, people(5))
    works = hand.claim()
    hand.stamp(works[:2])
    expire(hand.lane)
    heir = Hand(tenant)
    assert {entry.id for entry in heir.foreign} == {work.id for work in works[:2]}
    assert {work.id for work in heir.claim()} == {work.id for work in works[2:]}


def test_steps_of_a_dead_holder_are_taken_over_and_the_doubt_is_shown(
    tenant: Tenant, hand: Hand, vendors: Sandbox
) -> None:
    run = start(tenant, people(3))
    hand.stamp(hand.claim())
    expire(hand.lane)
    heir = Runner()
    heir.start()
    try:
        run = wait(run, seconds=20)
    finally:
        heir.stop()
    assert run.found + run.not_found == 3
    with tenant_scope(tenant):
        doubtful = Step.objects.filter(status="ambiguous")
        assert [step.outcome for step in doubtful] == ["timeout"] * 3
        assert UsageEvent.objects.filter(kind="record").aggregate(total=Sum("quantity"))["total"] == 3


def test_nobody_takes_over_before_the_deadline_of_the_call(tenant: Tenant, hand: Hand) -> None:
    start(tenant, people(1))
    hand.stamp(hand.claim())
    expire(hand.lane, deadline=False)
    heir = Hand(tenant)
    assert heir.foreign[0].remaining_s > 20
    assert heir.claim() == []


def test_an_answer_that_comes_after_the_take_over_is_kept_as_late_and_changes_nothing_else(
    tenant: Tenant, hand: Hand
) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    expire(hand.lane)
    heir = Hand(tenant)
    [taken_over] = claim.stamped_by_others(tenant.pk, heir.lane.pk, [heir.foreign[0].id])
    heir.settle([lost(taken_over, hand.holder, on_ambiguous="repeat")])
    flushed = hand.settle([hand.answer(work)])
    assert flushed.late == 1
    with tenant_scope(tenant):
        late = Step.objects.get(status="late")
        assert (late.credits, late.answer["email"]) == (1000, "ada@engine.example")
        assert Record.objects.get(run=run).status == "running"
        assert StepQueue.objects.count() == 1
    assert again(run).credits_spent == 1000, "what the vendor took is counted all the same"


def test_an_answer_in_time_is_kept_though_the_lane_has_another_holder(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    expire(hand.lane, deadline=False)
    Hand(tenant)
    assert hand.settle([hand.answer(work)]).late == 0
    with tenant_scope(tenant):
        assert StepQueue.objects.get().name == "verify:zerobounce"
    assert again(run).credits_spent == 1000


def test_a_flush_whose_commit_was_not_confirmed_is_written_once(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(2))
    works = hand.claim()
    hand.stamp(works)
    settlements = [hand.answer(work) for work in works]
    hand.settle(settlements)
    before = again(run)
    hand.settle(settlements, retried=True)
    after = again(run)
    assert (after.credits_spent, after.pending) == (before.credits_spent, before.pending) == (2000, 2)
    with tenant_scope(tenant):
        assert Step.objects.count() == UsageEvent.objects.filter(kind="attempt").count() == 2
        assert StepQueue.objects.count() == 2


def test_a_flush_that_was_rolled_back_is_written_whole_the_second_time(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    settlement = hand.answer(work, Retry("error", "no", uncertain=True))
    with transaction.atomic():
        hand.settle([settlement])
        transaction.set_rollback(True)  # the database went away before the commit
    hand.settle([settlement], retried=True)
    with tenant_scope(tenant):
        entry = StepQueue.objects.get()
        assert (entry.attempt, entry.sent_at, entry.reason) == (2, None, "backoff")
        assert Step.objects.count() == 1
    assert again(run).pending == 1


def test_a_stamp_of_a_paused_run_is_refused(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(2))
    works = hand.claim()
    with tenant_scope(tenant):
        pause_run(run_id=run.pk, actor="test")
    assert hand.stamp(works) == set()


def test_a_step_is_stamped_for_one_holder_only(tenant: Tenant, hand: Hand) -> None:
    start(tenant, people(1))
    works = hand.claim()
    assert len(hand.stamp(works)) == 1
    hand.holder = uuid.uuid4()
    assert hand.stamp(works) == set()


@pytest.mark.parametrize(
    ("policy", "provider", "queued", "status"),
    [
        ("ask", "findymail", 0, "ambiguous"),
        ("accept", "findymail", 1, "ambiguous"),
        ("repeat", "findymail", 1, "ambiguous"),
        (
            "ask",
            "prospeo",
            1,
            "ambiguous",
        ),  # Prospeo gives a repeat for nothing, so there is nothing to ask about
    ],
)
def test_a_call_of_unknown_outcome_follows_the_connections_policy(
    tenant: Tenant, hand: Hand, policy: str, provider: str, queued: int, status: str
) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    settlement = lost(replace(work, provider=provider), hand.holder, on_ambiguous=policy)
    hand.settle([settlement])
    with tenant_scope(tenant):
        assert StepQueue.objects.count() == queued
        assert Step.objects.get().status == status
    assert again(run).failed == (0 if queued else 1)


def test_a_step_that_was_in_hand_at_three_crashes_is_dead(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    for crash in (1, 2, 3):
        if crash > 1:
            hand = Hand(tenant)
        [work] = hand.claim()
        assert work.crashes == crash - 1
        hand.stamp([work])
        expire(hand.lane)
        heir = Hand(tenant)
        [taken_over] = claim.stamped_by_others(tenant.pk, heir.lane.pk, [work.id])
        heir.settle([lost(taken_over, hand.holder, on_ambiguous="repeat")])
        expire(hand.lane)
    with tenant_scope(tenant):
        assert [step.status for step in Step.objects.all()] == ["ambiguous", "ambiguous", "dead"]
    assert again(run).failed == 1


def test_one_flush_serves_many_tenants_and_crosses_none(
    tenant: Tenant, other_tenant: Tenant, hand: Hand, vendors: Sandbox
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(
            other_tenant, provider, secret=f"key-{provider}", mode="sandbox", windows=[], parallelism=5
        )
    mine, theirs = start(tenant, people(2)), start(other_tenant, people(3))
    other = Hand(other_tenant)
    other.holder = hand.holder
    with ops_scope("test"):
        LaneState.objects.filter(lane_id=other.lane.pk).update(holder=hand.holder)
    works = [*hand.claim(), *other.claim()]
    hand.stamp(works)
    hand.settle([hand.answer(work) for work in works])
    assert (again(mine).credits_spent, again(theirs).credits_spent) == (2000, 3000)
    with tenant_scope(tenant):
        assert Step.objects.count() == 2
    with tenant_scope(other_tenant):
        assert Step.objects.count() == 3


def test_a_settle_cannot_reach_another_tenants_queue(
    tenant: Tenant, other_tenant: Tenant, hand: Hand
) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    forged = replace(work, run=replace(work.run, tenant_id=other_tenant.pk))
    with transaction.atomic(), connections["default"].cursor() as cursor:
        set_tenant(cursor, other_tenant.pk)
        cursor.execute("SELECT count(*) FROM step_queue WHERE id = %s", [work.id])
        assert cursor.fetchone() == (0,)
    with pytest.raises(IntegrityError, match="run_vendor_run_fk"):
        hand.settle([hand.answer(forged)])
    with tenant_scope(tenant):
        assert StepQueue.objects.count() == 1
        assert Run.objects.get(pk=run.pk).pending == 1
        assert Connection.objects.count() == 3


def test_a_late_answer_in_the_batch_of_the_one_that_took_over_counts_once(tenant: Tenant, hand: Hand) -> None:
    """A worker that froze may hold the lane again when it hears of its old call."""
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    expire(hand.lane)
    heir = Hand(tenant)
    [taken_over] = claim.stamped_by_others(tenant.pk, heir.lane.pk, [heir.foreign[0].id])
    heir.settle([lost(taken_over, hand.holder, on_ambiguous="repeat")])
    [repeat] = heir.claim()
    heir.stamp([repeat])
    assert heir.settle([hand.answer(work), heir.answer(repeat)]).late == 1
    with tenant_scope(tenant):
        assert sorted(step.status for step in Step.objects.all()) == ["ambiguous", "done", "late"]
        assert StepQueue.objects.get().name == "verify:zerobounce"
    assert (again(run).credits_reserved, again(run).pending) == (0, 1)


def test_a_late_answer_ends_no_record_in_its_vendors_figures_either(tenant: Tenant, hand: Hand) -> None:
    with tenant_scope(tenant):
        Workflow.objects.update(config={"finders": ["prospeo"], "verifier": None})
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    expire(hand.lane)
    heir = Hand(tenant)
    [taken_over] = claim.stamped_by_others(tenant.pk, heir.lane.pk, [work.id])
    heir.settle([lost(taken_over, hand.holder, on_ambiguous="repeat")])
    [repeat] = heir.claim()
    heir.stamp([repeat])
    heir.settle([heir.answer(repeat)])
    assert hand.settle([hand.answer(work)]).late == 1
    with tenant_scope(tenant):
        figures = RunVendor.objects.get(run_id=run.pk)
    assert (again(run).found, figures.accepted, figures.calls, figures.hits) == (1, 1, 2, 2)


def test_what_a_flush_is_writing_costs_no_other_lane_its_lease(
    tenant: Tenant, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush writes the starts of one tenant's lanes, and may wait for another's rows before it is over."""
    monkeypatch.setattr(lease, "RENEW_WAIT", "100ms")
    other, taken_over = Hand(tenant, "findymail"), Hand(tenant, "zerobounce")
    expire(taken_over.lane)
    assert lease.acquire(taken_over.lane.pk, uuid.uuid4()) is not None
    with ops_scope("test"):
        LaneState.objects.filter(lane_id=other.lane.pk).update(holder=hand.holder)
    lanes = [hand.lane.pk, other.lane.pk, taken_over.lane.pk]
    reports = [lease.Report(lane_id, 0, 0, "", 0.0, 1.0, "{}") for lane_id in lanes]
    written, over = threading.Event(), threading.Event()

    def flush() -> None:
        with tenant_scope(tenant), connections["default"].cursor() as cursor:
            lease.write_starts(cursor, tenant.pk, hand.holder, [(tenant.pk, hand.lane.pk, "{}")])
            written.set()
            over.wait(10)
        connections.close_all()

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        assert written.wait(10)
        renewed, unknown = lease.renew_all(hand.holder, reports)
    finally:
        over.set()
        flushing.join(10)
    assert renewed == {other.lane.pk}
    assert hand.lane.pk in unknown
    assert lease.renew_all(hand.holder, reports) == ({hand.lane.pk, other.lane.pk}, set())
