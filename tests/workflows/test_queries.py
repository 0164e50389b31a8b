"""What pages and API read about runs, records and lanes."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tenants.errors import NotFound
from tenants.ids import uuid7
from tenants.scope import tenant_scope
from tests.factories import connect_all, make_connection, make_run
from workflows import queries
from workflows.models import Lane, LaneRun, LaneState, Record, Run, RunVendor, Step, StepQueue
from workflows.operations.control_lane import pause_lane


@pytest.fixture
def run(tenant):
    connect_all(tenant)
    return make_run(tenant, 5)


def first_lane():
    return Lane.objects.get(provider="prospeo")


def later(entry, reason):
    """Put a step off for ever, as the engine does with one that waits for somebody else's answer."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE step_queue SET not_before = 'infinity', reason = %s WHERE id = %s", [reason, entry.pk]
        )


def settle(record, **fields):
    """A step of a record that ended, as the engine writes it."""
    entry = StepQueue.objects.filter(record_id=record.pk).first()
    defaults = {
        "id": uuid7(),
        "lane_id": first_lane().pk,
        "run_id": record.run_id,
        "record_id": record.pk,
        "queue_id": entry.pk if entry else uuid7(),
        "name": "find:prospeo",
        "provider": "prospeo",
        "operation": "find",
        "attempt": 1,
        "status": "done",
        "outcome": "miss",
    }
    return Step.objects.create(**defaults | fields)


def seconds_left(run):
    finish = queries.estimated_finish(run)
    assert finish is not None
    return (finish - timezone.now()).total_seconds()


def test_runs_come_newest_first_and_can_be_narrowed(tenant, run):
    with tenant_scope(tenant):
        newer = make_run(tenant, 1)
        Run.objects.filter(pk=newer.pk).update(status="paused")
        assert [r.pk for r in queries.runs()] == [newer.pk, run.pk]
        assert [r.pk for r in queries.runs(status="paused")] == [newer.pk]
        assert [r.pk for r in queries.runs(workflow=run.workflow_id)] == [newer.pk, run.pk]
        assert list(queries.runs(workflow=uuid.uuid4())) == []


def test_another_tenant_s_run_is_not_found(tenant, other_tenant, run):
    with tenant_scope(other_tenant), pytest.raises(NotFound):
        queries.get_run(run.pk)


def test_records_come_by_position_and_status(tenant, run):
    with tenant_scope(tenant):
        Record.objects.filter(position__in=[2, 4]).update(status="found")
        assert [record.position for record in queries.records(run.pk)] == [1, 2, 3, 4, 5]
        assert [record.position for record in queries.records(run.pk, "found")] == [2, 4]


def test_a_record_of_another_run_is_not_found(tenant, run):
    with tenant_scope(tenant):
        record = Record.objects.filter(run=run).first()
        with pytest.raises(NotFound):
            queries.get_record(uuid7(), record.pk)


def test_vendors_come_in_the_order_in_which_they_are_asked(tenant, run):
    with tenant_scope(tenant):
        for provider, operation in (("zerobounce", "verify"), ("findymail", "find"), ("prospeo", "find")):
            RunVendor.objects.create(run=run, provider=provider, operation=operation)
        assert [vendor.provider for vendor in queries.run_vendors(run.pk)] == [
            "prospeo",
            "findymail",
            "zerobounce",
        ]


def test_a_record_s_steps_are_its_history_and_what_waits(tenant, run):
    with tenant_scope(tenant):
        record = Record.objects.get(run=run, position=1)
        settle(record, credits=1500, http_status=200, latency_ms=12)
        ended, waiting = queries.record_steps(record)
        assert (ended.status, ended.outcome, ended.credits, ended.wait_reason) == ("done", "miss", 1500, None)
        assert (waiting.status, waiting.outcome, waiting.provider, waiting.finished_at) == (
            "waiting",
            None,
            "prospeo",
            None,
        )
        StepQueue.objects.filter(record_id=record.pk).update(sent_at=timezone.now())
        assert queries.record_steps(record)[1].status == "running"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda entry: later(entry, "duplicate"), "duplicate"),
        (lambda entry: later(entry, ""), "backoff"),
        (lambda entry: LaneRun.objects.filter(run_id=entry.run_id).update(state="paused"), "paused"),
        (lambda entry: LaneRun.objects.filter(run_id=entry.run_id).update(state="budget"), "budget"),
        (lambda entry: Lane.objects.filter(pk=entry.lane_id).update(paused=True), "paused"),
        (lambda entry: LaneState.objects.filter(lane_id=entry.lane_id).update(wait_reason="rate"), "rate"),
        (lambda entry: LaneState.objects.filter(lane_id=entry.lane_id).update(breaker="open"), "breaker"),
        (
            lambda entry: LaneState.objects.filter(lane_id=entry.lane_id).update(
                cooldown_until=timezone.now() + timedelta(minutes=1)
            ),
            "cooldown",
        ),
        (lambda entry: None, None),
    ],
)  # fmt: skip
def test_a_waiting_step_says_why(tenant, run, change, reason):
    with tenant_scope(tenant):
        record = Record.objects.get(run=run, position=1)
        change(StepQueue.objects.get(record_id=record.pk))
        (step,) = queries.record_steps(record)
        assert step.wait_reason == reason


