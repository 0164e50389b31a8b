"""The monthly partitions of the step history, by the time that is in a UUIDv7."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tenants.rls import partition_statements

MONTHS_AHEAD = 12


def first_id_of(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7-ordered id of this moment: 48 bits of milliseconds, the rest zero."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def months(start: datetime, count: int) -> Iterator[tuple[datetime, datetime]]:
    """(first moment, first moment of the next) of `count` calendar months from `start` on, in UTC."""
    year, month = start.year, start.month
    for _ in range(count):
        following = (year + month // 12, month % 12 + 1)
        yield datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)
        year, month = following


def ensure(cursor: Any, now: datetime) -> list[str]:
    """Make the partitions from this month on that are missing. Must run as the owner; returns their names.

    Rows are reached through the parent, whose policies apply; by itself a partition is open to dumps alone.
    """
    cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'step\\_%%' AND relispartition")
    present = {row[0] for row in cursor.fetchall()}
    made = []
    for first, following in months(now, MONTHS_AHEAD):
        name = f"step_{first:%Y_%m}"
        if name in present:
            continue
        cursor.execute(
            f"CREATE TABLE {name} PARTITION OF step FOR VALUES FROM ('{first_id_of(first)}') "
            f"TO ('{first_id_of(following)}')"
        )
        for statement in partition_statements(name):
            cursor.execute(statement)
        made.append(name)
    return made
