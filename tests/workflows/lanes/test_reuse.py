"""How old an answer may be to be used again: `reuse_days`, counted back from when the run was accepted."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from integrations.outcomes import Miss, Retry
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR, make_connection, make_tenant
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people
from tests.workflows.lanes.test_recovery import Hand
from workflows.lanes import book, claim, lease, settle, sweep
from workflows.lanes.outcome import cached
from workflows.lanes.work import Batch, Settlement, Work
from workflows.models import LaneRun, Lookup, Run, RunVendor, StepQueue, Workflow
from workflows.operations.accept_run import accept_run, find_workflow
from workflows.operations.control_run import cancel_run, pause_run, resume_run

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


def start(tenant: Tenant, days: int | None, *, livemode: bool = True, last: str = "Everyone") -> Run:
    """A run about one person, whose workflow uses answers of so many days again (None: it says nothing of that)."""
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        config = {key: value for key, value in workflow.config.items() if key != "reuse_days"}
        workflow.config = config if days is None else {**config, "reuse_days": days}
        workflow.save()
        return accept_run(
            workflow=find_workflow("email-waterfall"), records=people(1, last=last), actor=ACTOR, source="api",
            livemode=livemode,
        )  # fmt: skip


@pytest.fixture
def hand(tenant: Tenant, vendors: Sandbox) -> Hand:
    return Hand(tenant)


def ask(hand: Hand, run: Run, outcome: Any = None) -> None:
    """The run's question is asked and answered now."""
    (work,) = of(hand, run)
    assert hand.stamp([work]) == {work.id}
    hand.settle([hand.answer(work) if outcome is None else hand.answer(work, outcome)])


def of(hand: Hand, run: Run) -> list[Work]:
    """What a claim of this run brings."""
    return [work for work in hand.claim() if work.run.id == run.pk]


def date_answer(run: Run, before: timedelta) -> None:
    """The only answer there is came so long before the run was accepted."""
    with tenant_scope(run.tenant_id):
        assert Lookup.objects.update(answered_at=again(run).created_at - before) == 1


@pytest.mark.parametrize(
    ("days", "before", "used"),
    [
        (7, 7 * DAY, True),
        (7, 7 * DAY + TICK, False),
        (7, 7 * DAY - TICK, True),
        (365, 365 * DAY, True),
        (365, 365 * DAY + TICK, False),
        (1, DAY, True),
        (1, DAY + TICK, False),
        (0, timedelta(0), True),
        (0, TICK, False),
        (None, TICK, False),
        (None, -TICK, True),
        (0, -TICK, True),
    ],
)
def test_to_the_microsecond_and_the_stamp_sees_it_as_the_claim_does(
    tenant: Tenant, hand: Hand, days: int | None, before: timedelta, used: bool
) -> None:
    ask(hand, start(tenant, 0))
    run = start(tenant, days)
    date_answer(run, before)
    (work,) = of(hand, run)
    assert (work.cached_outcome == "hit") is used
    # A step that was claimed before the answer came is not asked either, and does not wait for one that has come.
    assert hand.stamp([replace(work, cached_outcome="", cached_answer=None)]) == (
        set() if used else {work.id}
    )
    with tenant_scope(tenant):
        assert StepQueue.objects.get(pk=work.id).not_before is None


@pytest.mark.parametrize(("outcome", "name"), [(None, "hit"), (Miss(), "miss")])
def test_what_is_used_again_costs_nothing_and_counts_as_it_did(
    tenant: Tenant, hand: Hand, outcome: Any, name: str
) -> None:
    ask(hand, start(tenant, 0), outcome)
    run = start(tenant, 30)
    (work,) = of(hand, run)
    assert (work.cached_outcome, work.needs_no_call) == (name, True)
    settlement: Settlement = cached(work)
    settle.flush(Batch(settlements=[settlement]), hand.holder)
    assert again(run).credits_spent == 0
    with tenant_scope(tenant):
        counted = RunVendor.objects.get(run=run, provider="prospeo")
        assert (counted.calls, counted.cached, counted.credits) == (0, 1, 0)
        assert (counted.hits, counted.misses) == ((1, 0) if name == "hit" else (0, 1))


def test_the_run_keeps_what_its_workflow_said_when_it_was_accepted(tenant: Tenant, hand: Hand) -> None:
    ask(hand, start(tenant, 0))
    patient, fresh = start(tenant, 30), start(tenant, 0)
    assert [work.cached_outcome for work in of(hand, patient)] == ["hit"]
    assert [work.cached_outcome for work in of(hand, fresh)] == [""]


def test_whoever_would_use_an_old_answer_waits_for_the_new_one_that_is_under_way(
    tenant: Tenant, hand: Hand
) -> None:
    ask(hand, start(tenant, 0))
    fresh, patient = start(tenant, 0), start(tenant, 30)
    (asking,) = of(hand, fresh)
    assert hand.stamp([asking]) == {asking.id}
    (waiting,) = of(hand, patient)
    assert waiting.cached_outcome == ""
    assert hand.stamp([waiting]) == set()
    with tenant_scope(tenant):
        assert StepQueue.objects.get(pk=waiting.id).reason == "duplicate"
    hand.settle([hand.answer(asking)])
    assert [work.cached_outcome for work in of(hand, patient)] == ["hit"]


