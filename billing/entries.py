"""From an invoice's line to the entries of the ledger that it bills."""

from datetime import datetime, timedelta

from django.db.models import Exists, Q

from billing.models import MeterBatch, Subscription, UsageEvent


def of_line(start: datetime, end: datetime) -> list[UsageEvent]:
    """The open tenant's records that a line bills, by its period (UTC): Stripe's periods end with calendar months, so a
    period that begins with the tenant's first subscription has the whole month's records, which quotas count too, unless
    some were told before; where another price cut the month in two, entries are in the part in which they were written.
    One query."""
    first, last = start.date().replace(day=1), (end - timedelta(seconds=1)).date().replace(day=1)
    found = UsageEvent.objects.filter(
        kind=UsageEvent.Kind.RECORD, livemode=True, period__gte=first, period__lte=last
    )
    if not _is_turn(end):
        found = found.filter(created_at__lt=end)
    if not _is_turn(start):
        before = MeterBatch.objects.filter(state=MeterBatch.State.SENT, period=first, at__lt=start)
        begun = Subscription.objects.filter(metered_from=first, began_at__gte=start)
        found = found.filter(Q(created_at__gte=start) | (~Exists(before) & Exists(begun)))
    return list(found.order_by("id"))


def _is_turn(moment: datetime) -> bool:
    return moment == moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
