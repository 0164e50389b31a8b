"""The monthly partitions of the step history, by the time that is in a UUIDv7."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

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


def ensure(cursor: Any) -> list[str]:
    """Make the partitions from this month on that are missing, as the owner; returns their names.

    One way of doing so for migrate and for the hourly task: a function in the database, which rows in `step_default` do
    not stop, and a table that is too busy only for the months that need it. Nothing is made before it is there.
    """
    cursor.execute("SELECT to_regprocedure('public.weir_make_step_partitions(integer)') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return []
    cursor.execute("SELECT public.weir_make_step_partitions(%s)", [MONTHS_AHEAD])
    return list(cursor.fetchone()[0])


def out_of_time(cursor: Any, most: int = 1_000) -> int:
    """How many rows of the history, up to so many, say that they are older or younger than every partition.

    They are in `step_default`, where neither retention by months nor a new partition looks for them.
    """
    cursor.execute(
        """SELECT min(c.relname), max(c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'public.step'::regclass AND c.relname ~ '^step_[0-9]{4}_[0-9]{2}$'"""
    )
    oldest, newest = cursor.fetchone()
    if oldest is None:
        return 0
    first, _ = _month(oldest)
    _, after = _month(newest)
    cursor.execute(
        "SELECT count(*) FROM (SELECT 1 FROM step WHERE id < %s OR id >= %s LIMIT %s) x",
        [first_id_of(first), first_id_of(after), most],
    )
    return int(cursor.fetchone()[0])


def _month(name: str) -> tuple[datetime, datetime]:
    year, month = name.removeprefix("step_").split("_")
    return next(months(datetime(int(year), int(month), 1, tzinfo=UTC), 1))
