"""Whether Stripe's meter has what the ledger has, to the unit: nothing here changes anything."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, timedelta

from django.db.models import Max, Sum
from django.utils import timezone

from billing import periods, stripe_gateway
from billing.models import MeterBatch, Subscription, UsageEvent
from billing.operations import metering
from tenants.scope import tenant_scope

SLOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Difference:
    """A tenant's month: the ledger's records, those told in batches that arrived, and what Stripe's meter has."""

    tenant_id: uuid.UUID
    period: date
    ledger: int
    told: int
    metered: int
    quiet: bool = True
    """Nothing was told within the last hour: what differs does not come of Stripe's meter being slow."""

    @property
    def off(self) -> int:
        """Positive: Stripe has too few."""
        return self.ledger - self.metered


def differences(months: int = 2) -> list[Difference]:
    """Every tenant and month, of the last so many, in which the three are not equal; what is under way counts as a
    difference. Asks Stripe once for each; raises StripeAway. Empty while billing is off."""
    if not stripe_gateway.enabled():
        return []
    found = []
    for tenant_id in metering.metered_tenants():
        found += [row for row in _rows(tenant_id, months) if len({row.ledger, row.told, row.metered}) > 1]
    return found


def _rows(tenant_id: uuid.UUID, months: int) -> list[Difference]:
    this = timezone.now().astimezone(UTC).date().replace(day=1)
    first = this
    for _ in range(months - 1):
        first = periods.month_before(first)
    with tenant_scope(tenant_id):
        row = Subscription.objects.exclude(metered_from=None).first()
        if row is None:
            return []
        ledger = dict(
            UsageEvent.objects.filter(kind="record", livemode=True, period__gte=first)
            .values_list("period")
            .annotate(Sum("quantity"))
        )
        last = MeterBatch.objects.filter(period__gte=first).aggregate(at=Max("sent_at"))["at"]
        told = dict(
            MeterBatch.objects.filter(
                state__in=[MeterBatch.State.SENT, MeterBatch.State.RETRACT], period__gte=first
            )
            .values_list("period")
            .annotate(Sum("quantity"))
        )
    return [
        Difference(
            tenant_id, period, ledger.get(period, 0), told.get(period, 0),
            stripe_gateway.usage_between(row.customer_id, *periods.bounds(period)),
            quiet=last is None or timezone.now() - last > SLOW,
        )
        for period in periods.months(max(first, row.metered_from), this)
    ]  # fmt: skip
