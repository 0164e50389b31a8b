"""What the engine reads back of what it wrote: every fact of a lost step, of a stamp, of a parked run, of a sweep."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from integrations.models import Connection
from integrations.outcomes import Done, Fail, Miss, Poll
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start
from tests.workflows.lanes.test_recovery import Hand, expire
from workflows.callback_tokens import Token
from workflows.catalog import Taken
from workflows.lanes import book, claim, lease, sweep
from workflows.lanes.outcome import cached, lost
from workflows.lanes.parking import Parking, park
from workflows.lanes.stamp import not_yet_stamped
from workflows.lanes.work import POLL, Flushed, Job, Posted, RunFacts, Work
from workflows.models import (
    Lane,
    LaneRun,
    LaneState,
    Lookup,
    Record,
    Run,
    RunEvent,
    RunVendor,
    Step,
    StepQueue,
    Workflow,
)
from workflows.operations.receive_callback import receive_callback


@pytest.fixture
def hand(tenant: Tenant, vendors: Sandbox) -> Hand:
    return Hand(tenant)


@pytest.fixture
def job_hand(tenant: Tenant, committed: None, connect: Callable[..., Any]) -> Hand:
    """A lane of the vendor of jobs, which has been given one; its result is asked for at this moment."""
    connect("jobs", secret="key-jobs", mode="sandbox", windows=[], parallelism=20)
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "finders": ["jobs"], "verifier": None}
        workflow.save(update_fields=["config"])
    start(tenant, people(1))
    return Hand(tenant, "jobs")


def taken_over(tenant: Tenant, hand: Hand) -> list[Work]:
    """What whoever takes the lane over finds stamped."""
    expire(hand.lane)
    heir = Hand(tenant, hand.lane.provider)
    return claim.stamped_by_others(tenant.pk, heir.lane.pk, [entry.id for entry in heir.foreign])


def test_a_lost_step_is_what_its_holder_had_in_hand(tenant: Tenant, hand: Hand) -> None:
    start(tenant, people(2), credit_limit=5000)
    works = hand.claim()
    hand.stamp(works)
    assert sorted(taken_over(tenant, hand), key=lambda work: work.id) == works
    assert [(work.reserved, work.month) for work in works] == [
        (1000, timezone.now().date().replace(day=1))
    ] * 2


def test_a_lost_look_at_a_job_is_what_its_holder_had_in_hand(tenant: Tenant, job_hand: Hand) -> None:
    [work] = job_hand.claim()
    job_hand.stamp([work])
    job_hand.settle([job_hand.answer(work, Poll(0.0, {"job": "t1"}))])
    with tenant_scope(tenant):
        StepQueue.objects.update(not_before=None)
    [work] = job_hand.claim()
    job_hand.stamp([work])
    [found] = taken_over(tenant, job_hand)
    assert found.job is not None
    assert work.job is not None
    assert found.job == replace(work.job, ends_at=found.job.ends_at)
    assert found.job.ends_at == pytest.approx(work.job.ends_at, abs=5.0)
    assert found == replace(work, job=found.job, tried_s=0.0)
    assert (found.held, found.reserved, found.posted) == (1000, 1000, [])


def test_what_was_posted_comes_with_a_lost_step(tenant: Tenant, job_hand: Hand) -> None:
    [work] = job_hand.claim()
    job_hand.stamp([work])
    for body in (b'{"n":1}', b'{"n":2}'):
        receive_callback(token=Token(tenant.pk, work.id, work.record_id, 1), body=body)
    [found] = taken_over(tenant, job_hand)
    assert found.posted == [
        Posted(post.id, 1, body) for post, body in zip(found.posted, (b'{"n":1}', b'{"n":2}'), strict=True)
    ]


def test_what_a_flush_had_stamped_is_known_with_its_price_and_month(tenant: Tenant, hand: Hand) -> None:
    start(tenant, people(3))
    works = hand.claim()
    hand.stamp(works[:2])
    with tenant_scope(tenant):
        StepQueue.objects.filter(pk=works[0].id).update(sent_at="2020-05-31T23:59:59Z")
    month = works[1].month
    fresh, holding, other = (replace(work, reserved=0, month=None) for work in works)
    holding.job, holding.held, holding.month = Job(POLL), 300, month
    elsewhere = uuid7()
    result = Flushed(stamped={elsewhere})
    stamps = [(fresh, 30.0, 1000), (holding, 30.0, 50), (other, 30.0, 1000)]
    with tenant_scope(tenant), connections[APP_ALIAS].cursor() as cursor:
        assert not_yet_stamped(cursor, tenant.pk, hand.holder, stamps, result) == [(other, 30.0, 1000)]
        assert not_yet_stamped(cursor, tenant.pk, uuid7(), stamps, Flushed()) == stamps
    assert result.stamped == {elsewhere, fresh.id, holding.id}, "other tenants' too"
    assert (fresh.reserved, str(fresh.month)) == (1000, "2020-05-01")
    assert (holding.reserved, holding.month) == (350, month), "a job's is the month that it began in"
    assert (other.reserved, other.month) == (0, None)


def test_runs_are_parked_by_lane_and_told_of_once(tenant: Tenant, hand: Hand) -> None:
    runs = [start(tenant, people(1)), start(tenant, people(1, last="Else"))]
    wanted = {(hand.lane.pk, run.pk): Parking(run is runs[0], 700) for run in runs}
    with tenant_scope(tenant), connections[APP_ALIAS].cursor() as cursor:
        assert park(cursor, tenant.pk, wanted) == set(wanted)
        assert park(cursor, tenant.pk, wanted) == set(), "they wait already"
        LaneRun.objects.update(state="active")
        assert park(cursor, tenant.pk, wanted) == set(wanted)
        told = RunEvent.objects.filter(kind="run.parked").values_list("run_id", "detail", "actor")
        assert sorted(told) == sorted((run.pk, {}, "system:engine") for run in runs)
        for run in runs:
            entry = LaneRun.objects.get(run_id=run.pk)
            assert (entry.state, entry.parked_for) == ("budget", 700)
            assert (entry.parked_until is not None) is (run is runs[0]), "until the month's end"


def test_a_tenant_that_is_held_says_how_it_stands(tenant: Tenant) -> None:
    with tenant_scope(tenant), connections[APP_ALIAS].cursor() as cursor:
        assert book.hold_tenant(cursor, tenant.pk) == "active"
        assert book.hold_tenant(cursor, uuid7()) == ""


def test_a_lane_has_work_while_something_could_be_started_in_it(tenant: Tenant, hand: Hand) -> None:
    assert not sweep.has_work(hand.lane.pk)
    run = start(tenant, people(1))
    assert sweep.has_work(hand.lane.pk)
    for model, change, back in (
        (Lane, {"paused": True}, {"paused": False}),
        (LaneRun, {"state": "paused"}, {"state": "active"}),
        (StepQueue, {"not_before": "9999-01-01T00:00Z"}, {"not_before": None}),
    ):
        with tenant_scope(tenant):
            model.objects.update(**change)
        assert not sweep.has_work(hand.lane.pk), change
        with tenant_scope(tenant):
            model.objects.update(**back)
        assert sweep.has_work(hand.lane.pk)
    with tenant_scope(tenant):
        Lane.objects.update(paused=True, pause_reason="no_credits")
    assert not sweep.has_work(hand.lane.pk)
    with tenant_scope(tenant):
        Run.objects.filter(pk=run.pk).update(config={**run.config, "on_outage": "skip"})
    assert sweep.has_work(hand.lane.pk), "whoever does not wait passes the vendor over"


def due(run: Run) -> None:
    StepQueue.objects.filter(run_id=run.pk).update(not_before="2020-01-01T00:00Z")


def alone(run: Run) -> None:
    StepQueue.objects.filter(run_id=run.pk).update(reason="duplicate", not_before="9999-01-01T00:00Z")


def resumed(run: Run) -> None:
    LaneRun.objects.filter(run_id=run.pk).update(state="paused")


def posted(run: Run) -> None:
    entry = StepQueue.objects.get(run_id=run.pk)
    StepQueue.objects.filter(pk=entry.pk).update(reason="callback", not_before="9999-01-01T00:00Z")
    receive_callback(token=Token(run.tenant_id, entry.pk, entry.record_id, 1), body=b"{}")
    StepQueue.objects.filter(pk=entry.pk).update(reason="callback", not_before="9999-01-01T00:00Z")


def month_over(run: Run) -> None:
    LaneRun.objects.filter(run_id=run.pk).update(state="budget", parked_until="2020-01-01T00:00Z")


def with_room(run: Run) -> None:
    LaneRun.objects.filter(run_id=run.pk).update(state="budget")


@pytest.mark.parametrize("state", [due, alone, resumed, posted, month_over, with_room])
def test_a_lane_that_somebody_holds_is_told_of_what_may_go_on_in_it(
    tenant: Tenant, hand: Hand, state: Callable[[Run], None]
) -> None:
    run = start(tenant, people(1))
    assert sweep.look().lanes == []
    with tenant_scope(tenant):
        state(run)
    assert sweep.look().lanes == [(tenant.pk, hand.lane.pk)]
    with tenant_scope(tenant):
        entry = StepQueue.objects.get(run_id=run.pk)
        assert (entry.not_before, entry.reason) == (None, "")
        assert LaneRun.objects.get(run_id=run.pk, lane_id=hand.lane.pk).state == "active"
    assert sweep.look().lanes == []


def test_a_runs_figures_of_a_vendor_add_up(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(5))
    works = hand.claim()
    hand.stamp(works)
    found = Done({"email": "ada@firm.example"}, credits=1000)
    hit, miss, refused, dead, gone = works
    works_again = [
        hand.answer(hit, found),
        hand.answer(miss, Miss(credits=200)),
        hand.answer(refused, Fail("invalid", "no")),
        hand.answer(dead, Fail("error", "gone")),
        lost(gone, hand.holder, on_ambiguous="repeat"),
    ]
    hand.settle(works_again)
    assert figures(run) == {"calls": 5, "hits": 1, "misses": 2, "cached": 0, "errors": 2, "credits": 2200}
    [gone] = hand.claim()
    hand.stamp([gone])
    hand.settle([hand.answer(gone, found)])  # it says what the lost call cost: nothing beside this
    assert figures(run) == {"calls": 6, "hits": 2, "misses": 2, "cached": 0, "errors": 2, "credits": 2200}


def test_answers_from_before_are_counted_apart(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(2))
    answered, unknown = hand.claim()
    answered.cached_outcome, answered.cached_answer = "hit", {"email": "ada@firm.example"}
    unknown.cached_outcome = "miss"
    hand.settle([cached(answered), cached(unknown)])
    assert figures(run) == {"calls": 0, "hits": 1, "misses": 1, "cached": 2, "errors": 0, "credits": 0}
    with tenant_scope(tenant):
        assert not Lookup.objects.exists()


def test_the_next_holder_finds_every_figure_that_was_told(tenant: Tenant, hand: Hand) -> None:
    told = lease.Report(
        hand.lane.pk, in_flight=3, started_last_period=7, wait_reason="cooldown", cooldown_s=60.0, pace=0.3,
        starts='{"60:": [[5.0, 2]], "last": {"": [1.5]}}', failures=4, trips=2, rest_s=90.0, latency_s=0.25,
    )  # fmt: skip
    assert lease.renew(uuid7(), [told]) == set(), "of a lane that another holds"
    assert lease.renew(hand.holder, [told]) == {hand.lane.pk}
    with tenant_scope(tenant):
        state = LaneState.objects.get(lane_id=hand.lane.pk)
    assert (state.in_flight, state.started_last_period, state.wait_reason) == (3, 7, "cooldown")
    assert (state.breaker, state.latency_s) == ("open", 0.25)
    lease.release([hand.lane.pk], uuid7())
    assert lease.acquire(hand.lane.pk, uuid7()) is None
    lease.release([hand.lane.pk], hand.holder)
    with tenant_scope(tenant):
        state = LaneState.objects.get(lane_id=hand.lane.pk)
        lane = Lane.objects.get(pk=hand.lane.pk)
        connection = Connection.objects.get(pk=lane.connection_id)
    assert (state.holder, state.lease_until, state.in_flight, state.wait_reason) == (None, None, 0, "")
    taken = lease.acquire(hand.lane.pk, heir := uuid7())
    assert taken is not None
    facts, foreign, quiet_s = taken
    assert facts == lease.LaneFacts(
        id=lane.pk, tenant_id=tenant.pk, connection_id=connection.pk, provider="prospeo", mode="sandbox",
        key_hash=connection.key_hash, on_ambiguous=connection.on_ambiguous, windows=(), parallelism=20,
        paused=False, cooldown_s=facts.cooldown_s, starts={"60:": [[5.0, 2]], "last": {"": [1.5]}},
        database_now=facts.database_now, pace=0.3, failures=4, trips=2, rest_s=facts.rest_s,
    )  # fmt: skip
    assert facts.cooldown_s == pytest.approx(60.0, abs=10.0)
    assert facts.rest_s == pytest.approx(90.0, abs=10.0)
    assert facts.database_now == pytest.approx(time.time(), abs=10.0)
    assert foreign == []
    assert quiet_s == pytest.approx(0.0, abs=10.0)
    assert lease.look([lane.pk])[0][lane.pk].starts == {"60:": [[5.0, 2]]}, "the last starts are told once"
    well = lease.Report(lane.pk, 0, 0, "", 0.0, 1.0, "{}", trips=1)
    assert lease.renew(heir, [well]) == {lane.pk}
    with tenant_scope(tenant):
        state = LaneState.objects.get(lane_id=lane.pk)
    assert (state.breaker, state.breaker_until, state.cooldown_until) == ("half_open", None, None)
    assert (state.latency_s, state.trips, state.failures, state.pace) == (0.25, 1, 0, 1.0)


def test_a_holder_sees_of_a_run_what_it_needs_to_know(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1), credit_limit=7000, priority=3)
    with tenant_scope(tenant):
        LaneRun.objects.update(vtime=4.0)
        entry = LaneRun.objects.get(run_id=run.pk)
    [seen] = lease.look([hand.lane.pk])[1][hand.lane.pk]
    assert seen.facts == RunFacts(
        run.pk, tenant.pk, "email-waterfall", run.config, run.lanes, True, run.created_at, 7000
    )
    assert (seen.priority, seen.vtime, seen.since, seen.fed) == (run.priority, 4.0, entry.since, True)
    hand.stamp(hand.claim())
    [seen] = lease.look([hand.lane.pk])[1][hand.lane.pk]
    assert not seen.fed, "all of it is stamped"


def test_what_an_answer_led_to_is_in_the_history_and_in_the_queue(tenant: Tenant, hand: Hand) -> None:
    run = start(tenant, people(1))
    [work] = hand.claim()
    hand.stamp([work])
    settled = hand.answer(work, Miss(credits=250))
    hand.settle([settled])
    with tenant_scope(tenant):
        step = Step.objects.get()
        assert (step.pk, step.lane_id, step.run_id, step.record_id, step.queue_id) == (
            settled.attempt_id, work.lane_id, work.run.id, work.record_id, work.id,
        )  # fmt: skip
        assert (step.name, step.operation, step.provider, step.attempt) == (
            "find:prospeo",
            "find",
            "prospeo",
            1,
        )
        assert (step.status, step.outcome, step.reason, step.answer, step.credits) == (
            "done",
            "miss",
            "",
            None,
            250,
        )
        assert (step.http_status, step.latency_ms, step.ready_at) == (200, 5, work.ready_at)
        assert (step.started_at, step.finished_at) == (settled.started_at, settled.finished_at)
        entry = StepQueue.objects.get()
        assert (entry.name, entry.run_id, entry.record_id) == ("find:findymail", work.run.id, work.record_id)
        assert str(entry.lane_id) == work.run.lanes["findymail"]
        assert settled.ask is not None
        assert entry.query == settled.ask.query
        assert (entry.fingerprint, entry.attempt, entry.crashes) == (settled.ask_fingerprint, 1, 0)
        assert entry.context == [Taken("find", "prospeo", "miss", {}, 250).to_json()]
        lookup = Lookup.objects.get()
        assert (lookup.outcome, lookup.answer, lookup.leader) == ("miss", None, work.id)
        assert lookup.answered_at is not None
        assert Record.objects.get().status == "running"
    nxt = Hand(tenant, "findymail")
    [work] = nxt.claim()
    nxt.stamp([work])
    nxt.settle([nxt.answer(work, Miss(credits=100))])
    with tenant_scope(tenant):
        record = Record.objects.get()
        assert (record.status, record.output, record.error, record.credits) == ("not_found", None, None, 350)
        assert record.finished_at is not None
        assert not StepQueue.objects.exists()
    run = again(run)
    assert (run.credits_spent, run.credits_reserved, run.not_found, run.status) == (350, 0, 1, "completed")


def figures(run: Run) -> dict[str, int]:
    with tenant_scope(run.tenant_id):
        vendor = RunVendor.objects.get(run_id=run.pk, provider="prospeo")
    return {
        name: getattr(vendor, name) for name in ("calls", "hits", "misses", "cached", "errors", "credits")
    }
