"""Calls that may have been paid for: booked, listed, and never asked again without somebody's word where that costs."""

from typing import Any

import pytest
from django.db.models.functions import Now

from billing.models import UsageEvent
from integrations.connectors import registry
from integrations.http import CallResult
from integrations.models import Connection
from integrations.outcomes import Done, Miss, Retry
from tenants.errors import Conflict
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from tests.workflows.lanes.test_recovery import Hand, expire
from workflows.errors import MissingConnection
from workflows.lanes import claim, settle, sweep
from workflows.lanes.doubt import worst_of
from workflows.lanes.outcome import in_doubt, judge, lost
from workflows.lanes.runner import Runner
from workflows.lanes.work import Batch
from workflows.models import AmbiguousCall, Lookup, Record, Run, Step, StepQueue, Workflow
from workflows.operations.ambiguous import decide_call, decide_calls
from workflows.operations.control_run import cancel_run
from workflows.operations.retry import retry_run

GONE = Retry("timeout", "no answer in time", uncertain=True)
FOUND = Done({"email": "ada@firm.example", "email_status": "valid"}, credits=1_000)


def configure(tenant: Tenant, **settings: Any) -> None:
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, **settings}
        workflow.save()


def policy(tenant: Tenant, word: str) -> None:
    with tenant_scope(tenant):
        Connection.objects.update(on_ambiguous=word)


def calls(tenant: Tenant) -> list[AmbiguousCall]:
    with tenant_scope(tenant):
        return list(AmbiguousCall.objects.order_by("id"))


def booked(run: Run) -> int:
    """What the ledger says of a run; always what the run says of itself, and its records."""
    with tenant_scope(run.tenant_id):
        ledger = sum(UsageEvent.objects.filter(run_id=run.pk).values_list("credits", flat=True))
        records = sum(Record.objects.filter(run=run).values_list("credits", flat=True))
        under_way = Record.objects.filter(run=run, status__in=["queued", "running"]).exists()
    assert again(run).credits_spent == ledger
    assert under_way or records == ledger
    return ledger


def lose(hand: Hand, work: Any, word: str, outcome: Any = GONE) -> None:
    """The call is sent, and no answer comes."""
    assert hand.stamp([work]) == {work.id}
    result = hand_result(outcome)
    verdict = judge(work, hand.holder, result, 1.0, 2.0, on_ambiguous=word)
    hand.settle([verdict.settlement])


def hand_result(outcome: Any) -> Any:
    return CallResult(outcome, None, 30_000)


@pytest.fixture
def hand(tenant: Tenant, vendors: Sandbox) -> Hand:
    configure(tenant, finders=["findymail"])
    return Hand(tenant, "findymail")


