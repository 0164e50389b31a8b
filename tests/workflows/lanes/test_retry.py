"""Records that failed are asked for again: where they failed, once, and with nothing paid twice."""

import threading
import time
from collections import Counter
from typing import Any

import pytest
from django.db import connections
from django.db.models import Sum
from django.db.models.functions import Now

from billing.models import UsageEvent
from integrations.connection_changes import remove_connection
from tenants.errors import InvalidInput
from tenants.models import AuditEvent, Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from workflows.errors import MissingConnection, RecordNotRetryable, RunIsFinal
from workflows.lanes import book
from workflows.lanes.runner import Runner
from workflows.models import Lane, LaneRun, Record, Run, RunEvent, Step, StepQueue, Workflow
from workflows.operations import control_lane, control_run
from workflows.operations.failed_records import FailedFilter, discard_failed, discard_record
from workflows.operations.retry import retry_record, retry_run


@pytest.fixture(autouse=True)
def impatient(tenant: Tenant, vendors: Sandbox) -> None:
    """One attempt, so that a vendor's error makes a step dead at once."""
    configure(tenant, max_attempts=1)


def configure(tenant: Tenant, **settings: Any) -> None:
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, **settings}
        workflow.save()


def fail(
    tenant: Tenant, vendors: Sandbox, count: int, provider: str = "zerobounce", last: str = "Everyone"
) -> Run:
    """A run all of whose records failed at this vendor, which is well again now."""
    vendors.fault(provider, "status_500", rate=1.0)
    run = wait(start(tenant, people(count, last=last)))
    assert (run.status, run.failed, run.pending) == ("completed", count, 0)
    vendors.control("DELETE", "faults")
    return run


def retry(run: Run, **which: Any) -> int:
    return retry_run(tenant_id=run.tenant_id, run_id=run.pk, actor=ACTOR, which=FailedFilter(**which))


def records(run: Run) -> list[Record]:
    with tenant_scope(run.tenant_id):
        return list(Record.objects.filter(run=run).order_by("position"))


def calls(vendors: Sandbox) -> dict[str, int]:
    return {provider: vendor["calls"] for provider, vendor in vendors.summary().items()}


def assert_books_balance(run: Run, vendors: Sandbox) -> None:
    """Records, run, ledger and vendors name the same credits; the counts of the run are those of its records."""
    run = again(run)
    with tenant_scope(run.tenant_id):
        spent = Step.objects.filter(run_id=run.pk).aggregate(total=Sum("credits"))["total"]
        ledger = UsageEvent.objects.filter(run_id=run.pk, kind="attempt").aggregate(total=Sum("credits"))[
            "total"
        ]
        billed = UsageEvent.objects.filter(run_id=run.pk, kind="record").aggregate(total=Sum("quantity"))[
            "total"
        ]
        of_records = Record.objects.filter(run=run).aggregate(total=Sum("credits"))["total"]
        by_status = dict.fromkeys(("found", "not_found", "failed", "skipped"), 0)
        for record in Record.objects.filter(run=run):
            by_status[record.status] += 1
        assert LaneRun.objects.count() == 0
    assert run.credits_spent == spent == ledger == of_records
    assert spent == round(sum(vendor["credits"] for vendor in vendors.summary().values()) * 1000)
    assert billed == run.total
    assert {status: getattr(run, status) for status in by_status} == by_status
    assert (run.pending, run.queued, run.running, run.credits_reserved) == (0, 0, 0, 0)


