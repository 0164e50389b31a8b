"""The tenant's monthly limit: live work parks at it, and goes on when it is raised, lifted, or the month is over."""

import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.models import UsageEvent
from integrations.connectors import registry
from integrations.http import CallResult
from integrations.outcomes import AwaitCallback, Done, Miss, Retry
from tenants.models import AuditEvent, Tenant
from tenants.operations.tenant_settings import change_tenant
from tenants.scope import ops_scope, tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from tests.workflows.lanes.test_change_run import parked
from tests.workflows.lanes.test_recovery import Hand, expire
from workflows.callback_tokens import Token
from workflows.lanes import claim, settle, sweep
from workflows.lanes.doubt import worst_of
from workflows.lanes.outcome import judge, lost
from workflows.lanes.runner import Runner
from workflows.lanes.work import Batch
from workflows.models import CreditMonth, LaneRun, Record, Run, Step, StepQueue, Workflow
from workflows.operations.accept_run import accept_run, find_workflow
from workflows.operations.control_run import cancel_run
from workflows.operations.month_limit import MonthUse, month_use
from workflows.operations.receive_callback import receive_callback


def limit(tenant: Tenant, credits: int | None) -> None:
    with tenant_scope(tenant):
        change_tenant(actor=ACTOR, changes={"monthly_credit_limit": credits})


def use(tenant: Tenant) -> MonthUse:
    with tenant_scope(tenant):
        return month_use()


def row(tenant: Tenant) -> tuple[int, int]:
    with tenant_scope(tenant):
        month = CreditMonth.objects.get()
    return month.spent, month.reserved


