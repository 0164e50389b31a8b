"""Closing a tenant and erasing what it held: who may, what goes, what stays, and that it can be stopped anywhere."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from django.db.models import Count, Sum
from django.utils import timezone

from billing.models import ClosedLedger, UsageEvent
from integrations.models import DataKey
from tenants.errors import Conflict
from tenants.models import AuditEvent, ClosedTenant, Tenant, User
from tenants.operations import delete_tenant
from tenants.operations.tenants import activate_tenant
from tenants.scope import ops_scope, tenant_scope
from tests import traces
from tests.client import Api
from tests.factories import ACTOR, connect_all, make_key, make_run, make_tenant
from workflows.lanes import settle
from workflows.lanes.outcome import cached
from workflows.lanes.work import Batch, RunFacts, Work
from workflows.models import Record, Run, Step, StepQueue


def close(tenant: Tenant, **options: Any) -> None:
    with tenant_scope(tenant):
        delete_tenant.close_tenant(**{"actor": "user:owner@acme.example", **options})


def ledger(model: Any, **of: Any) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """(period, kind, provider, livemode) -> entries, quantity, credits."""
    if model is ClosedLedger:
        rows = model.objects.filter(**of).values_list(
            "period", "kind", "provider", "livemode", "entries", "quantity", "credits"
        )
    else:
        rows = (
            model.objects.order_by()
            .values_list("period", "kind", "provider", "livemode")
            .annotate(n=Count("id"), q=Sum("quantity"), c=Sum("credits"))
        )
    return {tuple(row[:4]): tuple(row[4:]) for row in rows}


def use(tenant: Tenant) -> None:
    """Write ledger entries of two months, both modes, with a correction."""
    this = timezone.now().date().replace(day=1)
    entries = [
        ("record", this, "", 1, 0, True), ("record", this, "", 1, 0, True), ("record", this, "", -1, 0, True),
        ("attempt", this, "prospeo", 1, 1_000, True), ("attempt", this, "prospeo", 1, 2_500, False),
        ("attempt", this.replace(year=this.year - 1), "hunter", 1, 700, True),
    ]  # fmt: skip
    with tenant_scope(tenant):
        for number, (kind, period, provider, quantity, spent, livemode) in enumerate(entries):
            UsageEvent.objects.create(
                key=f"{kind}:test{number}", kind=kind, period=period, provider=provider, quantity=quantity,
                credits=spent, livemode=livemode,
            )  # fmt: skip


def test_closing_refuses_keys_and_opens_no_secret_any_more(committed: None, tenant: Tenant) -> None:
    connect_all(tenant)
    api = Api(make_key(tenant))
    close(tenant)
    assert api.get("/runs").status_code == 403
    with tenant_scope(tenant):
        assert not DataKey.objects.exists()
        assert AuditEvent.objects.filter(verb="tenant.closing").count() == 1


def test_a_tenant_is_closed_once_and_stays_closed(committed: None, tenant: Tenant) -> None:
    close(tenant)
    with tenant_scope(tenant):
        with pytest.raises(Conflict, match="already"):
            delete_tenant.close_tenant(actor=ACTOR)
        with pytest.raises(Conflict, match="cannot be undone"):
            activate_tenant(actor=ACTOR)


def test_only_a_closed_tenant_is_erased(committed: None, tenant: Tenant) -> None:
    with pytest.raises(Conflict, match="closed"):
        delete_tenant.erase(tenant.pk)
    with tenant_scope(tenant):
        assert Tenant.objects.count() == 1


def refused_to_ops(words: str, statement: str, parameters: list[Any]) -> None:
    with (
        ops_scope("test"),
        pytest.raises(DatabaseError, match=words),
        transaction.atomic(using="ops"),
        connections["ops"].cursor() as cursor,
    ):
        cursor.execute(statement, parameters)


def test_the_database_lets_nobody_close_a_tenant_for_a_moment(committed: None, tenant: Tenant) -> None:
    """Close, take a row out of the trail, open again: the first is for good, so there is no second."""
    with tenant_scope(tenant):
        ids = list(AuditEvent.objects.values_list("pk", flat=True))
    status = "UPDATE tenants_tenant SET status = %s WHERE id = %s"
    with ops_scope("test"), connections["ops"].cursor() as cursor:
        cursor.execute(status, ["closing", tenant.pk])
    erase = "SELECT public.weir_erase_rows(%s, 'public.tenants_auditevent', %s)"
    refused_to_ops("not being closed", erase, [tenant.pk, ids[:1]])
    for back in ("active", "suspended"):
        refused_to_ops("cannot be undone", status, [back, tenant.pk])
        with (
            tenant_scope(tenant),
            pytest.raises(DatabaseError, match="cannot be undone"),
            transaction.atomic(),
        ):
            connections["default"].cursor().execute(status, [back, tenant.pk])
    refused_to_ops(
        "cannot be undone", "UPDATE tenants_tenant SET id = gen_random_uuid() WHERE id = %s", [tenant.pk]
    )
    for way_round in (
        "ALTER TABLE tenants_tenant DISABLE TRIGGER weir_closing_is_final",
        "DROP TRIGGER weir_closing_is_final ON tenants_tenant",
        "SET session_replication_role = replica",
    ):
        refused_to_ops("must be owner|permission denied", way_round, [])
    with ops_scope("test"), connections["ops"].cursor() as cursor:
        cursor.execute("UPDATE tenants_tenant SET name = 'still here' WHERE id = %s", [tenant.pk])
    with tenant_scope(tenant):
        assert AuditEvent.objects.count() == len(ids)
        assert Tenant.objects.get().status == Tenant.Status.CLOSING


def test_the_database_erases_append_only_rows_of_closing_tenants_alone(
    committed: None, tenant: Tenant
) -> None:
    with tenant_scope(tenant):
        ids = list(AuditEvent.objects.values_list("pk", flat=True))
    call: tuple[str, list[Any]] = (
        "SELECT public.weir_erase_rows(%s, 'public.tenants_auditevent', %s)",
        [tenant.pk, ids],
    )
    bare: tuple[str, list[Any]] = ("DELETE FROM tenants_auditevent", [])
    for statement, parameters in (call, bare):
        with (
            ops_scope("test"),
            pytest.raises(DatabaseError, match=r"not being closed|permission denied"),
            transaction.atomic(using="ops"),
            connections["ops"].cursor() as cursor,
        ):
            cursor.execute(statement, parameters)
    close(tenant)
    refused_to_ops("not being closed", *call)  # nobody has written down yet that it is being erased
    with ops_scope("test"):
        ClosedTenant.objects.create(erasing=tenant.pk)
    with tenant_scope(tenant), pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        connections["default"].cursor().execute(*call)
    with ops_scope("test"), transaction.atomic(using="ops"), connections["ops"].cursor() as cursor:
        cursor.execute(*call)
        assert cursor.fetchone()[0] == len(ids) > 0
    for table in ("tenants_user", "pg_catalog.pg_class"):
        with (
            ops_scope("test"),
            pytest.raises(DatabaseError, match="no table of tenants"),
            transaction.atomic(using="ops"),
        ):
            connections["ops"].cursor().execute(
                "SELECT public.weir_erase_rows(%s, %s, %s)", [tenant.pk, table, ids]
            )


def test_erasing_leaves_the_totals_of_every_month_and_nothing_else(committed: None, tenant: Tenant) -> None:
    use(tenant)
    with tenant_scope(tenant):
        before = ledger(UsageEvent)
    close(tenant, reason="")
    closed = delete_tenant.erase(tenant.pk)
    assert closed is not None
    with ops_scope("test"):
        assert ledger(ClosedLedger, closed_tenant=closed) == before
        assert len(before) == 4
        left = ClosedTenant.objects.get()
    assert (left.plan, left.closed_by, left.erasing) == ("pro", "owner", None)
    assert left.counts["billing_usageevent"] == 6
    assert left.counts["workflow"] >= 1
    # People keep their accounts.
    assert {where for where, _ in traces.search([str(tenant.pk), "Acme"])} <= {
        "table tenants_user",
        "table account_emailaddress",
    }
    assert User.objects.filter(email="owner@acme.example").exists()


def test_erasing_an_erased_tenant_says_that_there_is_none(committed: None, tenant: Tenant) -> None:
    close(tenant)
    assert delete_tenant.erase(tenant.pk)
    assert delete_tenant.closing_tenants() == []
    with pytest.raises(Conflict, match="no such tenant"):
        delete_tenant.erase(tenant.pk)


class Died(BaseException):
    """What a killed process looks like from inside."""


def test_it_may_die_at_every_step_and_ends_the_same(
    committed: None, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delete_tenant, "CHUNK", 2)
    connect_all(tenant)
    make_run(tenant, 3)
    use(tenant)
    with tenant_scope(tenant):
        before = ledger(UsageEvent)
    close(tenant)
    died: list[str] = []

    def die(step: str) -> None:
        # Steps without progress let it pass the second time.
        if step.startswith("rows of") or step not in died:
            died.append(step)
            raise Died

    closed = None
    while closed is None:
        with contextlib.suppress(Died):
            closed = delete_tenant.erase(tenant.pk, checkpoint=die)
        assert len(died) < 200
        assert closed or delete_tenant.closing_tenants() == [tenant.pk]
    assert {"noted", "halted", "forgotten elsewhere", "tenant gone", "forgotten again"} <= set(died)
    assert died.count("rows of billing_usageevent") >= 4
    with ops_scope("test"):
        after = ledger(ClosedLedger, closed_tenant=closed)
        assert ClosedTenant.objects.count() == 1
    # The records were cancelled before any call, so each was given back.
    given_back = after.pop((timezone.now().date().replace(day=1), "record", "", True))
    was = before.pop((timezone.now().date().replace(day=1), "record", "", True))
    assert after == before
    assert given_back == (was[0] + 3, was[1] - 3, 0)
    assert traces.search([str(tenant.pk)]) == set()


def test_a_run_whose_counts_do_not_add_up_keeps_nobody_from_leaving(committed: None, tenant: Tenant) -> None:
    connect_all(tenant)
    make_run(tenant, 3)
    with tenant_scope(tenant):
        Run.objects.update(pending=0)
    close(tenant)
    assert delete_tenant.erase(tenant.pk)
    assert traces.search([str(tenant.pk)]) == set()


def test_a_call_in_flight_is_waited_for(committed: None, tenant: Tenant) -> None:
    connect_all(tenant)
    make_run(tenant, 2)
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        cursor.execute(
            """UPDATE step_queue SET sent_at = now(), deadline_at = now() + interval '1 minute'
               WHERE id = (SELECT id FROM step_queue LIMIT 1)"""
        )
    close(tenant)
    assert delete_tenant.erase(tenant.pk) is None
    with tenant_scope(tenant):
        assert Run.objects.get().status == "cancelled"
        assert StepQueue.objects.count() == 1
        StepQueue.objects.update(deadline_at=timezone.now())
    assert delete_tenant.erase(tenant.pk) is not None


def test_a_worker_that_comes_back_after_the_end_writes_nothing_and_holds_up_nobody(
    committed: None, tenant: Tenant, other_tenant: Tenant
) -> None:
    works = []
    for one in (tenant, other_tenant):
        connect_all(one)
        run = make_run(one, 1)
        with tenant_scope(one):
            entry, record = StepQueue.objects.get(), Record.objects.get()
        facts = RunFacts(
            run.pk, one.pk, run.template, run.config, run.lanes, run.livemode, run.created_at, None
        )
        works.append(
            Work(
                id=entry.pk, lane_id=entry.lane_id, run=facts, record_id=record.pk, record_input=record.input,
                operation="find", provider="prospeo", query=entry.query, fingerprint=entry.fingerprint, taken=[],
                attempt=1, crashes=0, ready_at=entry.ready_at, cached_outcome="miss",
            )
        )  # fmt: skip
    close(tenant)
    assert delete_tenant.erase(tenant.pk)
    settlements = [cached(work) for work in works]
    for settlement in settlements:
        settlement.called = True
    flushed = settle.flush(Batch(settlements=settlements), works[0].id)
    assert flushed.late == 1
    with tenant_scope(other_tenant):
        assert Step.objects.count() >= 1
    assert traces.search([str(tenant.pk), str(works[0].id)]) == set()


def test_another_tenant_is_untouched(committed: None, tenant: Tenant) -> None:
    other = make_tenant("Globex").tenant
    for one in (tenant, other):
        connect_all(one)
        make_run(one, 3)
        use(one)
    before = traces.rows_of(other.pk)
    close(tenant)
    assert delete_tenant.erase(tenant.pk)
    assert traces.rows_of(other.pk) == before
    assert sum(not content.startswith("0 ") for content in before.values()) > 8


@pytest.mark.parametrize("table", ["record", "step", "billing_usageevent"])
def test_the_search_finds_what_was_left(committed: None, tenant: Tenant, table: str) -> None:
    close(tenant)
    assert delete_tenant.erase(tenant.pk)
    leave: dict[str, Callable[[Any], Any]] = {
        "record": lambda one: make_run(one, [{"first_name": "Ada", "domain": f"x{tenant.pk}.example"}]),
        "step": lambda one: Step.objects.create(
            run_id=tenant.pk, record_id=one.pk, queue_id=one.pk, name="x", provider="x", operation="x", attempt=1,
            status="done",
        ),
        "billing_usageevent": lambda one: UsageEvent.objects.create(
            key=f"record:{tenant.pk}", kind="record", period=timezone.now().date()
        ),
    }  # fmt: skip
    other = make_tenant("Globex").tenant
    connect_all(other)
    with tenant_scope(other):
        leave[table](other)
    assert (f"table {table}", str(tenant.pk)) in traces.search([str(tenant.pk)])
