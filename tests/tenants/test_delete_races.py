"""Erasing while others write and while others erase: nothing is lost from the totals, counted twice, or left."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections
from django.db.models import Sum
from django.utils import timezone

from billing.models import ClosedLedger, UsageEvent
from tenants.errors import Conflict, WeirError
from tenants.models import ClosedTenant, Tenant
from tenants.operations import delete_tenant, export_tenant
from tenants.scope import ops_scope, tenant_scope
from tenants.tasks import prepare_exports
from tests import traces
from tests.factories import connect_all, make_run


def beside(work: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def close(tenant: Tenant) -> None:
    with tenant_scope(tenant):
        delete_tenant.close_tenant(actor="user:owner@acme.example")


def test_what_is_written_meanwhile_is_in_the_totals_or_was_refused(
    committed: None, tenant: Tenant, monkeypatch: Any
) -> None:
    monkeypatch.setattr(delete_tenant, "CHUNK", 5)
    period, written, begun = timezone.now().date().replace(day=1), [0], threading.Event()

    def write() -> None:
        for number in range(2_000):
            try:
                with tenant_scope(tenant):
                    UsageEvent.objects.create(
                        key=f"attempt:{number}", kind="attempt", period=period, credits=3
                    )
            except DatabaseError:
                return  # the tenant is gone
            written[0] += 1
            if written[0] == 30:
                begun.set()

    writer = beside(write)
    assert begun.wait(30)
    close(tenant)
    closed = delete_tenant.erase(tenant.pk)
    writer.join(60)
    assert closed is not None
    assert 30 <= written[0] < 2_000
    with ops_scope("test"):
        kept = ClosedLedger.objects.aggregate(n=Sum("entries"), credits=Sum("credits"))
    assert kept == {"n": written[0], "credits": 3 * written[0]}
    assert traces.search([str(tenant.pk)]) == set()


def test_two_workers_erase_at_once_and_keep_the_totals_once(
    committed: None, tenant: Tenant, monkeypatch: Any
) -> None:
    monkeypatch.setattr(delete_tenant, "CHUNK", 5)
    period = timezone.now().date().replace(day=1)
    with tenant_scope(tenant):
        for number in range(100):
            UsageEvent.objects.create(key=f"attempt:{number}", kind="attempt", period=period, credits=7)
    connect_all(tenant)
    make_run(tenant, 20)
    close(tenant)
    together, ends = threading.Barrier(2), []

    def erase() -> None:
        together.wait()
        try:
            ends.append(delete_tenant.erase(tenant.pk) is not None)
        except (WeirError, DatabaseError):
            ends.append(False)  # the other one was through; the sweep would ring again

    for thread in [beside(erase) for _ in range(2)]:
        thread.join(60)
    assert len(ends) == 2
    for tenant_id in delete_tenant.closing_tenants():
        delete_tenant.erase(tenant_id)
    with ops_scope("test"):
        assert ClosedTenant.objects.count() == 1
        kept = ClosedLedger.objects.filter(kind="attempt").aggregate(n=Sum("entries"), credits=Sum("credits"))
    assert kept == {"n": 100, "credits": 700}
    assert traces.search([str(tenant.pk)]) == set()


def test_an_export_that_is_being_written_leaves_no_file_behind(
    committed: None, tenant: Tenant, monkeypatch: Any
) -> None:
    with tenant_scope(tenant):
        export_tenant.request_export(actor="user:owner@acme.example")
    real = export_tenant.default_storage.save

    def gone_before_it_is_stored(name: str, content: Any) -> str:
        close(tenant)
        assert delete_tenant.erase(tenant.pk)
        return real(name, content)

    monkeypatch.setattr(export_tenant.default_storage, "save", gone_before_it_is_stored)
    prepare_exports()
    assert traces.search([str(tenant.pk)]) == set()


def test_a_tenant_is_closed_by_one_of_two(committed: None, tenant: Tenant) -> None:
    ends: list[str] = []

    def shut() -> None:
        try:
            close(tenant)
            ends.append("closed")
        except Conflict:
            ends.append("refused")

    for thread in [beside(shut) for _ in range(2)]:
        thread.join(30)
    assert sorted(ends) == ["closed", "refused"]
