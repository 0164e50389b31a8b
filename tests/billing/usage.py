"""What tests of metering do and look at: usage in the ledger, the workers' minutes, the months' ends."""

from decimal import ROUND_HALF_UP, Decimal

from billing.models import MeterBatch, UsageEvent
from billing.operations import metering, telling
from tenants.ids import uuid7
from tenants.scope import tenant_scope


def use(rig, quantity, *, period=None, kind="record", livemode=True):
    """So many records in the ledger, as one entry; negative ones are given back."""
    with tenant_scope(rig.tenant):
        UsageEvent.objects.create(
            key=f"record:{uuid7()}", kind=kind, quantity=quantity, livemode=livemode,
            period=period or rig.now().date().replace(day=1), created_at=rig.now(),
        )  # fmt: skip


def work(rig, times=1):
    """What the workers do each minute, later and later."""
    for _ in range(times):
        with rig.clock():
            metering.collect(rig.tenant.pk)
            telling.send_due()
        if times > 1:
            rig.advance(900)


def batches(rig):
    with tenant_scope(rig.tenant):
        return list(MeterBatch.objects.order_by("id"))


def states(rig):
    return [(str(batch.state), batch.quantity) for batch in batches(rig)]


def metered(rig):
    """What the double's meter has, all of it."""
    usage = rig.double.control("GET", "state")["usage"]
    return sum(entry["value"] for entry in usage.get(rig.row.customer_id, []))


def ledger(rig):
    with tenant_scope(rig.tenant):
        rows = UsageEvent.objects.filter(kind="record", livemode=True).values_list("quantity", flat=True)
        return sum(rows)


def cents(plan, quantity):
    """What a month of so many records costs beside the base price, by our own plan."""
    over = max(0, quantity - plan.monthly_records)
    return int((over * plan.overage_price * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def settle_month(rig):
    """To the end of the month, and past its invoice; the workers go on as they do each minute."""
    left = int((rig.row.period_end - rig.now()).total_seconds())
    rig.advance(max(1, left + 600))
    work(rig)
    work(rig, 40 if any(state in ("due", "unsure", "retract") for state, _ in states(rig)) else 1)
    rig.advance(7200)
    rig.deliver()
