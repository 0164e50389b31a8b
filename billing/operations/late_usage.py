"""Usage that became known after its month's invoice was final: charged, or credited, with the next invoice.

What a month was charged is what Stripe has of it, the invoices' lines and the items before; what it should have been is
what the ledger has, each record at the price in force when it was written. Only the difference is charged. So whatever was
lost, or done twice, the next one to look puts right.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise

import structlog
from django.db.models import Count, Q, Sum
from django.utils import timezone

from billing import agreed, entitlement, stripe_gateway
from billing.models import MeterBatch, Subscription, UsageEvent
from billing.periods import bounds, month_before
from billing.stripe_answers import LateCharge, MeteredLine
from tenants.scope import tenant_scope

FINAL = timedelta(days=1)
"""After so long a month's invoices are no drafts any more."""
_log = structlog.stdlib.get_logger("weir.metering")


@dataclass(frozen=True, slots=True)
class Part:
    """The time in which one price was in force, and what it was charged: lines of the same days, one for each tier."""

    price_id: str
    start: datetime
    end: datetime
    quantity: int
    amount: int


def settle(tenant_id: uuid.UUID) -> list[LateCharge]:
    """Charge what the last two ended months differ in; returns what was charged.

    Call it outside any scope, again and again: what was charged is read first. A month counts once its invoice is
    final. Raises StripeAway, StripeRefused.
    """
    last = month_before(timezone.now().astimezone(UTC).date().replace(day=1))
    with tenant_scope(tenant_id):
        row = Subscription.objects.exclude(metered_from=None).first()
    if row is None:
        return []
    lines = stripe_gateway.metered_lines(row.customer_id)
    late = stripe_gateway.late_charges(row.customer_id)
    charged = []
    for period in (month_before(last), last):
        parts = parts_of(touching(lines, period))
        before = [charge for charge in late if charge.period == period]
        if not parts:
            _say_cut_short(row, lines, period)
        elif charge := _settle(row, parts, before, period):
            charged.append(charge)
    return charged


def _say_cut_short(row: Subscription, lines: list[MeteredLine], period: date) -> None:
    """Stripe ends what is not paid without billing its last usage, and what an operator ends at once before all is told."""
    first, end = bounds(period)
    if row.status in entitlement.LIVE or timezone.now() < end + FINAL:
        return
    parts = parts_of([line for line in lines if line.start < end and line.end > first])
    if parts:
        written = _written(row, parts, period, until=parts[-1].end)
        over = agreed.billable(row, period, max(0, sum(written))) - sum(part.quantity for part in parts)
        free = max(0, (row.price_includes or 0) - parts[-1].quantity)
    else:
        over = agreed.billable(row, period, sum(_written(row, [], period)))
        free = row.price_includes if row.period_end == end and row.price_includes is not None else over
    if over > free:
        _log.error(
            "usage_not_charged",
            tenant_id=str(row.tenant_id),
            period=f"{period:%Y-%m}",
            records=over - free,
            cents=None,
        )


def touching(lines: list[MeteredLine], period: date) -> list[MeteredLine]:
    """The lines that bill usage of a month; none unless they reach its end: the rest is on no invoice yet, or on none."""
    first, end = bounds(period)
    found = [line for line in lines if line.start < end and line.end > first]
    return found if any(line.end == end for line in found) else []


def parts_of(lines: list[MeteredLine]) -> list[Part]:
    """Oldest first."""

    def days_and_price(line: MeteredLine) -> tuple[datetime, datetime, str]:
        return line.start, line.end, line.price_id

    found = []
    for (start, end, price_id), same in groupby(sorted(lines, key=days_and_price), key=days_and_price):
        tiers = list(same)
        quantity, amount = sum(line.quantity for line in tiers), sum(line.amount for line in tiers)
        found.append(Part(price_id, start, end, quantity, amount))
    return found


def _settle(
    row: Subscription, parts: list[Part], before: list[LateCharge], period: date
) -> LateCharge | None:
    written = _written(row, parts, period)
    told = sum(part.quantity for part in parts) + sum(charge.records for charge in before)
    records = agreed.billable(row, period, max(0, sum(written)))
    if len(parts) == 1 and told == records:
        return None
    rates = {price_id: stripe_gateway.rate(price_id) for price_id in {part.price_id for part in parts}}
    should = sum(
        rates[part.price_id].cents(number)
        for part, number in zip(parts, shares(written, sum(written) - records), strict=True)
    )
    amount = should - sum(part.amount for part in parts) - sum(charge.amount for charge in before)
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
        row.customer_id, row.subscription_id, charge, currency=rates[parts[-1].price_id].currency,
        text=_text(charge),
        # The same until it is there; another each day, as a key would repeat a saved 500.
        key=f"weir-late-{row.subscription_id}-{period}-{told}-{records}-{amount}-{timezone.now():%Y%m%d}",
    )  # fmt: skip
    _log.warning("late_usage_charged", **about)
    return charge


def _written(
    row: Subscription, parts: list[Part], period: date, *, until: datetime | None = None
) -> list[int]:
    """A month's records by the part in which they were written, those after the last with it (or up to `until`); of no
    parts all of them.

    What was written between parts, on a plan without a metered price, or while there was no subscription, is with the next
    one where nothing was told meanwhile: then it was told in that. Else no line bills it.
    """
    entries = UsageEvent.objects.filter(kind=UsageEvent.Kind.RECORD, livemode=True, period=period)
    if until is not None:
        entries = entries.filter(created_at__lt=until)
    batches = MeterBatch.objects.filter(period=period, state=MeterBatch.State.SENT)
    total, first = Sum("quantity", default=0), bounds(period)[0]
    with tenant_scope(row.tenant_id):
        if not parts or (len(parts) == 1 and parts[0].start <= first):
            return [entries.aggregate(n=total)["n"]]
        cuts = [cut for part in parts for cut in (part.start, part.end)][:-1]
        by_cut = entries.aggregate(
            **{
                f"by_{n}": Sum("quantity", filter=Q(created_at__lt=cut), default=0)
                for n, cut in enumerate(cuts)
            },
            all=total,
        )
        gaps = enumerate(zip([first, *cuts[1::2]], cuts[::2], strict=True))
        told = batches.aggregate(
            **{f"gap_{n}": Count("id", filter=Q(at__gte=start, at__lt=end)) for n, (start, end) in gaps}
        )
    numbers = [after - before for before, after in pairwise([0, *by_cut.values()])]
    return [
        within + (0 if is_told else between)
        for between, within, is_told in zip(numbers[::2], numbers[1::2], told.values(), strict=True)
    ]


def shares(written: list[int], free: int) -> list[int]:
    """How many records each part is charged for. Records given back are the newest part's that has some; of `free` ones,
    which an agreement includes, the oldest has as many as it can."""
    found, owed = [], 0
    for number in reversed(written):
        found.append(max(0, number + owed))
        owed = min(0, number + owed)
    found.reverse()
    for place, number in enumerate(found):
        less = min(number, max(0, free))
        found[place], free = number - less, free - less
    return found


def _text(charge: LateCharge) -> str:
    if not charge.records:
        return f"Records of {charge.period:%B %Y}, each at the price of its day"
    return f"{charge.records:+,} records of {charge.period:%B %Y}, known after its invoice"
