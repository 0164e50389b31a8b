"""Whether Stripe's meter has what the ledger has, to the unit: nothing here changes anything."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, timedelta

from django.db.models import Max, Sum
from django.utils import timezone

from billing import agreed, periods, stripe_gateway
from billing.errors import StripeRefused
from billing.models import MeterBatch, Subscription, UsageEvent
from billing.operations import metering
from tenants.scope import tenant_scope

SLOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Difference:
    """A tenant's month: the ledger's records that are billed, those told in batches that arrived, what the meter has."""

    tenant_id: uuid.UUID
    period: date
    ledger: int
    told: int
    metered: int | None
    """None: Stripe does not say, of a customer that it does not know any more, say."""
    quiet: bool = True
    """Nothing was told within the last hour: what differs does not come of Stripe's meter being slow."""

    @property
    def off(self) -> int:
        """Positive: Stripe has too few."""
        return self.ledger - (self.metered or 0)


def differences(months: int = 2, *, only: date | None = None) -> list[Difference]:
    """Every tenant and month, of the last so many or `only` that one, in which the three are not equal; what is under way
    counts as a difference. Asks Stripe once for each; raises StripeAway. Empty while billing is off."""
    if not stripe_gateway.enabled():
        return []
    last = only or timezone.now().astimezone(UTC).date().replace(day=1)
    first = last
    for _ in range(0 if only else months - 1):
        first = periods.month_before(first)
    found = []
    for tenant_id in metering.metered_tenants():
        rows = _rows(tenant_id, first, last)
        found += [row for row in rows if len({row.ledger, row.told, row.metered}) > 1]
    return found


def _rows(tenant_id: uuid.UUID, first: date, last: date) -> list[Difference]:
    with tenant_scope(tenant_id):
        row = Subscription.objects.exclude(metered_from=None).first()
        if row is None:
            return []
        ledger = dict(
            UsageEvent.objects.filter(kind="record", livemode=True, period__range=(first, last))
            .values_list("period")
            .annotate(Sum("quantity"))
        )
        batches = MeterBatch.objects.filter(period__range=(first, last))
        sent_at = batches.aggregate(at=Max("sent_at"))["at"]
        told = dict(
            batches.filter(state__in=[MeterBatch.State.SENT, MeterBatch.State.RETRACT])
            .values_list("period")
            .annotate(Sum("quantity"))
        )
    return [
        Difference(
            tenant_id, period, agreed.billable(row, period, ledger.get(period, 0)), told.get(period, 0),
            _metered(row.customer_id, period), quiet=sent_at is None or timezone.now() - sent_at > SLOW,
        )
        for period in periods.months(max(first, row.metered_from), last)
    ]  # fmt: skip


def _metered(customer_id: str, period: date) -> int | None:
    try:
        return stripe_gateway.usage_between(customer_id, *periods.bounds(period))
    except StripeRefused:
        return None
