"""Whoever comes onto the suppression list while vendors are at work is not delivered, and nothing of them is kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.db.models import Sum

from billing.models import UsageCounter, UsageEvent
from integrations.http import CallResult
from integrations.outcomes import AwaitCallback, Done, Fail, Poll, Retry
from integrations.suppressions import add_suppressions, remove_suppressions
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, start
from tests.workflows.lanes.test_recovery import Hand
from workflows.callback_tokens import Token
from workflows.lanes import settle, sweep
from workflows.lanes.driver import _without_a_call
from workflows.lanes.outcome import judge, lost, suppressed
from workflows.lanes.work import Batch, Work
from workflows.models import Lookup, Record, Run, Step, StepQueue, Workflow
from workflows.operations.control_run import cancel_run
from workflows.operations.receive_callback import receive_callback
from workflows.operations.retry import retry_record

ADA = {"first_name": "Ada", "last_name": "Byron", "domain": "engines.example"}
PERSON, ADDRESS = "Ada Byron, engines.example", "ada@mail.example"
HERS = Done({"email": ADDRESS, "email_status": "valid"}, credits=1_000)


@pytest.fixture
def hand(tenant: Tenant, vendors: Sandbox) -> Hand:
    configure(tenant, verifier=None)
    return Hand(tenant)


def configure(tenant: Tenant, **config: Any) -> None:
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, **config}
        workflow.save(update_fields=["config"])


def suppress(tenant: Tenant, line: str) -> None:
    with tenant_scope(tenant):
        assert len(add_suppressions(lines=[line], actor=ACTOR).new) == 1


def record(run: Run) -> Record:
    with tenant_scope(run.tenant_id):
        return Record.objects.get(run_id=run.pk)


def billed(tenant: Tenant) -> int:
    """The records that the ledger counts; always what the counters say."""
    with tenant_scope(tenant):
        ledger = UsageEvent.objects.filter(kind="record").aggregate(n=Sum("quantity"))["n"] or 0
        assert UsageCounter.objects.aggregate(n=Sum("records"))["n"] == ledger
    return int(ledger)


def nothing_kept(tenant: Tenant) -> bool:
    with tenant_scope(tenant):
        kept: list[Sequence[Any]] = [
            list(Step.objects.values_list("answer", flat=True)),
            list(Lookup.objects.values_list("answer", flat=True)),
            list(Record.objects.values_list("output", flat=True)),
            list(StepQueue.objects.values_list("query", "context")),
        ]
    return ADDRESS not in str(kept)


@pytest.mark.parametrize("line", [PERSON, ADDRESS, "mail.example", "engines.example"])
@pytest.mark.parametrize("verifier", [None, "zerobounce"])
def test_an_answer_to_a_call_in_flight_is_withheld(
    tenant: Tenant, hand: Hand, line: str, verifier: str | None
) -> None:
    configure(tenant, verifier=verifier)
    run = start(tenant, [ADA])
    (work,) = hand.claim()
    hand.stamp([work])
    suppress(tenant, line)
    hand.settle([hand.answer(work, HERS)])
    ended = record(run)
    assert ended.error is not None
    assert (ended.status, ended.output, ended.error["code"]) == ("skipped", None, "suppressed")
    assert nothing_kept(tenant)
    assert (again(run).credits_spent, ended.credits) == (1_000, 1_000), "the call was made, and paid"


def test_an_answer_that_was_kept_is_not_delivered_about_somebody_who_came_onto_the_list(
    tenant: Tenant, hand: Hand
) -> None:
    first, second = start(tenant, [ADA]), start(tenant, [ADA])
    works = {work.run.id: work for work in hand.claim()}
    hand.stamp([works[first.pk]])
    hand.settle([hand.answer(works[first.pk], HERS)])
    suppress(tenant, PERSON)
    (follower,) = hand.claim()
    assert (follower.run.id, follower.cached_outcome) == (second.pk, "hit")
    hand.settle([_without_a_call(follower)])
    assert (record(first).status, record(second).status) == ("found", "skipped")
    assert record(second).output is None


def test_equal_questions_learn_that_the_answer_was_withheld_and_not_what_it_was(
    tenant: Tenant, hand: Hand
) -> None:
    first, second = start(tenant, [ADA]), start(tenant, [ADA])
    works = {work.run.id: work for work in hand.claim()}
    hand.stamp([works[first.pk]])
    suppress(tenant, ADDRESS)
    hand.settle([hand.answer(works[first.pk], HERS)])
    (follower,) = hand.claim()
    assert (follower.cached_outcome, follower.needs_no_call) == ("withheld", True)
    hand.settle([_without_a_call(follower)])
    assert (record(first).status, record(second).status) == ("skipped", "skipped")
    assert nothing_kept(tenant)
    assert again(second).credits_spent == 0, "the vendor is not paid again"
    with tenant_scope(tenant):
        remove_suppressions(actor=ACTOR, values=[ADDRESS])
        retry_record(run_id=second.pk, record_id=record(second).pk, actor=ACTOR)
    (asked,) = hand.claim()
    assert asked.cached_outcome == "", "off the list, they are asked about again"
    assert hand.stamp([asked]) == {asked.id}


@pytest.mark.parametrize("line", [PERSON, ADDRESS])
def test_nothing_is_kept_of_an_answer_that_comes_after_its_step_was_taken_over(
    tenant: Tenant, hand: Hand, line: str
) -> None:
    run = start(tenant, [ADA])
    [work] = hand.claim()
    hand.stamp([work])
    hand.settle([lost(replace(work), hand.holder, on_ambiguous="repeat")])
    suppress(tenant, line)
    assert hand.settle([hand.answer(work, HERS)]).late == 1
    assert nothing_kept(tenant)
    assert again(run).credits_spent == 1_000, "the call was made, and paid or repeated for nothing"
    with tenant_scope(tenant):
        assert Step.objects.get(status="late").answer == {"withheld": True}


@pytest.mark.parametrize("line", [PERSON, ADDRESS, "Somebody Else, engines.example"])
def test_nothing_is_kept_of_what_is_posted_after_a_steps_end(
    tenant: Tenant, committed: None, connect: Any, line: str
) -> None:
    for provider in ("jobs", "zerobounce"):
        connect(provider, secret=f"key-{provider}", mode="sandbox", windows=[], parallelism=20)
    configure(tenant, finders=["jobs"], verifier=None)
    run = start(tenant, [ADA])
    hand = Hand(tenant, "jobs")
    [work] = hand.claim()
    hand.stamp([work])
    begun = judge(work, hand.holder, CallResult(AwaitCallback("j1", 60), 202, 5), 1.0, 2.0).settlement
    hand.settle([begun])
    with tenant_scope(tenant):
        cancel_run(run_id=run.pk, actor=ACTOR)
    suppress(tenant, line)
    body = b'{"job":"j1","status":"done","result":{"email":"ada@mail.example","verdict":"valid"}}'
    receive_callback(token=Token(tenant.pk, work.id, work.record_id, 1), body=body)
    sweep.sweep()
    with tenant_scope(tenant):
        late = Step.objects.get(status="late")
        assert StepQueue.objects.count() == 0
    assert late.credits == again(run).credits_spent > 0
    assert nothing_kept(tenant) == (late.answer == {"withheld": True}) == (line in (PERSON, ADDRESS))


def test_a_job_that_the_vendor_has_begun_is_asked_for_and_its_result_withheld(
    tenant: Tenant, committed: None, connect: Any
) -> None:
    connect("jobs", secret="key-jobs", mode="sandbox", windows=[], parallelism=20)
    configure(tenant, finders=["jobs"], verifier=None)
    run = start(tenant, [ADA])
    hand = Hand(tenant, "jobs")
    (work,) = hand.claim()
    hand.stamp([work])
    begun = judge(work, hand.holder, CallResult(Poll(1.0, {"job": "j1"}), 202, 5), 1.0, 2.0).settlement
    hand.settle([begun])
    suppress(tenant, PERSON)
    with tenant_scope(tenant):
        StepQueue.objects.update(not_before=None, reason="")
    (polled,) = hand.claim()
    assert hand.stamp([polled]) == {polled.id}
    hand.settle([hand.answer(polled, HERS)])
    assert (record(run).status, again(run).credits_spent) == ("skipped", 1_000)
    assert nothing_kept(tenant)
    with tenant_scope(tenant):
        calls = UsageEvent.objects.filter(kind="attempt").aggregate(n=Sum("quantity"), paid=Sum("credits"))
    assert calls == {"n": 1, "paid": 1_000}


def test_a_record_is_billed_each_time_that_a_vendor_was_asked_and_given_back_each_time_that_none_was(
    tenant: Tenant, hand: Hand
) -> None:
    run = start(tenant, [ADA])
    for _ in range(2):
        (work,) = hand.claim()
        suppress(tenant, "engines.example")
        _held_back(hand, work)
        assert (record(run).status, billed(tenant)) == ("skipped", 0)
        with tenant_scope(tenant):
            remove_suppressions(actor=ACTOR, values=["engines.example"])
            retry_record(run_id=run.pk, record_id=record(run).pk, actor=ACTOR)
        assert billed(tenant) == 1
    (work,) = hand.claim()
    hand.stamp([work])
    hand.settle([hand.answer(work, HERS)])
    assert (record(run).status, billed(tenant)) == ("found", 1)


@pytest.mark.parametrize(
    ("outcome", "count"),
    [(Fail("auth_failed", "no such key"), 0), (Retry("rate_limited", "slow down"), 0), (None, 1)],
    ids=["refused", "limited", "lost"],
)
def test_what_came_of_the_calls_before_says_whether_the_record_is_billed(
    tenant: Tenant, hand: Hand, outcome: Any, count: int
) -> None:
    start(tenant, [ADA])
    (work,) = hand.claim()
    hand.stamp([work])
    gone = lost(work, hand.holder, on_ambiguous="repeat") if outcome is None else hand.answer(work, outcome)
    hand.settle([gone])
    with tenant_scope(tenant):
        StepQueue.objects.update(not_before=None, reason="")
    (work,) = hand.claim()
    suppress(tenant, PERSON)
    _held_back(hand, work)
    assert billed(tenant) == count


def _held_back(hand: Hand, work: Work) -> None:
    flushed = settle.flush(Batch(stamps=[(work, 30.0, 1_000)]), hand.holder)
    assert flushed.suppressed == {work.id}
    hand.settle([suppressed(work)])
