"""B1: Stripe fails in every way at once while workers are killed, and in the end all that was accepted is billed, once."""

import random
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Sum

from billing import entries, periods, reconcile, stripe_gateway
from billing.models import MeterBatch, Plan, UsageEvent
from billing.operations import late_usage, metering, stripe_events
from billing.operations import reconcile as counters
from tenants.ids import uuid7
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tests.billing.stripe_rig import accept
from tests.billing.usage import cents
from tests.billing.workers import SharedRig
from tests.stripe_double import DAY

HOUR = 3_600
INCLUDED, OVERAGE = 200, Decimal("0.0137")
"""A quota that is soon used up, and a price whose cents have to be rounded."""
WORKERS = 2
FAULTS = {
    "error_before": 0.03, "error_after": 0.1, "rate_limit": 0.02, "lost_before": 0.03, "lost_after": 0.04,
    "hang_before": 0.03, "hang_after": 0.04, "hang_late": 0.03,
}  # fmt: skip
OUTAGE = timedelta(hours=30)


class Storm:
    """`recount`: how many records callers were told were accepted, less those given back, by month."""

    def __init__(self, rig, seed) -> None:
        self.rig = rig
        self.chance = random.Random(seed)
        self.recount: Counter[date] = Counter()
        self.struck: Counter[str] = Counter()
        self._fresh: list[Any] = []
        self._deliveries: list[Any] = []
        self._outage_until: datetime | None = None

    # --- What happens
    def go_on(self, *, days):
        """So many days from the fifth of the next month, whatever day it is; then to the end of the month and its invoice.
        Stripe is away for long in the beginning, and whenever it happens."""
        self.rig.advance(int((_month_end(self.rig) - self.rig.now()).total_seconds()) + 4 * DAY)
        self.rig.deliver()
        end = self.rig.now() + timedelta(days=days)
        self._trouble()
        self._accept(20)
        with self.rig.workers.running(WORKERS):
            self._hours()
            self._outage()
            while self.rig.now() < end:
                if _month_end(self.rig) - self.rig.now() < timedelta(hours=16):
                    self._turn_of_the_month()
                self._hours()
            self._peace()
            self.rig.advance(int((_month_end(self.rig) - self.rig.now()).total_seconds()) - HOUR)
            self._turn_of_the_month()
            for _ in range(8):
                self._hear(all_of_it=True)
                self.rig.advance(7 * HOUR)
                self._wait()
        with self.rig.clock():
            late_usage.settle(self.rig.tenant.pk)

    def _hours(self):
        self._accept(self.chance.choice([0, 3, 20, 60]))
        if self.chance.random() < 0.15 and self._outage_until is None:
            self._give_back(self.chance.randint(1, 10))
        if self.chance.random() < 0.1:
            self.rig.double.control("POST", "forget_keys", {})
        if self.chance.random() < 0.04 and self._may_fail_for_long():
            self._outage()
        self._hear()
        time.sleep(self.chance.uniform(0.0, 0.06))
        if self.chance.random() < 0.4:
            self.rig.workers.kill(self.chance)
        self.rig.advance(self.chance.randint(600, 12 * HOUR))
        if self._outage_until and self.rig.now() > self._outage_until:
            self._trouble()

    def _turn_of_the_month(self):
        """Minute by minute, until all of it is told: an invoice is a draft for one hour. Workers are killed here, too."""
        end, month = _month_end(self.rig), _month(self.rig)
        self.rig.advance(max(0, int((end - self.rig.now()).total_seconds()) - 1_200))
        self._accept(30)
        self.rig.advance(1_201)
        self._accept(10, month)  # begun before midnight
        self._minutes(55)
        self.rig.advance(2 * HOUR)
        self._hear()
        self._accept(9, month)  # after its invoice
        self._give_back(4)
        self._fresh.clear()

    def _minutes(self, number, step=1):
        """Until all of it is told and taken back, for so many minutes at most."""
        for _ in range(0, number, step):
            if self._wait() and not self._waiting():
                return
            if self.chance.random() < 0.3:
                self.rig.workers.kill(self.chance)
            self.rig.advance(60 * step)

    def _accept(self, number, month=None):
        """One transaction: an entry for each record, and the count. Some come to nothing."""
        month = month or _month(self.rig)
        made = [uuid7() for _ in range(number)]
        lost = self.chance.random() < 0.1
        accept(self.rig.tenant, [("record", record, 1) for record in made], month, lost=lost)
        if not lost:
            self.recount[month] += number
            self._fresh = [f for f in self._fresh if self.rig.now() - f[2] < timedelta(hours=12)]
            self._fresh += [(record, month, self.rig.now()) for record in made]

    def _give_back(self, number):
        """What was told of them can be taken back within a day, so there are hours for it."""
        for record, month, _ in self.chance.sample(self._fresh, min(number, len(self._fresh))):
            self._fresh = [f for f in self._fresh if f[0] != record]
            accept(self.rig.tenant, [("back", record, -1)], month)
            self.recount[month] -= 1
        self._minutes(200, step=10)

    def _hear(self, *, all_of_it=False):
        """Deliveries in any order, a fifth of them twice, half of them later."""
        # Signed anew where they wait for long: a signature is good for five minutes.
        waiting, self._deliveries = self._deliveries, []
        for delivery in waiting:
            self.rig.double.control("POST", "resend", {"event": delivery["event"]})
        self._deliveries = self.rig.fetch()
        self.chance.shuffle(self._deliveries)
        half = 0 if all_of_it else len(self._deliveries) // 2
        now, self._deliveries = self._deliveries[half:], self._deliveries[:half]
        again = [delivery for delivery in now if self.chance.random() < 0.2]
        for delivery in now + again:
            assert self.rig.post(delivery).status_code == 202
        if self.chance.random() < 0.2 and self.rig.sent:
            old = self.chance.choice(self.rig.sent)
            self.rig.double.control("POST", "resend", {"event": old["event"]})

    # --- What goes wrong
    def _trouble(self):
        self._peace()
        for kind, rate in FAULTS.items():
            self.rig.double.fault(kind, rate=rate, path="/v1/")

    def _peace(self):
        self._outage_until = None
        self.struck.update(self.rig.double.control("GET", "state")["struck"])
        self.rig.double.control("DELETE", "faults")

    def _may_fail_for_long(self):
        return self._outage_until is None and _month_end(self.rig) - self.rig.now() > OUTAGE + timedelta(
            days=2
        )

    def _outage(self):
        """Nothing is answered for longer than Stripe knows an identifier; half of it is done all the same."""
        self._outage_until = self.rig.now() + OUTAGE
        self.rig.double.fault("lost_after", rate=0.5, path="/v1/")
        self.rig.double.fault("lost_before", path="/v1/")

    # --- What the workers have left to do
    def _wait(self, seconds=10.0):
        """Until nothing is due at this moment; whether it came to that."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self._untold() and not self._waiting(due_at__lte=self.rig.now()) and not self._unheard():
                return True
            time.sleep(0.02)
        return False

    def _untold(self):
        with tenant_scope(self.rig.tenant):
            told = dict(
                MeterBatch.objects.filter(state__in=metering.COUNTED)
                .values_list("period")
                .annotate(Sum("quantity"))
            )
        return any(number > told.get(month, 0) for month, number in self.recount.items())

    def _unheard(self):
        with self.rig.clock():
            return stripe_events.due()

    def _waiting(self, **narrowed):
        with ops_scope("tests"):
            found = MeterBatch.objects.using(OPS_ALIAS).filter(
                state__in=["due", "unsure", "retract"], **narrowed
            )
            return found.count()


def _month(rig):
    return rig.now().astimezone(UTC).date().replace(day=1)


def _month_end(rig):
    return periods.bounds(_month(rig))[1]


def check(storm):
    """Recount, ledger, counters, batches, meter and invoices, month by month; returns how many months."""
    rig, plan = storm.rig, storm.rig.plans["pro"]
    months = sorted(month for month, number in storm.recount.items() if number)
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
    customer = rig.row.customer_id
    lines = {line.start.date().replace(day=1): line for line in stripe_gateway.metered_lines(customer)}
    rows = rig.double.control("GET", "state")["rows"]
    invoices = {row["id"]: row for row in rows["invoice"].values()}
    items = rows.get("invoiceitem", {}).values()
    late = stripe_gateway.late_charges(customer)
    for month in months:
        units = storm.recount[month]
        line = lines[month]
        more = [charge for charge in late if charge.period == month]
        assert (ledger[month], told[month]) == (units, units)
        assert stripe_gateway.usage_between(customer, *periods.bounds(month)) == units
        assert line.quantity + sum(charge.records for charge in more) == units
        assert line.amount + sum(charge.amount for charge in more) == cents(plan, units)
        assert line.amount == cents(plan, line.quantity)
        others = sum(item["amount"] for item in items if item["invoice"] == line.invoice_id)
        assert invoices[line.invoice_id]["total"] == plan.price * 100 + line.amount + others
        with tenant_scope(rig.tenant):
            assert sum(entry.quantity for entry in entries.of_line(line.start, line.end)) == units
    assert sum(part.amount for part in (*lines.values(), *late)) == sum(
        cents(plan, storm.recount[m]) for m in months
    )
    assert len(stripe_gateway.metered_lines(customer)) == len(lines)
    assert counters.compare().differences == []
    with rig.clock():
        assert reconcile.differences(months=len(months) + 1) == []
    return len(months)


@pytest.fixture
def rig(committed, double, impatient, tmp_path, monkeypatch):
    """Subscribed to a Pro with a small quota."""
    before = Plan.objects.filter(slug="pro").values("monthly_records", "overage_price").get()
    _edit_pro(monthly_records=INCLUDED, overage_price=OVERAGE)
    # Events are received by the real clock, which the months of a storm leave behind.
    monkeypatch.setattr(stripe_events, "KEPT", timedelta(days=400))
    rig = SharedRig(double, tmp_path)
    rig.buy("pro")
    rig.deliver()
    yield rig
    _edit_pro(**before)


def _edit_pro(**fields):
    with ops_scope("tests"), transaction.atomic(using=OPS_ALIAS):
        Plan.objects.using(OPS_ALIAS).filter(slug="pro").update(**fields)


@pytest.mark.chaos
def test_b1_after_a_short_storm_all_that_was_accepted_is_billed_once(rig):
    storm = Storm(rig, 4)
    storm.go_on(days=4)
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
    print(
        f"\nB1 seed {seed}: {storm.recount.total():,} records of {len(storm.recount)} months, {rig.workers.killed} workers "
        f"killed, {storm.struck.total():,} calls failed ({hung} by timeout), {len(rig.events())} events: "
        f"0 units and 0 cents off, in {time.monotonic() - began:.0f} s"
    )
