"""Usage that became known after its month's invoice was final: charged, or credited, with the next invoice.

What a month was charged is what Stripe has of it, the invoice's line and the items before; what it should have been is what
the ledger has. Only the difference is charged. So whatever was lost, or done twice, the next one to look puts right.
"""

import uuid
from datetime import UTC, date

import structlog
from django.db.models import Sum
from django.utils import timezone

from billing import agreed, entitlement, stripe_gateway
from billing.models import MeterBatch, Subscription, UsageEvent
from billing.periods import bounds, month_before
from billing.stripe_answers import LateCharge, MeteredLine
from tenants.scope import tenant_scope

_log = structlog.stdlib.get_logger("weir.metering")


def settle(tenant_id: uuid.UUID) -> list[LateCharge]:
    """Charge what the last two ended months differ in; returns what was charged.

    Call it outside any scope, again and again: what was charged is read first. A month counts once its invoice is
    final. Raises StripeAway, StripeRefused.
    """
    last = month_before(timezone.now().astimezone(UTC).date().replace(day=1))
    months = (month_before(last), last)
    with tenant_scope(tenant_id):
        row = Subscription.objects.exclude(metered_from=None).first()
        ledger = dict(
            UsageEvent.objects.filter(kind=UsageEvent.Kind.RECORD, livemode=True, period__in=months)
            .values_list("period")
            .annotate(Sum("quantity"))
        )
    if row is None:
        return []
    lines = stripe_gateway.metered_lines(row.customer_id)
    late = stripe_gateway.late_charges(row.customer_id)
    charged = []
    for period in months:
        found = touching(lines, period)
        before = [charge for charge in late if charge.period == period]
        records = agreed.billable(row, period, ledger.get(period, 0))
        if not found:
            _say_cut_short(row, lines, period, records)
            continue
        records -= _told_beside(tenant_id, period, found)
        if charge := _settle(row, found, before, period, records):
            charged.append(charge)
    return charged


def _told_beside(tenant_id: uuid.UUID, period: date, lines: list[MeteredLine]) -> int:
    """What the meter was told of moments that no line is of: used on a plan without a metered price, or between two
    subscriptions. No line bills it."""
    first, last = bounds(period)
    if any(line.start <= first and line.end >= last for line in lines):
        return 0
    with tenant_scope(tenant_id):
        found = MeterBatch.objects.filter(period=period, state=MeterBatch.State.SENT)
        for start, end in {(line.start, line.end) for line in lines}:
            found = found.exclude(at__gte=start, at__lt=end)
        return int(found.aggregate(n=Sum("quantity"))["n"] or 0)


def _say_cut_short(row: Subscription, lines: list[MeteredLine], period: date, records: int) -> None:
    """Stripe ends what is not paid, or is cancelled at once by an operator, without billing its last usage."""
    first, end = bounds(period)
    over = records - (row.price_includes or 0)
    billed = any(line.start < end and line.end > first for line in lines)
    if (
        row.status in entitlement.LIVE
        or row.period_end != end
        or row.price_includes is None
        or over <= 0
        or billed
    ):
        return
    _log.error(
        "usage_not_charged", tenant_id=str(row.tenant_id), period=f"{period:%Y-%m}", records=over, cents=None
    )


def touching(lines: list[MeteredLine], period: date) -> list[MeteredLine]:
    """The lines that bill usage of a month; none unless they reach its end: the rest is on no invoice yet, or on none."""
    first, end = bounds(period)
    found = [line for line in lines if line.start < end and line.end > first]
    return found if any(line.end == end for line in found) else []


def _settle(
    row: Subscription, lines: list[MeteredLine], before: list[LateCharge], period: date, records: int
) -> LateCharge | None:
    told = sum(line.quantity for line in lines) + sum(charge.records for charge in before)
    if told == records:
        return None
    if len({(line.invoice_id, line.price_id) for line in lines}) > 1:
        # Its price changed within the month: at which the rest is charged is for somebody to say.
        _log.error(
            "usage_not_charged",
            tenant_id=str(row.tenant_id),
            period=f"{period:%Y-%m}",
            records=records - told,
            cents=None,
        )
        return None
    rate = stripe_gateway.rate(lines[0].price_id)
    amount = (
        rate.cents(records) - sum(line.amount for line in lines) - sum(charge.amount for charge in before)
    )
    charge = LateCharge(period, records - told, amount)
    if amount == 0:
        return None
    about = {
        "tenant_id": str(row.tenant_id), "period": f"{period:%Y-%m}", "records": charge.records, "cents": amount,
    }  # fmt: skip
    if row.status not in (*entitlement.PAYING, *entitlement.OVERDUE):
        _log.error("usage_not_charged", **about)  # no invoice follows: somebody has to bill it
        return None
    stripe_gateway.charge_late(
        row.customer_id, row.subscription_id, charge, currency=rate.currency,
        text=f"{charge.records:+,} records of {period:%B %Y}, known after its invoice",
        # The same until it is there; another each day, as a key would repeat a saved 500.
        key=f"weir-late-{row.subscription_id}-{period}-{told}-{records}-{timezone.now():%Y%m%d}",
    )  # fmt: skip
    _log.warning("late_usage_charged", **about)
    return charge
