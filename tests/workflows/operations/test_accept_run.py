"""Accepting runs: all or nothing, faulty records alone, and nothing that PostgreSQL could choke on."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from billing.models import UsageEvent
from integrations.models import Connection
from tenants.errors import InvalidInput
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tests.factories import ACTOR, make_connection, make_tenant
from workflows.errors import MissingConnection, TooManyRecords, UnknownWorkflow, WorkflowDisabled
from workflows.models import Lane, LaneRun, Record, Run, RunEvent, StepQueue, Workflow
from workflows.operations.accept_run import accept_run, find_workflow

ADA = {"first_name": "Ada", "last_name": "Lovelace", "domain": "engine.example"}


@pytest.fixture
def connected(connect: Callable[..., Connection]) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="sandbox")


def accept(tenant: Tenant, records: list[Any], **options: Any) -> Run:
    options = {"actor": ACTOR, "source": "api", "livemode": True, **options}
    with tenant_scope(tenant):
        return accept_run(workflow=find_workflow("email-waterfall"), records=records, **options)


def test_a_run_is_accepted_with_its_records_first_steps_and_usage(tenant: Tenant, connected: None) -> None:
    run = accept(
        tenant, [ADA, {**ADA, "first_name": "Grace"}], priority=7, metadata={"list": "x"}, name="June"
    )
    assert (run.status, run.total, run.pending, run.queued, run.priority) == ("queued", 2, 2, 2, 7)
    with tenant_scope(tenant):
        assert [record.position for record in Record.objects.filter(run=run)] == [1, 2]
        assert list(StepQueue.objects.values_list("name", flat=True)) == ["find:prospeo"] * 2
        assert LaneRun.objects.get().priority == 7
        assert set(UsageEvent.objects.values_list("key", flat=True)) == {
            f"record:{record.pk}" for record in Record.objects.all()
        }
        assert RunEvent.objects.get().kind == "run.accepted"


def test_a_faulty_record_fails_alone_with_a_named_error_and_is_not_billed(
    tenant: Tenant, connected: None
) -> None:
    run = accept(tenant, [ADA, {"first_name": "Nobody"}, {**ADA, "first_name": "x" * 10_000}, {}])
    assert (run.total, run.pending, run.failed) == (4, 1, 3)
    with tenant_scope(tenant):
        faulty = {r.position: r.error for r in Record.objects.filter(run=run, status="failed")}
        assert UsageEvent.objects.count() == 1
    assert set(faulty) == {2, 3, 4}
    assert faulty[3]["code"] == "too_long"
    assert all(error["message"] for error in faulty.values())


def test_a_run_of_faulty_records_alone_completes_at_once(tenant: Tenant, connected: None) -> None:
    run = accept(tenant, [{"company": "No person"}])
    assert (run.status, run.failed, run.pending) == ("completed", 1, 0)
    assert run.finished_at is not None


@pytest.mark.parametrize(
    "record",
    [
        {**ADA, "first_name": "A\0da"},
        {**ADA, "note": "lone \ud800 surrogate and \0"},
        {**ADA, "first_name": {"deep": [1, [2, [3]]]}},
        {**ADA, "first_name": 12345678901234567890123456789},
        {**ADA, "\0": "x"},
        {**ADA, "first_name": None},
    ],
)
def test_strange_values_are_kept_or_named_and_never_break_the_run(
    tenant: Tenant, connected: None, record: dict[str, Any]
) -> None:
    run = accept(tenant, [record, ADA])
    assert run.total == 2
    assert run.pending >= 1
    with tenant_scope(tenant):
        assert Record.objects.filter(run=run).count() == 2


def test_too_many_records_are_refused_whole(tenant: Tenant, connected: None) -> None:
    with pytest.raises(TooManyRecords, match="1,001"):
        accept(tenant, [ADA] * 1001)
    with tenant_scope(tenant):
        assert Run.objects.count() == Record.objects.count() == 0


def test_no_records_are_refused(tenant: Tenant, connected: None) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        accept(tenant, [])


@pytest.mark.parametrize("ref", ["no-such", "", "\0", "00000000-0000-0000-0000-000000000000", "x" * 500])
def test_an_unknown_workflow_is_named(tenant: Tenant, ref: str) -> None:
    with tenant_scope(tenant), pytest.raises(UnknownWorkflow):
        find_workflow(ref)


def test_a_workflow_of_another_tenant_is_unknown(tenant: Tenant, other_tenant: Tenant) -> None:
    with tenant_scope(other_tenant):
        theirs = Workflow.objects.get(slug="email-waterfall")
    with tenant_scope(tenant), pytest.raises(UnknownWorkflow):
        find_workflow(str(theirs.pk))


def test_a_missing_vendor_is_named_before_anything_is_written(
    tenant: Tenant, connect: Callable[..., Connection]
) -> None:
    connect("prospeo", mode="sandbox")
    with pytest.raises(MissingConnection, match="Findymail and ZeroBounce have no"):
        accept(tenant, [ADA])


def test_a_test_run_reaches_sandbox_connections_alone_and_is_not_billed(
    tenant: Tenant, connect: Callable[..., Connection]
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="live")
    with pytest.raises(MissingConnection, match="sandbox connection"):
        accept(tenant, [ADA], livemode=False)
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="sandbox", secret="another")
    run = accept(tenant, [ADA], livemode=False)
    with tenant_scope(tenant):
        used = Lane.objects.filter(pk__in=run.lanes.values()).values_list("connection__mode", flat=True)
        assert set(used) == {"sandbox"}
        assert UsageEvent.objects.count() == 0


def test_a_switched_off_workflow_starts_nothing(tenant: Tenant, connected: None) -> None:
    with tenant_scope(tenant):
        Workflow.objects.update(enabled=False)
    with pytest.raises(WorkflowDisabled):
        accept(tenant, [ADA])


@pytest.mark.parametrize("options", [{"priority": 10}, {"priority": -1}, {"credit_limit": -1}])
def test_numbers_outside_their_range_are_refused(
    tenant: Tenant, connected: None, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        accept(tenant, [ADA], **options)


def test_a_run_keeps_the_configuration_that_it_was_accepted_with(tenant: Tenant, connected: None) -> None:
    run = accept(tenant, [ADA])
    with tenant_scope(tenant):
        Workflow.objects.filter(slug="email-waterfall").update(config={"finders": ["hunter"]})
        assert Run.objects.get(pk=run.pk).config["finders"] == ["prospeo", "findymail"]


def test_what_web_processes_send_to_accept_is_planned_once_in_a_session(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = make_tenant().tenant
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(tenant, provider, mode="sandbox")
    monkeypatch.setattr(type(connections[APP_ALIAS]), "plans_once", True)
    connections[APP_ALIAS].close()
    for _ in range(8):
        accept(tenant, [ADA])
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
        plans = cursor.fetchall()
    connections[APP_ALIAS].close()
    assert len(plans) >= 2
    assert all(generic >= 8 and custom == 0 for generic, custom in plans), plans