def test_work_of_all_runs_parks_at_the_limit_and_goes_on_when_it_is_raised(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    limit(tenant, 9_000)
    runs = [start(tenant, people(8, last="Everyone")), start(tenant, people(20)[8:])]
    for run in runs:
        wait(run, until=lambda run: again(run).is_final or parked(run))
    assert 0 < sum(again(run).credits_spent for run in runs) <= 9_000
    assert use(tenant).parked
    assert row(tenant) == (sum(again(run).credits_spent for run in runs), 0)
    began = time.monotonic()
    before = sum(again(run).credits_spent for run in runs)
    limit(tenant, 20_000)
    while sum(again(run).credits_spent for run in runs) == before:
        assert time.monotonic() - began < 2
        time.sleep(0.02)
    limit(tenant, None)
    assert [wait(run).found for run in runs] == [8, 12]
    assert not use(tenant).parked
    with tenant_scope(tenant):
        trail = AuditEvent.objects.filter(verb="tenant.changed").order_by("id")
        assert [entry.detail["changes"]["monthly_credit_limit"] for entry in trail] == [
            [None, 9_000], [9_000, 20_000], [20_000, None],
        ]  # fmt: skip


def test_parked_work_goes_on_by_itself_when_the_month_is_over(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    limit(tenant, 3_000)
    run = wait(start(tenant, people(5)), until=parked)
    with tenant_scope(tenant):
        until = LaneRun.objects.filter(state="budget").values_list("parked_until", flat=True)
        assert {(moment.day, moment.hour, moment.minute) for moment in until} == {(1, 0, 0)}
        [month] = CreditMonth.objects.all()
        CreditMonth.objects.filter(pk=month.pk).update(
            month="2026-01-01"
        )  # what was spent, was spent in January
        CreditMonth.objects.create(month=month.month)
    wait(run, until=lambda run: run.credits_spent > 3_000, seconds=5)
    assert row_of_now(tenant) <= 3_000


def row_of_now(tenant: Tenant) -> int:
    with tenant_scope(tenant):
        newest = CreditMonth.objects.latest("month")
    return int(newest.spent + newest.reserved)


def test_test_mode_has_no_monthly_limit(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    limit(tenant, 0)
    with tenant_scope(tenant):
        run = accept_run(
            workflow=find_workflow("email-waterfall"),
            records=people(3),
            actor=ACTOR,
            source="api",
            livemode=False,
        )
    assert wait(run).found == 3
    assert row_of_now(tenant) == 0


def test_a_limit_that_is_set_while_calls_are_in_flight_counts_them(tenant: Tenant, vendors: Sandbox) -> None:
    run = start(tenant, people(10))
    hand = Hand(tenant)
    works = hand.claim()
    hand.stamp(works[:4])
    hand.settle([hand.answer(works[0]), hand.answer(works[1], Miss())])
    assert (use(tenant).spent, use(tenant).reserved) == (1_000, 2_000)
    limit(tenant, 4_000)
    assert row(tenant) == (1_000, 2_000)
    assert hand.stamp(works[4:]) == {works[4].id}, "one has room, the others park"
    hand.settle([hand.answer(work) for work in (works[2], works[3], works[4])])
    assert row(tenant) == (4_000, 0)
    assert (again(run).credits_spent, again(run).credits_reserved) == (4_000, 0)


def test_calls_of_a_run_whose_file_was_lost_count_while_they_are_in_flight(
    tenant: Tenant, vendors: Sandbox
) -> None:
    run = start(tenant, people(2))
    hand = Hand(tenant)
    works = hand.claim()
    hand.stamp(works)
    with tenant_scope(tenant):
        Run.objects.filter(pk=run.pk).update(status="failed", finished_at=timezone.now())
    assert use(tenant).reserved == 2_000
    limit(tenant, 2_000)
    assert row(tenant) == (0, 2_000)
    hand.settle([hand.answer(work) for work in works])
    assert row(tenant) == (2_000, 0)


def test_what_calls_leave_of_the_limit_is_used(tenant: Tenant, vendors: Sandbox) -> None:
    start(tenant, people(3))
    limit(tenant, 1_000)
    hand = Hand(tenant)
    works = hand.claim()
    [first] = hand.stamp(works)
    hand.settle([hand.answer(next(work for work in works if work.id == first), Miss())])
    with ops_scope("test"):
        assert "budget" in LaneRun.objects.filter(lane_id=hand.lane.pk).values_list("state", flat=True)
    assert (tenant.pk, hand.lane.pk) in sweep.sweep()
    with ops_scope("test"):
        states = set(LaneRun.objects.filter(lane_id=hand.lane.pk).values_list("state", "parked_until"))
    assert states == {("active", None)}


def test_without_a_limit_the_month_costs_no_statement(tenant: Tenant, vendors: Sandbox) -> None:
    start(tenant, people(2))
    hand = Hand(tenant)
    with CaptureQueriesContext(connections["default"]) as queries:
        works = hand.claim()
        hand.stamp(works)
        hand.settle([hand.answer(work) for work in works])
    assert not [query for query in queries if "credit_month" in query["sql"]]


def test_a_call_counts_in_the_month_in_which_it_was_stamped(tenant: Tenant, vendors: Sandbox) -> None:
    limit(tenant, 10_000)
    start(tenant, people(2))
    hand = Hand(tenant)
    works = hand.claim()
    hand.stamp(works)
    with tenant_scope(tenant):
        [month] = CreditMonth.objects.all()
        earlier = month.month.replace(year=month.month.year - 1)
        CreditMonth.objects.filter(pk=month.pk).update(month=earlier)
    for work in works:
        work.month = earlier
    hand.settle([hand.answer(work) for work in works])
    with tenant_scope(tenant):
        found = {m.month: (m.spent, m.reserved) for m in CreditMonth.objects.all()}
    assert found == {earlier: (2_000, 0), month.month: (0, 0)}


@pytest.mark.parametrize(
    ("provider", "outcome", "spent"),
    [
        # The answer takes the place of what the lost call was booked at.
        ("findymail", Done({"email": "a@b.example", "email_status": "valid"}, credits=1_000), 2_000),
        ("findymail", Miss(), 1_000),
        # Prospeo charges a question once: the repeat tells what it cost.
        ("prospeo", Done({"email": "a@b.example", "email_status": "valid"}, credits=1_000), 1_000),
        ("prospeo", Done({"email": "a@b.example", "email_status": "valid"}, credits=0, free=True), 1_000),
        ("prospeo", Miss(), 0),
    ],
)
def test_a_lost_call_counts_as_what_it_may_have_cost(
    tenant: Tenant, vendors: Sandbox, provider: str, outcome: Any, spent: int
) -> None:
    configure(tenant, provider)
    limit(tenant, 2_000)
    run = start(tenant, people(1))
    hand = Hand(tenant, provider)
    [work] = hand.claim()
    hand.stamp([work])
    assert row(tenant) == (0, 1_000)
    expire(hand.lane)
    heir = Hand(tenant, provider)
    [taken_over] = claim.stamped_by_others(tenant.pk, heir.lane.pk, [work.id])
    heir.settle([lost(taken_over, hand.holder, on_ambiguous="repeat")])
    assert row(tenant) == (1_000, 0)
    [repeat] = heir.claim()
    worst = worst_of(repeat, registry.get(provider))
    assert settle.flush(Batch(stamps=[(repeat, 30.0, worst)]), heir.holder).stamped == {repeat.id}
    heir.settle([heir.answer(repeat, outcome)])
    assert row(tenant) == (spent, 0)
    assert again(run).credits_spent == spent == use(tenant).spent


def configure(tenant: Tenant, provider: str) -> None:
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "finders": [provider]}
        workflow.save()


def test_a_limit_holds_for_every_run_of_the_tenant_and_for_no_other(
    tenant: Tenant, other_tenant: Tenant, vendors: Sandbox
) -> None:
    limit(tenant, 0)
    run = start(tenant, people(2))
    hand = Hand(tenant)
    assert hand.stamp(hand.claim()) == set()
    with tenant_scope(other_tenant):
        assert not CreditMonth.objects.exists()
    with tenant_scope(tenant):
        assert Run.objects.get(pk=run.pk).credits_reserved == 0


def test_what_was_booked_last_month_is_given_back_to_last_month(tenant: Tenant, vendors: Sandbox) -> None:
    """A call breaks off in the month's last minute; its repeat tells in the next month that it cost something after all."""
    limit(tenant, 1_000)
    run = start(tenant, people(2))
    hand = Hand(tenant)
    first, second = hand.claim()
    hand.stamp([first])
    with tenant_scope(tenant):
        [this] = CreditMonth.objects.all()
        last = (this.month - timedelta(days=1)).replace(day=1)
        CreditMonth.objects.filter(pk=this.pk).update(month=last)
    first.month = last
    broken = CallResult(Retry("timeout", "no answer in time", uncertain=True), None, 5)
    hand.settle([judge(first, hand.holder, broken, 1.0, 2.0).settlement])
    assert months(tenant) == {last: (1_000, 0), this.month: (0, 0)}
    with tenant_scope(tenant):
        StepQueue.objects.filter(pk=first.id).update(not_before=None, reason="")
    works = {work.id: work for work in hand.claim()}
    worst = worst_of(works[first.id], registry.get("prospeo"))
    settle.flush(Batch(stamps=[(works[first.id], 30.0, worst)]), hand.holder)
    hand.settle([hand.answer(works[first.id])])
    assert months(tenant) == {last: (0, 0), this.month: (1_000, 0)}
    assert ledger(tenant) == {last: 0, this.month: 1_000}
    assert use(tenant).spent == again(run).credits_spent == 1_000
    assert hand.stamp([works[second.id]]) == set(), "this month's limit is used up"


def months(tenant: Tenant) -> dict[date, tuple[int, int]]:
    with tenant_scope(tenant):
        return {month.month: (month.spent, month.reserved) for month in CreditMonth.objects.all()}


def ledger(tenant: Tenant) -> dict[date, int]:
    with tenant_scope(tenant):
        found = UsageEvent.objects.filter(kind="attempt").values("period").annotate(n=Sum("credits"))
        return {row["period"]: row["n"] for row in found}


@pytest.mark.parametrize("ending", ["cancelled", "lost"])
def test_what_is_posted_after_a_steps_end_counts_once_in_the_month_and_for_its_record(
    tenant: Tenant, committed: None, connect: Callable[..., Any], ending: str
) -> None:
    for provider in ("jobs", "zerobounce"):
        connect(provider, mode="sandbox")
    configure(tenant, "jobs")
    limit(tenant, 5_000)
    run = start(tenant, people(1))
    hand = Hand(tenant, "jobs")
    [work] = hand.claim()
    hand.stamp([work])
    hand.settle([judge(work, hand.holder, CallResult(AwaitCallback("j1", 60), 202, 5), 1.0, 2.0).settlement])
    if ending == "cancelled":
        with tenant_scope(tenant):
            cancel_run(run_id=run.pk, actor=ACTOR)
    else:  # in hand at three crashes: booked at the most that it may have cost
        with tenant_scope(tenant):
            StepQueue.objects.update(not_before=None, reason="")
        [work] = hand.claim()
        work.crashes = 2
        hand.stamp([work])
        hand.settle([lost(work, hand.holder, on_ambiguous="ask")])
        assert row(tenant) == (1_000, 0)
    body = b'{"job":"j1","status":"done","result":{"email":"a@b.example","verdict":"valid"}}'
    receive_callback(token=Token(tenant.pk, work.id, work.record_id, 1), body=body)
    sweep.sweep()
    with tenant_scope(tenant):
        [late] = Step.objects.filter(status="late")
        assert Record.objects.get().credits == late.credits > 0
    assert row(tenant) == (late.credits, 0)
    assert use(tenant).spent == again(run).credits_spent == late.credits
