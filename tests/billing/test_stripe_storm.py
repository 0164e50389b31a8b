"""B1: Stripe fails in every way at once while workers are killed and plans changed, and all that was accepted is billed."""

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import Sum

from billing import entries, periods, reconcile, stripe_gateway
from billing.models import MeterBatch, Plan, UsageEvent
from billing.operations import reconcile as counters
from billing.operations import stripe_events
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tests.billing.recount import FREE
from tests.billing.storm import FAULTS, Storm
from tests.billing.usage import cents
from tests.billing.workers import SharedRig

QUOTAS = {"free": 50, "pro": 200, "team": 450, "enterprise": 900}
OVERAGE = {"pro": Decimal("0.0137"), "team": Decimal("0.0091"), "enterprise": Decimal("0.0043")}
"""Quotas that are soon used up, and prices whose cents have to be rounded."""


def check(storm):
    """Recount, ledger, counters, batches, meter and invoices, month by month; returns how many months."""
    rig, recount = storm.rig, storm.recount
    months = sorted(month for month, number in recount.units.items() if number)
    with tenant_scope(rig.tenant):
        ledger = dict(
            UsageEvent.objects.filter(kind="record", livemode=True)
            .values_list("period")
            .annotate(Sum("quantity"))
        )
        states = set(MeterBatch.objects.values_list("state", flat=True))
        told = dict(MeterBatch.objects.filter(state="sent").values_list("period").annotate(Sum("quantity")))
    assert states <= {"sent", "retracted"}
    assert {event.state for event in rig.events()} <= {"done", "kept"}
    assert rig.workers.broken == 0
    assert rig.plan == recount.plan
    customer = rig.row.customer_id
    lines = sorted(stripe_gateway.metered_lines(customer), key=lambda line: line.start)
    late = stripe_gateway.late_charges(customer)
    for month in months:
        units, over = recount.units[month], told[month] - recount.units[month]
        first, end = periods.bounds(month)
        of_month = [line for line in lines if first <= line.start < end]
        more = [charge for charge in late if charge.period == month]
        assert ledger[month] == units
        assert 0 <= over <= recount.back_late[month]
        assert stripe_gateway.usage_between(customer, first, end) == told[month]
        check_lines(rig, recount, month, of_month)
        assert sum(part.amount for part in (*of_month, *more)) == recount.cents(month)
    assert invoiced_usage(rig) == sum(recount.cents(month) for month in months)
    assert counters.compare().differences == []
    with rig.clock():
        found = reconcile.differences(months=len(months) + 2)
    assert all(one.told == one.metered and recount.back_late[one.period] for one in found)
    return len(months)


def check_lines(rig, recount, month, lines):
    """One for each plan that was in force, by its own price, leading to what was written meanwhile."""
    by_price = {plan.stripe_overage_price_id: plan for plan in rig.plans.values()}
    parts = [part for part in recount.written(month) if part[0] != FREE]
    assert [by_price[line.price_id].slug for line in lines] == [slug for slug, _ in parts]
    assert [line.amount for line in lines] == [
        cents(by_price[line.price_id], line.quantity) for line in lines
    ]
    with tenant_scope(rig.tenant):
        found = [sum(e.quantity for e in entries.of_line(line.start, line.end)) for line in lines]
    assert found == [number for _, number in parts]


def invoiced_usage(rig):
    """Cents on the customer's final invoices that are no plan's own price."""
    base = {plan.stripe_price_id for plan in rig.plans.values()}
    rows = rig.double.control("GET", "state")["rows"]["invoice"].values()
    return sum(
        line["amount"]
        for row in rows
        if row["status"] != "draft"
        for line in row["lines"]["data"]
        if line["pricing"]["price_details"]["price"] not in base
    )


@pytest.fixture
def rig(committed, double, impatient, plans_stay, tmp_path, monkeypatch):
    """Subscribed to a Pro with a small quota; two dearer plans are sold, too."""
    with ops_scope("tests"), transaction.atomic(using=OPS_ALIAS):
        plans = Plan.objects.using(OPS_ALIAS)
        plans.create(
            slug="team", name="Team", requests_per_minute=9_000, monthly_records=0, price=300, position=9
        )
        plans.filter(slug="enterprise").update(position=10)
        for slug, records in QUOTAS.items():
            price = OVERAGE.get(slug, 0)
            plans.filter(slug=slug).update(
                monthly_records=records, overage_price=price, overage_allowed=price > 0
            )
    # Events are received by the real clock, which the months of a storm leave behind.
    monkeypatch.setattr(stripe_events, "KEPT", timedelta(days=400))
    rig = SharedRig(double, tmp_path)
    rig.buy("pro")
    rig.deliver()
    yield rig
    with ops_scope("tests"):
        Plan.objects.using(OPS_ALIAS).filter(slug="team").delete()


@pytest.mark.chaos
def test_b1_after_a_short_storm_all_that_was_accepted_is_billed_once(rig):
    storm = Storm(rig, 4)
    storm.go_on(days=3)
    assert check(storm) >= 1
    assert rig.workers.killed >= 1


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(5))
def test_b1_after_months_of_storm_all_that_was_accepted_is_billed_once(rig, seed):
    began = time.monotonic()
    storm = Storm(rig, seed)
    storm.go_on(days=45)
    assert check(storm) >= 2
    assert set(FAULTS) <= set(storm.struck)
    assert rig.workers.killed >= 20
    hung = sum(number for kind, number in storm.struck.items() if kind.startswith("hang"))
    assert sum(1 for what in storm.did if " to " in what) >= 3
    units = storm.recount.units
    print(
        f"\nB1 seed {seed}: {units.total():,} records of {len(units)} months, {rig.workers.killed} workers killed, "
        f"{storm.struck.total():,} calls failed ({hung} by timeout), {len(rig.events())} events: "
        f"0 units and 0 cents off, in {time.monotonic() - began:.0f} s\n{dict(storm.did)}"
    )
