"""From an invoice's line to the entries of the ledger that it bills."""

from datetime import datetime, timedelta

from billing.models import UsageEvent


def of_line(start: datetime, end: datetime) -> list[UsageEvent]:
    """The open tenant's records that a line bills, by its period (UTC): Stripe's periods end with calendar months, so a
    period that begins within a month has the whole month's records, which quotas count too. One query."""
    first, last = start.date().replace(day=1), (end - timedelta(seconds=1)).date().replace(day=1)
    found = UsageEvent.objects.filter(
        kind=UsageEvent.Kind.RECORD, livemode=True, period__gte=first, period__lte=last
    )
    return list(found.order_by("id"))
