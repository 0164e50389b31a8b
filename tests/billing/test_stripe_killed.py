"""A ledger that grows while the workers that tell Stripe of it are killed: each record is told once."""

import random
import time

import pytest

from billing import reconcile
from billing.models import MeterBatch, UsageEvent
from tenants.ids import uuid7
from tenants.scope import tenant_scope
from tests.billing.stripe_rig import accept
from tests.billing.workers import SharedRig

CHUNK = 100


FAULTS = {"error_after": 0.1, "lost_after": 0.1, "hang_before": 0.1, "hang_after": 0.1}


@pytest.fixture
def rig(committed, double, impatient, tmp_path):
    """Subscribed to Pro."""
    rig = SharedRig(double, tmp_path)
    rig.buy("pro")
    rig.deliver()
    return rig


def grow(rig, chance, *, entries):
    """Write so many entries, some giving a record back, some rolled back, while workers are killed twice a second.

    Returns how many died in the middle of telling. After each a minute goes by: batches have one each, and tries wait.
    """
    for fault, rate in FAULTS.items():
        rig.double.fault(fault, rate=rate, path="/meter_events")
    period = rig.now().date().replace(day=1)
    written = in_the_middle = 0
    with rig.workers.running(1):
        while written < entries or not in_the_middle:
            until = time.monotonic() + chance.uniform(0.02, 0.5)
            while time.monotonic() < until:
                back, lost = chance.random() < 0.05, chance.random() < 0.1
                what, quantity = ("back", -1) if back else ("record", 1)
                accept(rig.tenant, [(what, uuid7(), quantity) for _ in range(CHUNK)], period, lost=lost)
                written += 0 if lost else CHUNK
            rig.workers.kill(chance)
            in_the_middle += being_told(rig)
            rig.advance(60)
        rig.double.control("DELETE", "faults")
        until = time.monotonic() + 60
        while reconcile.differences() and time.monotonic() < until:
            time.sleep(0.1)
            rig.advance(60)
    return in_the_middle


def being_told(rig):
    """Batches whose first try nobody knows the end of."""
    with tenant_scope(rig.tenant):
        return MeterBatch.objects.filter(state="unsure", tries=1, answer="").count()


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
    assert grow(rig, random.Random(1), entries=1_000) >= 1
    check(rig)


@pytest.mark.campaign
def test_100_000_records_with_workers_killed_at_random(rig):
    died = grow(rig, random.Random(2), entries=100_000)
    ledger, batches = check(rig)
    print(
        f"\n{ledger:,} in the ledger and in the meter, {batches} batches, {rig.workers.killed} workers killed, "
        f"{died} in the middle of telling"
    )
