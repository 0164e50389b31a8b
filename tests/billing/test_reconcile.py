"""`manage.py reconcile_usage`: counters equal the ledger, to the unit, and can be put right while work goes on."""

import io
import json
import random
import threading
from datetime import date

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from billing import quota
from billing.models import UsageCounter, UsageEvent
from billing.operations.reconcile import compare, repair
from billing.tasks import compare_usage
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import connect_all, make_run, make_tenant
from workflows.operations.control_run import cancel_run

pytestmark = pytest.mark.usefixtures("committed")
MARCH = date(2026, 3, 1)


def entry(quantity: int = 1, **fields) -> None:
    fields = {"kind": "record", "period": MARCH, "quantity": quantity, **fields}
    UsageEvent.objects.create(key=f"record:{uuid7()}", **fields)


def run(*arguments: str) -> tuple[int, str]:
    """(exit status, what was printed)"""
    out = io.StringIO()
    try:
        call_command("reconcile_usage", *arguments, stdout=out)
    except SystemExit as stopped:
        return int(stopped.code or 0), out.getvalue()
    return 0, out.getvalue()


def counted(tenant: Tenant) -> int:
    with tenant_scope(tenant):
        return sum(UsageCounter.objects.values_list("records", flat=True))


def test_nothing_differs_after_runs_that_were_accepted_and_cancelled():
    tenant = make_tenant().tenant
    connect_all(tenant)
    make_run(tenant, 5)
    gone = make_run(tenant, 3)
    make_run(tenant, 4, livemode=False)
    with tenant_scope(tenant):
        cancel_run(run_id=gone.pk, actor="system:tests")
    assert counted(tenant) == 5
    status, said = run()
    assert (status, said) == (0, "1 months of tenants compared, 5 records: counters equal the ledger.\n")


def test_a_difference_is_told_to_the_unit_and_repaired_when_asked():
    tenant, other = make_tenant().tenant, make_tenant().tenant
    with tenant_scope(other):
        entry(5, period=date(2026, 4, 1))
        UsageCounter.objects.create(period=date(2026, 4, 1), slot=3, records=9)
    with tenant_scope(tenant):
        entry(7)
        entry(-2)
        entry(100, livemode=False)
        entry(50, kind="attempt")
        UsageCounter.objects.create(period=MARCH, slot=0, records=3, share=10, share_of=100)
        UsageCounter.objects.create(period=MARCH, slot=-900, records=-1)
    status, said = run()
    assert status == 1
    assert said.splitlines() == [
        f"2026-03 {tenant.pk}: counted 2, in the ledger 5: -3",
        f"2026-04 {other.pk}: counted 9, in the ledger 5: +4",
        "2 months of tenants compared, 10 records: 2 differ.",
    ]
    assert run("--period", "2026-04", "--json")[0] == 1
    status, said = run("--period", "2026-03", "--repair")
    assert (status, said.splitlines()[-1]) == (
        0, "1 months of tenants compared, 5 records: 1 differ, 1 repaired.",
    )  # fmt: skip
    assert counted(tenant) == 5
    with tenant_scope(tenant):
        assert UsageCounter.objects.get(slot=0).share_of is None
    assert run("--period", "2026-03") == (
        0,
        "1 months of tenants compared, 5 records: counters equal the ledger.\n",
    )
    status, said = run("--json", "--repair")
    assert json.loads(said)["differences"] == [
        {"tenant_id": str(other.pk), "period": "2026-04", "counted": 9, "ledger": 5, "difference": 4}
    ]
    assert run()[0] == 0


def test_a_month_that_is_none_is_refused():
    with pytest.raises(CommandError, match="YYYY-MM"):
        run("--period", "March")


def test_a_difference_found_by_the_clock_is_an_error_in_the_log(caplog):
    tenant = make_tenant().tenant
    compare_usage()
    assert "usage_differs" not in caplog.text
    with tenant_scope(tenant):
        entry(3, period=_this_month())
    compare_usage()
    assert "usage_differs" in caplog.text


def _this_month() -> date:
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT {quota.PERIOD}")
        return cursor.fetchone()[0]


def test_repairing_beside_accepts_and_cancels_ends_with_what_the_ledger_says():
    tenant = make_tenant(plan="free").tenant
    with tenant_scope(tenant):
        entry(40, period=_this_month())  # not counted
    stop = threading.Event()
    dice = random.Random(3)

    def accept():
        try:
            while not stop.is_set():
                with tenant_scope(tenant), connections["default"].cursor() as cursor:
                    number = dice.randint(1, 3)
                    quota.take(cursor, tenant.pk, number)
                    entry(number, period=_this_month())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=accept) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert len(compare(_this_month()).differences) <= 1
        repair(tenant.pk, _this_month())
        assert compare(_this_month()).differences == []
    stop.set()
    for thread in threads:
        thread.join()
    assert compare(_this_month()).differences == []
    assert counted(tenant) <= 1_000
