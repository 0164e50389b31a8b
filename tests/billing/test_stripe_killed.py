"""A ledger that grows while the workers that tell Stripe of it are killed: each record is told once."""

import random
import time
from datetime import timedelta

import pytest

from billing import reconcile
from billing.models import MeterBatch, UsageEvent
from billing.operations import telling
from tenants.ids import uuid7
from tenants.scope import tenant_scope
from tests.billing.stripe_rig import accept
from tests.billing.workers import SharedRig

CHUNK = 100


@pytest.fixture
def rig(committed, double, tmp_path, monkeypatch):
    """Subscribed to Pro; what failed is tried again at once, as no time goes by but the real one."""
    monkeypatch.setattr(telling, "FIRST_WAIT", timedelta(milliseconds=20))
    rig = SharedRig(double, tmp_path)
    rig.buy("pro")
    rig.deliver()
    return rig


def grow(rig, chance, *, entries):
    """Write so many entries, some giving a record back, some rolled back, while workers are killed twice a second."""
    rig.double.fault("error_after", rate=0.1, path="/meter_events")
    rig.double.fault("lost_after", rate=0.1, path="/meter_events")
    period = rig.now().date().replace(day=1)
    written = 0
    with rig.workers.running(1):
        while written < entries:
            until = time.monotonic() + chance.uniform(0.02, 0.5)
            while time.monotonic() < until and written < entries:
                back, lost = chance.random() < 0.05, chance.random() < 0.1
                what, quantity = ("back", -1) if back else ("record", 1)
                number = min(CHUNK, entries - written)
                accept(rig.tenant, [(what, uuid7(), quantity) for _ in range(number)], period, lost=lost)
                written += 0 if lost else number
            rig.workers.kill(chance)
        rig.double.control("DELETE", "faults")
        until = time.monotonic() + 60
        while reconcile.differences() and time.monotonic() < until:
            time.sleep(0.1)


def check(rig):
    """(records in the ledger and in the meter, batches)."""
    with tenant_scope(rig.tenant):
        quantities = UsageEvent.objects.filter(kind="record").values_list("quantity", flat=True)
        ledger = sum(quantities)
        batches = MeterBatch.objects.count()
    usage = rig.double.control("GET", "state")["usage"][rig.row.customer_id]
    assert sum(entry["value"] for entry in usage) == ledger
    assert reconcile.differences() == []
    assert rig.workers.broken == 0
    return ledger, batches


@pytest.mark.chaos
def test_workers_killed_at_random_tell_each_record_once(rig):
    grow(rig, random.Random(1), entries=1_000)
    check(rig)
    assert rig.workers.killed >= 1


@pytest.mark.campaign
def test_100_000_records_with_workers_killed_at_random(rig):
    grow(rig, random.Random(2), entries=100_000)
    ledger, batches = check(rig)
    print(
        f"\n{ledger:,} in the ledger and in the meter, {batches} batches, {rig.workers.killed} workers killed"
    )
