"""Calendar months (UTC), which quotas, batches and invoices are of: a period is a month's first day."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta


def months(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first = (first + timedelta(days=32)).replace(day=1)


def month_before(period: date) -> date:
    return (period - timedelta(days=1)).replace(day=1)


def bounds(period: date) -> tuple[datetime, datetime]:
    """A month's first moment, and the next one's; UTC."""
    following = (period + timedelta(days=32)).replace(day=1)
    return (
        datetime(period.year, period.month, 1, tzinfo=UTC), datetime(following.year, following.month, 1, tzinfo=UTC),
    )  # fmt: skip
