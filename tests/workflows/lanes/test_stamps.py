"""What may be stamped, by whom, and what a start that is not made leaves behind: nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError, InternalError, OperationalError
from django.utils import timezone

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from tests.workflows.lanes.test_recovery import Hand, expire
from workflows.lanes import settle
from workflows.lanes.runner import Runner
from workflows.lanes.work import Batch, Flushed, Work
from workflows.models import AmbiguousCall, LaneRun, Lookup, Record, Run, Step, StepQueue


@pytest.fixture
def hand(tenant: Tenant, vendors: Sandbox) -> Hand:
    return Hand(tenant)


@pytest.fixture
def run(tenant: Tenant, vendors: Sandbox) -> Run:
    return start(tenant, people(3))


def untouched(run: Run) -> tuple[int, int, float, int]:
    """Stamped entries, leads, turns and reserved credits of a run of which nothing has begun: all of them 0."""
    with tenant_scope(run.tenant_id):
        return (
            StepQueue.objects.exclude(sent_at=None).count(),
            Lookup.objects.count(),
            sum(LaneRun.objects.values_list("vtime", flat=True)),
            again(run).credits_reserved,
        )


def put_off(work: Work) -> None:
    StepQueue.objects.filter(pk=work.id).update(not_before=timezone.now() + timedelta(hours=1))


def try_again(work: Work) -> None:
    StepQueue.objects.filter(pk=work.id).update(attempt=2)


def pause(work: Work) -> None:
    LaneRun.objects.filter(run_id=work.run.id).update(state="paused")


def settled(work: Work) -> None:
    StepQueue.objects.filter(pk=work.id).delete()


@pytest.mark.parametrize("change", [put_off, try_again, pause, settled])
def test_what_changed_since_it_was_claimed_is_not_stamped(
    tenant: Tenant, hand: Hand, run: Run, change: Callable[[Work], None]
) -> None:
    work = hand.claim()[0]
    with tenant_scope(tenant):
        change(work)
    assert hand.stamp([work]) == set()
    assert untouched(run) == (0, 0, 0.0, 0)
    with tenant_scope(tenant):
        assert Record.objects.get(pk=work.record_id).status == "queued"


def test_a_stamp_says_who_and_until_when_and_counts_what_was_stamped_alone(
    tenant: Tenant, hand: Hand, run: Run
) -> None:
    works = hand.claim()
    with tenant_scope(tenant):
        put_off(works[2])
    assert hand.stamp(works, span=30.0) == {works[0].id, works[1].id}
    with tenant_scope(tenant):
        entry = StepQueue.objects.get(pk=works[0].id)
        assert (entry.holder, entry.reserved) == (hand.holder, 1000)
        assert (entry.deadline_at - entry.sent_at).total_seconds() == 35.0
        assert Lookup.objects.count() == 2
        assert LaneRun.objects.get(run_id=run.pk, lane_id=hand.lane.pk).vtime == 2.0
    assert (again(run).credits_reserved, again(run).running, again(run).queued) == (2000, 2, 1)


def test_a_step_is_stamped_once(tenant: Tenant, hand: Hand, run: Run) -> None:
    work = hand.claim()[0]
    assert hand.stamp([work]) == {work.id}
    expire(hand.lane, deadline=False)
    heir = Hand(tenant)
    assert heir.stamp([replace(work)]) == set()
    with tenant_scope(tenant):
        assert StepQueue.objects.get(pk=work.id).holder == hand.holder
    assert again(run).credits_reserved == 1000


def test_only_who_stamped_a_step_puts_it_back(tenant: Tenant, hand: Hand, run: Run) -> None:
    work = hand.claim()[0]
    hand.stamp([work])
    expire(hand.lane, deadline=False)
    heir = Hand(tenant)
    settle.flush(Batch(unstamps=[replace(work)]), heir.holder)
    with tenant_scope(tenant):
        assert StepQueue.objects.get(pk=work.id).holder == hand.holder
    assert again(run).credits_reserved == 1000
    settle.flush(Batch(unstamps=[work]), hand.holder)
    with tenant_scope(tenant):
        entry = StepQueue.objects.get(pk=work.id)
        assert (entry.holder, entry.sent_at, entry.deadline_at, entry.reserved) == (None, None, None, 0)
        assert Lookup.objects.count() == 0
    assert again(run).credits_reserved == 0


def test_a_stamp_whose_commit_was_not_confirmed_is_sent_and_counted_once(
    tenant: Tenant, hand: Hand, vendors: Sandbox
) -> None:
    """Its price is set aside already: there is no room for it a second time, and none is needed."""
    run = start(tenant, people(2, last="Limited"), credit_limit=2000)
    works = [work for work in hand.claim() if work.run.id == run.pk]
    batch = Batch(stamps=[(work, 30.0, 1000) for work in works])
    assert settle.flush(batch, hand.holder).stamped == {work.id for work in works}
    batch.retried = True
    again_written = settle.flush(batch, hand.holder)
    assert again_written.stamped == {work.id for work in works}
    assert not again_written.parked
    with tenant_scope(tenant):
        assert Lookup.objects.count() == 2, "each still leads"
        assert LaneRun.objects.get(run_id=run.pk).vtime == 2.0
    assert (again(run).credits_reserved, again(run).running) == (2000, 2)


def test_a_stamp_that_another_holder_made_is_not_taken_for_ones_own(
    tenant: Tenant, hand: Hand, run: Run
) -> None:
    work = hand.claim()[0]
    hand.stamp([work])
    expire(hand.lane, deadline=False)
    heir = Hand(tenant)
    batch = Batch(stamps=[(replace(work), 30.0, 1000)], retried=True)
    assert settle.flush(batch, heir.holder).stamped == set()


@pytest.mark.parametrize(
    "errors",
    [
        [OperationalError("server closed the connection unexpectedly")],
        # After that the tenant's share cannot be written for a while, and not for what is in it.
        [OperationalError("server closed the connection unexpectedly"), InternalError(), InternalError()],
    ],
    ids=["once", "and kept"],
)
def test_a_runner_whose_stamps_were_not_confirmed_makes_those_calls(
    tenant: Tenant,
    vendors: Sandbox,
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[DatabaseError],
) -> None:
    flush, left = settle.flush, list(errors)

    def unconfirmed(batch: Batch, holder: object) -> Flushed:
        if len(left) < len(errors) and left:
            raise left.pop(0)
        flushed = flush(batch, holder)  # type: ignore[arg-type]
        if flushed.stamped and left:
            raise left.pop(0)
        return flushed

    monkeypatch.setattr(settle, "flush", unconfirmed)
    run = wait(start(tenant, people(3)), seconds=12)
    assert not left
    assert (run.found, run.credits_reserved) == (3, 0)
    with tenant_scope(tenant):
        assert not AmbiguousCall.objects.exists()
        assert not Step.objects.filter(status="ambiguous").exists()
    assert vendors.summary()["prospeo"]["repeated"] == 0
