"""A tenant's weeks in which Stripe fails in every way at once, workers are killed, and the plan is changed meanwhile."""

import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Sum

from billing import periods
from billing.models import MeterBatch
from billing.operations import late_usage, metering, stripe_events
from tenants.errors import WeirError
from tenants.ids import uuid7
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tests.billing.recount import FREE, Recount
from tests.billing.stripe_rig import accept
from tests.stripe_double import DAY

HOUR = 3_600
WORKERS = 2
FAULTS = {
    "error_before": 0.03, "error_after": 0.1, "rate_limit": 0.02, "lost_before": 0.03, "lost_after": 0.04,
    "hang_before": 0.03, "hang_after": 0.04, "hang_late": 0.03,
}  # fmt: skip
OUTAGE = timedelta(hours=30)


PLANS = ("pro", "team", "enterprise")


class Storm:
    """`did`: what the tenant did, how often; `struck`: what Stripe failed in."""

    def __init__(self, rig, seed) -> None:
        self.rig = rig
        self.chance = random.Random(seed)
        self.recount = Recount(rig.plans, rig.plan)
        self.recount.month(_month(rig))
        self.struck: Counter[str] = Counter()
        self.did: Counter[str] = Counter()
        self._records: list[Any] = []
        self._deliveries: list[Any] = []
        self._outage_until: datetime | None = None
        acts = [self._buy, self._buy, self._cancel, self._keep, self._give_back_late, self._accept_late]
        self._acts = self.chance.sample(acts, len(acts))

    # --- What happens
    def go_on(self, *, days):
        """So many days from the fifth of the next month, whatever day it is; then to the end of the month and its invoice.
        Stripe is away for long in the beginning, and whenever it happens."""
        self._begin()
        end = self.rig.now() + timedelta(days=days)
        self._trouble()
        self._accept(20)
        with self.rig.workers.running(WORKERS):
            self._hours()
            self._outage()
            while self.rig.now() < end:
                if _month_end(self.rig) - self.rig.now() < timedelta(hours=18):
                    self._turn_of_the_month()
                self._hours()
            self._peace()
            self._pay()
            self.rig.advance(int((_month_end(self.rig) - self.rig.now()).total_seconds()) - HOUR)
            self._turn_of_the_month()
            self._settle_down()

    def _begin(self):
        self.rig.advance(int((_month_end(self.rig) - self.rig.now()).total_seconds()) + 4 * DAY)
        self.rig.deliver()
        self._look()

    def _settle_down(self):
        """All events are heard, what is late is charged, and the invoice with it is there."""
        for _ in range(8):
            self._hear(all_of_it=True)
            self.rig.advance(7 * HOUR)
            self._wait()
        self._pay()
        with self.rig.clock():
            while late_usage.settle(self.rig.tenant.pk):
                pass
        self.rig.advance(int((_month_end(self.rig) - self.rig.now()).total_seconds()) + 2 * HOUR)
        self._look()
        self._hear(all_of_it=True)
        for _ in range(4):  # what a killed worker had is waited for
            self._wait()
            self.rig.advance(HOUR)

    def _pay(self):
        """Who has cancelled pays again: what is late is charged with a next invoice."""
        while self._in_force() == FREE or self.rig.row.status == "canceled":
            self._hear(all_of_it=True)
            self._wait()
            self._buy()
        self._keep()

    def _hours(self):
        self._accept(self.chance.choice([0, 3, 20, 60]))
        if self._outage_until is None:
            if self.chance.random() < 0.15:
                self._give_back(self.chance.randint(1, 10))
            if self._acts:
                self._acts.pop()()
            elif self.chance.random() < 0.3:
                acts = [
                    self._buy,
                    self._buy,
                    self._cancel,
                    self._keep,
                    self._give_back_late,
                    self._accept_late,
                ]
                self.chance.choice(acts)()
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
        self._look()
        self._accept(10, month)  # begun before midnight
        if self.chance.random() < 0.4:
            self._buy()
        self._minutes(55)
        self.rig.advance(2 * HOUR)
        self._hear()
        self._accept(9, month)  # after its invoice
        self._give_back(4)

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
        lost, now = self.chance.random() < 0.1, self.rig.now()
        accept(self.rig.tenant, [("record", record, 1) for record in made], month, lost=lost, at=now)
        if not lost:
            self.recount.count(month, number)
            self._records += [(record, month, now, self.recount.plan) for record in made]

    def _accept_late(self):
        """Records of the last month, whenever."""
        self.did["accepted late"] += 1
        self._accept(self.chance.randint(1, 30), periods.month_before(_month(self.rig)))

    def _give_back(self, number, *, late=False):
        """What was told of them can be taken back within a day, at the same price, so there are hours for it."""
        now, first = self.rig.now(), periods.month_before(_month(self.rig))
        able = [r for r in self._records if r[1] >= first and (now - r[2] > timedelta(hours=12)) == late]
        chosen = self.chance.sample(able, min(number, len(able)))
        self._records = [r for r in self._records if r not in chosen]
        for record, month, _, plan in chosen:
            accept(self.rig.tenant, [("back", record, -1)], month, at=now)
            self.recount.count(month, -1)
            if late or plan != self.recount.plan:
                self.recount.back_late[month] += 1
        if chosen and not late:
            self._minutes(200, step=10)
        return len(chosen)

    def _give_back_late(self):
        self.did["given back late"] += self._give_back(self.chance.randint(1, 40), late=True)

    # --- What the tenant does with its plan
    def _buy(self):
        """Choose a plan: again, where Stripe does not know all usage yet, and not where a rule is against it."""
        was = self._in_force()
        wanted = self.chance.choice([plan for plan in PLANS if plan != was])
        for _ in range(6 if was != FREE or self._free_ones_are_told() else 0):
            self.rig.advance(2)
            try:
                self.rig.buy(wanted)
            except WeirError as error:
                self.did[type(error).__name__] += 1
            time.sleep(0.05)  # for what is done after nobody waits for it
            self.rig.advance(2)
            if self._look() == wanted:
                break
            self._minutes(4)
        if was != self.recount.plan:
            self.did[f"{was} to {self.recount.plan}"] += 1

    def _free_ones_are_told(self):
        """What was used without a subscription is told of minutes that are over: no line of the next one bills it."""
        for _ in range(10):
            if self._wait() and not self._untold():
                self.rig.advance(300)
                return True
            self.rig.advance(60)
        return False

    def _cancel(self):
        self._portal("cancel")

    def _keep(self):
        self._portal("keep")

    def _portal(self, act):
        try:
            self.rig.portal(act=act)
            self.did[act] += 1
        except WeirError as error:
            self.did[type(error).__name__] += 1

    def _look(self):
        """Which plan is in force at Stripe."""
        self.recount.now_in(_month(self.rig), plan := self._in_force())
        return plan

    def _in_force(self):
        rows = self.rig.double.control("GET", "state")["rows"]
        live = [row for row in rows["subscription"].values() if row["status"] != "canceled"]
        assert len(live) <= 1
        return next(
            (p for row in live for item in row["items"]["data"] if (p := item["price"]["metadata"]["plan"])),
            FREE,
        )

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
        return any(number > told.get(month, 0) for month, number in self.recount.units.items())

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