def test_a_lane_tells_what_waits_and_what_is_in_flight(tenant, run):
    with tenant_scope(tenant):
        some = list(StepQueue.objects.values_list("id", flat=True)[:2])
        StepQueue.objects.filter(pk__in=some).update(sent_at=timezone.now())
        StepQueue.objects.update(ready_at=timezone.now() - timedelta(seconds=30))
        LaneState.objects.filter(lane=first_lane()).update(
            wait_reason="rate", started_last_period=7, seen_at=timezone.now()
        )
        by_provider = {view.provider: view for view in queries.lane_views()}
    prospeo, idle = by_provider["prospeo"], by_provider["findymail"]
    assert (prospeo.waiting, prospeo.in_flight, prospeo.wait_reason, prospeo.started_last_period) == (
        3,
        2,
        "rate",
        7,
    )
    assert prospeo.oldest_waiting_s is not None
    assert 29 < prospeo.oldest_waiting_s < 60
    assert (idle.waiting, idle.in_flight, idle.wait_reason, idle.oldest_waiting_s) == (0, 0, None, None)


def test_a_lane_s_report_of_starts_grows_old(tenant, run):
    with tenant_scope(tenant):
        LaneState.objects.filter(lane=first_lane()).update(
            started_last_period=7, seen_at=timezone.now() - timedelta(hours=1)
        )
        assert {view.started_last_period for view in queries.lane_views()} == {0}


def test_work_of_paused_runs_gives_a_lane_its_reason(tenant, run):
    with tenant_scope(tenant):
        LaneRun.objects.filter(run_id=run.pk).update(state="paused")
        assert {v.wait_reason for v in queries.lane_views() if v.provider == "prospeo"} == {"paused"}


@pytest.mark.parametrize("count", [1, 12])
def test_lanes_take_three_queries_whatever_their_number(tenant, django_assert_num_queries, count):
    for number in range(count):
        make_connection(tenant, "prospeo", secret=f"key-{number:05}")
    with tenant_scope(tenant), django_assert_num_queries(3):
        assert len(queries.lane_views()) == count


def test_a_run_says_where_it_waits(tenant, run):
    with tenant_scope(tenant):
        assert queries.run_wait(run) is None
        LaneState.objects.filter(lane=first_lane()).update(wait_reason="parallelism")
        reason, share = queries.run_wait(run)
        assert (reason, share.provider, share.waiting, share.in_flight) == ("parallelism", "prospeo", 5, 0)
        Run.objects.filter(pk=run.pk).update(finished_at=timezone.now())
        run.refresh_from_db()
        assert queries.run_wait(run) is None


def test_a_run_whose_steps_wait_for_later_says_so(tenant, run):
    with tenant_scope(tenant):
        for entry in StepQueue.objects.only("id"):
            later(entry, "duplicate")
        wait = queries.run_wait(run)
        assert wait is not None
        assert wait[0] == "duplicate"


def test_the_estimate_follows_the_slowest_lane(tenant):
    for provider in ("prospeo", "findymail", "zerobounce"):
        rate = 60 if provider == "prospeo" else 6_000
        make_connection(tenant, provider, windows=[{"rate": rate, "period": 60}], parallelism=100)
    run = make_run(tenant, 100)
    with tenant_scope(tenant):
        left = seconds_left(run)
    assert 100 < left < 110  # 100 calls at one a second, of which a little is lost


def test_there_is_no_estimate_for_a_run_that_cannot_go_on(tenant, run):
    with tenant_scope(tenant):
        assert queries.estimated_finish(run) is not None
        run.status = "paused"
        assert queries.estimated_finish(run) is None
        run.status, run.finished_at = "completed", timezone.now()
        assert queries.estimated_finish(run) is None


def test_there_is_no_estimate_while_a_lane_is_paused(tenant, run):
    with tenant_scope(tenant):
        pause_lane(lane_id=first_lane().pk, actor="system:tests")
        assert queries.estimated_finish(run) is None


def test_estimates_of_many_runs_take_as_many_queries_as_of_one(tenant, run, django_assert_max_num_queries):
    with tenant_scope(tenant):
        many = [run, *(make_run(tenant, 1) for _ in range(8))]
        with django_assert_max_num_queries(5):
            assert all(queries.estimates(many).values())


def test_the_starts_of_today_count_against_today_s_allowance(tenant):
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(tenant, provider, windows=[{"rate": 100, "period": 86_400}])
    run = make_run(tenant, 10)
    with tenant_scope(tenant):
        assert seconds_left(run) < 60
        starts = {"86400:": [[timezone.now().timestamp(), 95], [1_000.0, 7]]}
        LaneState.objects.filter(lane=first_lane()).update(starts=starts)
        assert seconds_left(run) > 23 * 3600