def test_ask_holds_the_record_and_the_loss_is_booked(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    lose(hand, work, "ask")
    [call] = calls(tenant)
    assert (call.status, call.may_cost, call.provider, call.released_at) == ("open", 1_000, "findymail", None)
    with tenant_scope(tenant):
        record, step = Record.objects.get(), Step.objects.get()
        assert not StepQueue.objects.exists()
    assert record.error["code"] == "ambiguous"
    assert (step.status, step.credits, call.pk) == ("ambiguous", 0, step.pk)
    assert (booked(run), again(run).credits_reserved) == (1_000, 0)


def test_accepting_the_loss_goes_on_with_the_next_vendor(tenant: Tenant, vendors: Sandbox) -> None:
    hand = Hand(tenant, "findymail")
    configure(tenant, finders=["findymail", "prospeo"])
    run = start(tenant, people(1))
    [work] = hand.claim()
    lose(hand, work, "accept")
    [call] = calls(tenant)
    assert (call.status, call.decided_by) == ("accepted", "")
    with tenant_scope(tenant):
        assert StepQueue.objects.get().name == "find:prospeo"
    assert booked(run) == 1_000


def test_repeat_asks_again_and_both_are_counted(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    lose(hand, work, "repeat")
    with tenant_scope(tenant):
        StepQueue.objects.update(not_before=None, reason="")
    [repeat] = hand.claim()
    assert repeat.attempt == 2
    hand.stamp([repeat])
    hand.settle([hand.answer(repeat, Miss())])
    assert [call.status for call in calls(tenant)] == ["repeated"]
    assert booked(run) == 1_000


@pytest.mark.parametrize("word", ["ask", "accept", "repeat"])
def test_an_error_that_the_vendor_told_is_no_doubt(tenant: Tenant, hand: Hand, word: str) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    answer = judge(
        work,
        hand.holder,
        CallResult(Retry("error", "fault", uncertain=True), 500, 5),
        1.0,
        2.0,
        on_ambiguous=word,
    ).settlement
    hand.settle([answer])
    assert calls(tenant) == []
    assert booked(run) == 0
    with tenant_scope(tenant):
        assert StepQueue.objects.get().attempt == 2


def test_each_paid_probe_is_listed_at_what_it_may_have_cost(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    for _ in range(3):
        [work] = hand.claim()
        assert hand.stamp([work]) == {work.id}
        probe = judge(work, hand.holder, hand_result(GONE), 1.0, 2.0, spare_s=0.0, on_ambiguous="repeat")
        hand.settle([probe.settlement])
        with tenant_scope(tenant):
            StepQueue.objects.update(not_before=None, reason="")
    assert [(call.attempt, call.may_cost) for call in calls(tenant)] == [(1, 1000), (2, 1000), (3, 1000)]
    assert booked(run) == 3000
    assert again(run).is_final, "it is not paid for without end"


def test_a_person_asks_again(tenant: Tenant, hand: Hand, vendors: Sandbox) -> None:
    run = start(tenant, people(1))
    lose(hand, hand.claim()[0], "ask")
    [call] = calls(tenant)
    with tenant_scope(tenant):
        decided = decide_call(call_id=call.pk, decision="repeat", actor=ACTOR)
    assert (decided.status, decided.decided_by) == ("repeated", ACTOR)
    [repeat] = hand.claim()
    hand.stamp([repeat])
    hand.settle([hand.answer(repeat, Miss())])
    assert (again(run).not_found, booked(run)) == (1, 1_000)
    with tenant_scope(tenant), pytest.raises(Conflict):
        decide_call(call_id=call.pk, decision="accept", actor=ACTOR)
    with tenant_scope(tenant):
        entry = AuditEvent.objects.get(verb="calls.repeat")
    assert entry.detail == {"calls": 1, "may_have_cost": 1.0}


def test_a_person_accepts_the_losses_of_a_vendor_and_nothing_is_asked_again(
    tenant: Tenant, hand: Hand
) -> None:
    run = start(tenant, people(3))
    for work in hand.claim():
        lose(hand, work, "ask")
    assert again(run).failed == 3
    decided = decide_calls(tenant_id=tenant.pk, decision="accept", actor=ACTOR, provider="findymail")
    assert (decided.calls, decided.left) == (3, 0)
    assert {call.status for call in calls(tenant)} == {"accepted"}
    assert hand.claim() == []
    assert (again(run).not_found, again(run).failed, again(run).status) == (3, 0, "completed")
    assert booked(run) == 3_000
    assert retry_run(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR) == 0


@pytest.fixture
def disconnected(tenant: Tenant, hand: Hand) -> tuple[Run, Run]:
    """Two runs with a call in doubt each; the vendor that the first one would go on with is not connected any more."""
    configure(tenant, finders=["findymail", "prospeo"])
    first = start(tenant, people(1))
    lose(hand, hand.claim()[0], "ask")
    configure(tenant, finders=["findymail"])
    second = start(tenant, people(2)[1:])
    lose(hand, hand.claim()[0], "ask")
    with tenant_scope(tenant):
        Connection.objects.filter(provider="prospeo").update(removed_at=Now())
    return first, second


def test_a_run_that_cannot_go_on_keeps_no_other_from_a_decision(
    tenant: Tenant, disconnected: tuple[Run, Run]
) -> None:
    first, second = disconnected
    decided = decide_calls(tenant_id=tenant.pk, decision="repeat", actor=ACTOR)
    assert (decided.calls, decided.left) == (1, 1)
    assert {call.run_id: call.status for call in calls(tenant)} == {first.pk: "open", second.pk: "repeated"}
    assert (again(first).failed, again(second).pending) == (1, 1)
    with tenant_scope(tenant), pytest.raises(MissingConnection):
        decide_call(call_id=calls(tenant)[0].pk, decision="repeat", actor=ACTOR)


def test_a_loss_is_accepted_though_its_record_cannot_go_on(
    tenant: Tenant, disconnected: tuple[Run, Run]
) -> None:
    first, second = disconnected
    decided = decide_calls(tenant_id=tenant.pk, decision="accept", actor=ACTOR)
    assert (decided.calls, decided.left) == (2, 0)
    assert {call.status for call in calls(tenant)} == {"accepted"}
    assert (again(first).failed, again(second).not_found) == (1, 1)


def test_a_call_of_a_cancelled_run_can_be_accepted_alone(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(2))
    lose(hand, hand.claim()[0], "ask")
    with tenant_scope(tenant):
        cancel_run(run_id=run.pk, actor=ACTOR)
    assert decide_calls(tenant_id=tenant.pk, decision="repeat", actor=ACTOR).left == 1
    assert decide_calls(tenant_id=tenant.pk, decision="accept", actor=ACTOR).calls == 1


def test_an_equal_question_waits_for_the_same_decision(tenant: Tenant, hand: Hand) -> None:
    first, second = start(tenant, people(1)), start(tenant, people(1))
    leader = hand.claim()[0]
    lose(hand, leader, "ask")
    [follower] = hand.claim()
    assert follower.cached_outcome == "ambiguous"
    hand.settle([in_doubt(follower)])
    assert [again(run).failed for run in (first, second)] == [1, 1]
    assert (booked(first), booked(second)) == (1_000, 0)
    assert [call.may_cost for call in calls(tenant)] == [1_000, 0]
    assert decide_calls(tenant_id=tenant.pk, decision="repeat", actor=ACTOR).calls == 2
    with tenant_scope(tenant):
        assert not Lookup.objects.exists()
    works = hand.claim()
    assert len(works) == 2
    assert len(hand.stamp(works)) == 1, "one asks, the other waits for its answer"


def test_a_late_answer_takes_the_place_of_the_doubt(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    expire(hand.lane)
    heir = Hand(tenant, "findymail")
    [taken_over] = claim.stamped_by_others(tenant.pk, heir.lane.pk, [work.id])
    heir.settle([lost(taken_over, hand.holder, on_ambiguous="ask")])
    assert booked(run) == 1_000
    hand.settle([hand.answer(work, Miss())])
    [call] = calls(tenant)
    assert (call.status, call.released_at is not None) == ("answered", True)
    assert booked(run) == 0
    with tenant_scope(tenant):
        assert sum(UsageEvent.objects.filter(kind="attempt").values_list("quantity", flat=True)) == 1


def test_a_repeat_keeps_the_cap_of_the_record(tenant: Tenant, vendors: Sandbox) -> None:
    hand = Hand(tenant, "findymail")
    configure(tenant, finders=["findymail"], max_credits_per_record=1)
    run = start(tenant, people(1))
    lose(hand, hand.claim()[0], "repeat")
    with tenant_scope(tenant):
        assert Record.objects.get().error["code"] == "record_credit_limit"
    assert (again(run).not_found, booked(run)) == (1, 1_000)


@pytest.mark.parametrize("word", ["ask", "accept", "repeat"])
def test_a_vendor_that_hangs_up_after_charging_is_told_of(
    tenant: Tenant, vendors: Sandbox, runner: Runner, word: str
) -> None:
    """The whole way, with the sandbox as witness: what it charged is never more than what is booked."""
    configure(tenant, finders=["findymail"], verifier=None)
    policy(tenant, word)
    vendors.fault("findymail", "drop_after_charge", rate=1.0, count=3)
    run = wait(start(tenant, people(6)), seconds=40)
    asked = vendors.calls(provider="findymail")
    charged = sum(call["credits"] for call in asked)
    assert len(asked) == (9 if word == "repeat" else 6)
    assert len(calls(tenant)) == 3
    assert again(run).credits_spent == round(charged * 1000)
    by_status = (run.found, run.not_found, run.failed)
    assert by_status == {"ask": (3, 0, 3), "accept": (3, 3, 0), "repeat": (6, 0, 0)}[word]


def test_a_leader_that_comes_back_beside_an_equal_question_does_not_wait_for_itself(
    tenant: Tenant, vendors: Sandbox
) -> None:
    hand = Hand(tenant)
    first, second = start(tenant, people(1)), start(tenant, people(1))
    works = sorted(hand.claim(), key=lambda work: work.id)
    assert hand.stamp([works[1]]) == {works[1].id}
    assert hand.stamp([works[0]]) == set()
    with tenant_scope(tenant):
        StepQueue.objects.filter(pk=works[1].id).update(sent_at=None, holder=None)
        StepQueue.objects.filter(pk=works[0].id).update(not_before=None, reason="")
    hand.stamp(works)
    sweep.sweep()
    assert len(hand.stamp(sorted(hand.claim(), key=lambda work: work.id))) == 1
    assert {again(first).pending, again(second).pending} == {1}


def test_a_late_answer_changes_nothing_once_the_repeat_has_told_what_the_question_cost(
    tenant: Tenant, vendors: Sandbox
) -> None:
    """The vendor charges a question once: the frozen worker's answer is to the call that the repeat was given for."""
    frozen = Hand(tenant)
    run = start(tenant, people(1))
    [work] = frozen.claim()
    frozen.stamp([work])
    expire(frozen.lane)
    heir = Hand(tenant)
    [over] = claim.stamped_by_others(tenant.pk, heir.lane.pk, [heir.foreign[0].id])
    heir.settle([lost(over, frozen.holder, on_ambiguous="repeat")])
    [repeat] = heir.claim()
    heir.stamp([repeat])
    heir.settle([heir.answer(repeat, FOUND)])
    assert booked(run) == 1000
    [before] = calls(tenant)
    frozen.settle([frozen.answer(work, FOUND)])
    assert booked(run) == 1000
    assert calls(tenant)[0].released_at == before.released_at
    with tenant_scope(tenant):
        attempts = UsageEvent.objects.filter(run_id=run.pk, kind="attempt")
        assert sum(attempts.values_list("quantity", flat=True)) == 2
        assert Step.objects.filter(status="late").count() == 1


@pytest.mark.parametrize(
    ("answer", "charged"),
    [(FOUND, 1_000), (Miss(), 0), (Done({"email": "a@b.example"}, 0, free=True), 1_000)],
)
def test_a_late_answer_to_the_last_of_several_calls_tells_what_the_question_cost(
    tenant: Tenant, vendors: Sandbox, answer: Any, charged: int
) -> None:
    """The vendor charges a question once, and nobody asks again: what the first call is booked at makes room."""
    configure(tenant, finders=["prospeo"])
    hand = Hand(tenant)
    run = start(tenant, people(1), credit_limit=1_000)
    for _ in range(3):
        frozen, [work] = hand, hand.claim()
        worst = worst_of(work, registry.get("prospeo"))
        assert settle.flush(Batch(stamps=[(work, 30.0, worst)]), frozen.holder).stamped == {work.id}
        expire(frozen.lane)
        hand = Hand(tenant)
        [over] = claim.stamped_by_others(tenant.pk, hand.lane.pk, [work.id])
        hand.settle([lost(over, frozen.holder, on_ambiguous="repeat")])
        assert booked(run) == 1_000
    frozen.settle([frozen.answer(work, answer)])
    assert booked(run) == charged
    assert [call.released_at is None for call in calls(tenant)] == [
        charged > 0 and answer is not FOUND,
        True,
        False,
    ]


def test_a_retry_forgets_what_was_in_doubt_at_its_own_vendor_alone(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    lose(hand, hand.claim()[0], "ask")
    with tenant_scope(tenant):
        mine = Lookup.objects.get()
        theirs = Lookup.objects.create(
            provider="hunter", livemode=mine.livemode, fingerprint=mine.fingerprint, leader=mine.leader,
            outcome="ambiguous",
        )  # fmt: skip
    retry_run(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR)
    with tenant_scope(tenant):
        assert [lookup.pk for lookup in Lookup.objects.all()] == [theirs.pk]