def test_answers_of_test_runs_and_of_live_ones_are_apart(tenant: Tenant, hand: Hand) -> None:
    ask(hand, start(tenant, 0, livemode=False))
    assert [work.cached_outcome for work in of(hand, start(tenant, 365))] == [""]
    assert [work.cached_outcome for work in of(hand, start(tenant, 365, livemode=False))] == ["hit"]


def test_nobody_uses_another_tenants_answer(tenant: Tenant, hand: Hand) -> None:
    ask(hand, start(tenant, 0))
    other = make_tenant("Other").tenant
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(other, provider, secret=f"other-{provider}", mode="sandbox")
    theirs = Hand(other)
    (work,) = of(theirs, start(other, 365))
    assert work.cached_outcome == ""
    assert theirs.stamp([work]) == {work.id}


def test_an_answer_that_grew_old_between_two_runs_is_replaced_by_the_new_one(
    tenant: Tenant, hand: Hand
) -> None:
    ask(hand, start(tenant, 0))
    run = start(tenant, 7)
    date_answer(run, 8 * DAY)
    ask(hand, run, Miss())
    with tenant_scope(tenant):
        (lookup,) = Lookup.objects.filter(provider="prospeo")
    assert (lookup.outcome, lookup.answered_at > again(run).created_at) == ("miss", True)
    _, runs = lease.look([hand.lane.pk])
    facts = [(entry, 10) for entry in runs[hand.lane.pk]]
    found = claim.claim(tenant.pk, hand.lane.pk, hand.lane.provider, facts, [])
    assert [work for _, works, _ in found for work in works] == []


@pytest.mark.parametrize("how", ["paused", "parked"])
def test_a_question_that_is_to_be_asked_again_keeps_nobody_waiting_while_its_run_stands_still(
    tenant: Tenant, hand: Hand, how: str
) -> None:
    still, goes_on = start(tenant, 0), start(tenant, 0)
    (asking,) = of(hand, still)
    assert hand.stamp([asking]) == {asking.id}
    hand.settle([hand.answer(asking, Retry("error", "vendor fault"))])
    (waiting,) = of(hand, goes_on)
    assert hand.stamp([waiting]) == set(), "it is asked soon, and then there is an answer for both"
    with tenant_scope(tenant):
        if how == "paused":
            pause_run(run_id=still.pk, actor=ACTOR)
        else:
            LaneRun.objects.filter(run_id=still.pk).update(state="budget", parked_for=10**9)
            Run.objects.filter(pk=still.pk).update(credit_limit=0)
    sweep.sweep()
    ask(hand, goes_on)
    with tenant_scope(tenant):
        resume_run(run_id=still.pk, actor=ACTOR)
        StepQueue.objects.filter(pk=asking.id).update(not_before=None, reason="")
        LaneRun.objects.update(state="active")
    assert [work.cached_outcome for work in of(hand, still)] == ["hit"]


def test_a_call_in_flight_leads_though_its_run_is_paused(tenant: Tenant, hand: Hand) -> None:
    paused, other = start(tenant, 0), start(tenant, 0)
    (asking,) = of(hand, paused)
    assert hand.stamp([asking]) == {asking.id}
    (waiting,) = of(hand, other)
    assert hand.stamp([waiting]) == set()
    with tenant_scope(tenant):
        pause_run(run_id=paused.pk, actor=ACTOR)
    sweep.sweep()
    with tenant_scope(tenant):
        assert StepQueue.objects.get(pk=waiting.id).reason == "duplicate"
    hand.settle([hand.answer(asking)])
    assert [work.cached_outcome for work in of(hand, other)] == ["hit"]


def test_cancelling_a_run_and_an_answer_that_wakes_equal_questions_do_not_wait_for_each_other(
    tenant: Tenant, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancel has one of the waiting steps in hand and would wake the other, as the settling of the answer would."""
    ask_first, kept, cancelled = (start(tenant, 0) for _ in range(3))
    (asking,) = of(hand, ask_first)
    hand.stamp([asking])
    assert hand.stamp([*of(hand, kept), *of(hand, cancelled)]) == set()
    has_it, go_on = threading.Event(), threading.Event()
    drop = book.drop_leads_of

    def hold(*args: Any) -> set[tuple[uuid.UUID, uuid.UUID]]:
        if threading.current_thread().name == "cancel":
            has_it.set()
            go_on.wait(10)
        return drop(*args)

    monkeypatch.setattr(book, "drop_leads_of", hold)
    troubles: list[BaseException] = []

    def beside(name: str, act: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                act()
            except BaseException as error:  # noqa: BLE001 - told by the test
                troubles.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run, name=name)
        thread.start()
        return thread

    def cancel() -> None:
        with tenant_scope(tenant):
            cancel_run(run_id=cancelled.pk, actor=ACTOR)

    cancels = beside("cancel", cancel)
    assert has_it.wait(10)
    settles = beside("settle", lambda: hand.settle([hand.answer(asking)]))
    settles.join(5)
    assert not settles.is_alive(), "it waits for what the cancel has in hand"
    go_on.set()
    cancels.join(10)
    assert not troubles
    sweep.sweep()
    assert [work.cached_outcome for work in of(hand, kept)] == ["hit"]
    assert again(cancelled).status == "cancelled"