def test_a_retry_goes_on_from_the_step_that_failed_and_pays_for_nothing_twice(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = fail(tenant, vendors, 5)
    before = calls(vendors)
    assert retry(run) == 5
    assert retry(run) == 0, "pressed twice"
    run = wait(run)
    assert (run.status, run.found, run.failed) == ("completed", 5, 0)
    after = calls(vendors)
    assert after["prospeo"] == before["prospeo"] == 5
    assert after["zerobounce"] == before["zerobounce"] + 5
    assert_books_balance(run, vendors)
    with tenant_scope(tenant):
        kinds = list(RunEvent.objects.filter(run=run).order_by("id").values_list("kind", flat=True))
        assert AuditEvent.objects.filter(verb="run.retried").count() == 1
    ends = ["run.completed", "run.reopened", "run.retried", "run.completed"]
    assert kinds == ["run.accepted", "run.started", *ends]


def test_records_that_were_not_found_because_a_vendor_gave_up_are_retried_and_others_left(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    configure(tenant, on_outage="skip", finders=["findymail", "prospeo"])
    vendors.fault("prospeo", "status_500", rate=1.0)
    run = wait(start(tenant, people(4, last="Nobody")))
    assert (run.not_found, run.failed) == (4, 0)
    vendors.control("DELETE", "faults")
    before = calls(vendors)
    assert retry(run, provider="findymail") == 0
    assert retry(run, provider="prospeo") == 4
    run = wait(run)
    after = calls(vendors)
    assert (after["findymail"], after["prospeo"]) == (before["findymail"], before["prospeo"] + 4)
    assert run.not_found == 4
    assert retry(run) == 0, "every vendor has answered now"
    assert_books_balance(run, vendors)


def test_a_record_begins_anew_with_other_input(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    run = fail(tenant, vendors, 1, provider="findymail", last="Nobody")
    record = records(run)[0]
    before = calls(vendors)
    with tenant_scope(tenant):
        changed = retry_record(
            run_id=run.pk, record_id=record.pk, actor=ACTOR, restart=True, changes={"last_name": "Everyone"}
        )
    assert changed.input["last_name"] == "Everyone"
    run = wait(run)
    record = records(run)[0]
    assert (run.found, (record.output or {})["found_by"]) == (1, "prospeo")
    assert calls(vendors)["prospeo"] == before["prospeo"] + 1
    assert_books_balance(run, vendors)
    with tenant_scope(tenant):
        event = RunEvent.objects.get(kind="record.retried")
    assert (event.record_id, event.detail) == (record.pk, {"mode": "restart", "fields": ["last_name"]})


def test_a_record_resumes_with_other_input_and_keeps_its_answers(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = fail(tenant, vendors, 1, provider="findymail", last="Nobody")
    before = calls(vendors)
    with tenant_scope(tenant):
        for _ in range(2):  # the second time it is under way, with this very input
            retry_record(
                run_id=run.pk, record_id=records(run)[0].pk, actor=ACTOR, changes={"last_name": "Everyone"}
            )
    run = wait(run)
    after = calls(vendors)
    assert after["prospeo"] == before["prospeo"]
    assert after["findymail"] == before["findymail"] + 1
    assert (records(run)[0].output or {})["found_by"] == "findymail"
    assert_books_balance(run, vendors)


def test_a_faulty_record_is_mended_and_billed_once(tenant: Tenant, vendors: Sandbox, runner: Runner) -> None:
    run = wait(start(tenant, [*people(1), {"first_name": "Ada"}]))
    assert (run.found, run.failed) == (1, 1)
    assert retry(run) == 0, "faulty input fails again"
    record = records(run)[1]
    with tenant_scope(tenant), pytest.raises(InvalidInput):
        retry_record(run_id=run.pk, record_id=record.pk, actor=ACTOR)
    with tenant_scope(tenant):
        retry_record(
            run_id=run.pk,
            record_id=record.pk,
            actor=ACTOR,
            changes={"last_name": "Everyone", "domain": "mended.example"},
        )
    assert wait(run).found == 2
    assert_books_balance(run, vendors)


def test_discarded_records_count_as_skipped_and_stay(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = fail(tenant, vendors, 3)
    first = records(run)[0]
    with tenant_scope(tenant):
        for _ in range(2):
            discard_record(run_id=run.pk, record_id=first.pk, actor=ACTOR)
    assert (records(run)[0].error or {})["code"] == "discarded"
    assert (again(run).failed, again(run).skipped) == (2, 1)
    assert (
        discard_failed(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR, which=FailedFilter(code="other")) == 0
    )
    assert discard_failed(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR) == 2
    assert retry(run) == 0
    assert (again(run).status, again(run).failed, again(run).skipped) == ("completed", 0, 3)
    assert_books_balance(run, vendors)


def test_a_record_that_was_found_is_neither_retried_nor_discarded(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = wait(start(tenant, people(1)))
    record = records(run)[0]
    for operation in (retry_record, discard_record):
        with tenant_scope(tenant), pytest.raises(RecordNotRetryable):
            operation(run_id=run.pk, record_id=record.pk, actor=ACTOR)


def test_a_cancelled_run_stays_so_and_a_retried_record_that_is_cancelled_stays_billed(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    run = fail(tenant, vendors, 2, provider="prospeo")
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pause_lane(lane_id=lane.pk, actor=ACTOR)
    seen = time.monotonic() + 5
    while (held := runner.lanes.get(lane.pk)) and not held.facts.paused and time.monotonic() < seen:
        time.sleep(0.02)  # else the retried calls may be in flight already
    assert retry(run) == 2
    assert (again(run).status, again(run).finished_at) == ("running", None)
    with tenant_scope(tenant):
        control_run.cancel_run(run_id=run.pk, actor=ACTOR)
        billed = UsageEvent.objects.filter(kind="record").aggregate(total=Sum("quantity"))["total"]
    assert (again(run).status, again(run).cancelled, billed) == ("cancelled", 2, 2)
    with pytest.raises(RunIsFinal):
        retry(run)


def test_retries_pressed_at_once_while_the_run_is_ending_lose_and_repeat_nothing(
    tenant: Tenant, vendors: Sandbox, runner: Runner
) -> None:
    """The run ends and is opened again many times, by several people, while its other records go on."""
    vendors.fault("zerobounce", "status_500", rate=0.25)  # seldom enough for the breaker to stay shut
    run = start(tenant, people(60))
    troubles: list[BaseException] = []
    over = threading.Event()

    def press() -> None:
        try:
            while not over.is_set():
                retry(run)
        except BaseException as error:  # noqa: BLE001 - shown below
            troubles.append(error)
        finally:
            connections.close_all()

    pressing = [threading.Thread(target=press) for _ in range(2)]
    for thread in pressing:
        thread.start()
    try:
        run = wait(run, until=lambda run: run.found == 60, seconds=60)
    finally:
        over.set()
        for thread in pressing:
            thread.join()
    assert troubles == []
    run = wait(run)
    assert (run.status, run.found) == ("completed", 60)
    assert calls(vendors)["prospeo"] == 60
    assert_books_balance(run, vendors)


def test_a_retry_that_meets_the_end_of_its_run_leaves_no_step_outside_of_its_lane(
    tenant: Tenant, vendors: Sandbox
) -> None:
    """The last record ends, and with it the run's entry in its lanes, after the retry saw that entry there."""
    run = start(tenant, people(2))
    given_up, last = records(run)
    with tenant_scope(tenant):
        StepQueue.objects.filter(record_id=given_up.pk).delete()
        Record.objects.filter(pk=given_up.pk).update(
            status="failed",
            started_at=Now(),
            finished_at=Now(),
            error={"code": "vendor_error", "message": "Gave up."},
        )
        Run.objects.update(pending=1, queued=1, failed=1)
    ending, end = threading.Event(), threading.Event()

    def finish() -> None:
        with tenant_scope(tenant), connections[APP_ALIAS].cursor() as cursor:
            StepQueue.objects.filter(record_id=last.pk).delete()
            Record.objects.filter(pk=last.pk).update(status="not_found", finished_at=Now())
            change = Counter({"queued": -1, "not_found": 1, "ended": 1})
            assert book.count_runs(cursor, tenant.pk, {run.pk: change}) == [run.pk]
            ending.set()
            end.wait(10)
        connections.close_all()

    def press() -> None:
        retry(run)
        connections.close_all()

    finishing, pressing = threading.Thread(target=finish), threading.Thread(target=press)
    finishing.start()
    assert ending.wait(10)
    pressing.start()
    time.sleep(1)
    assert pressing.is_alive(), "it waits for the run"
    end.set()
    for thread in (finishing, pressing):
        thread.join(10)
    assert (again(run).status, again(run).pending, again(run).finished_at) == ("running", 1, None)
    with tenant_scope(tenant):
        entry = StepQueue.objects.get()
        assert LaneRun.objects.filter(lane_id=entry.lane_id, run_id=run.pk, state="active").count() == 1


def test_a_vendor_whose_key_was_replaced_by_another_connection_is_asked_through_that(
    tenant: Tenant, vendors: Sandbox, runner: Runner, connect: Any
) -> None:
    run = fail(tenant, vendors, 2)
    with tenant_scope(tenant):
        removed = Lane.objects.get(provider="zerobounce")
        remove_connection(connection_id=removed.connection_id, actor=ACTOR)
    with pytest.raises(MissingConnection, match="ZeroBounce has no"):
        retry(run)
    connect("zerobounce", secret="another-key", mode="sandbox", windows=[], parallelism=5)
    assert retry(run) == 2
    run = wait(run)
    assert (run.status, run.found) == ("completed", 2)
    assert run.lanes["zerobounce"] != str(removed.pk)


@pytest.mark.parametrize("last", ["Everyone", "Nobody"])
def test_whoever_begins_anew_asks_every_vendor_again(
    tenant: Tenant, vendors: Sandbox, runner: Runner, last: str
) -> None:
    """The answers that the run keeps for equal questions are those that somebody does not want to have again."""
    configure(tenant, finders=["prospeo", "findymail"])
    run = (
        fail(tenant, vendors, 1, last=last)
        if last == "Everyone"
        else wait(start(tenant, people(1, last=last)))
    )
    before = calls(vendors)
    with tenant_scope(tenant):
        retry_record(run_id=run.pk, record_id=records(run)[0].pk, actor=ACTOR, restart=True)
    assert wait(run).status == "completed"
    asked = {name: count - before.get(name, 0) for name, count in calls(vendors).items()}
    wanted = {"prospeo": 1, "zerobounce": 1} if last == "Everyone" else {"prospeo": 1, "findymail": 1}
    assert {name: count for name, count in asked.items() if count} == wanted
    assert_books_balance(again(run), vendors)
