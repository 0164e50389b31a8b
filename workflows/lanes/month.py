"""The tenant's monthly limit inside a flush: the month's row is locked first, and written last.

A call counts in the month in which it was stamped, by the database's clock, whenever its answer comes; what it was booked
at, in doubt, is taken back from that month too, when a later call tells. Tenants without a limit have no such row, and
none of this costs them a statement.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any

from tenants.ids import uuid7
from workflows.lanes import book
from workflows.lanes.work import Work


class Month:
    """What a tenant's share of a transaction changes in its months. `limit` None: nothing is counted."""

    def __init__(self, cursor: Any, tenant_id: uuid.UUID, limit: int | None, today: date) -> None:
        self.cursor, self.tenant_id, self.limit, self.today = cursor, tenant_id, limit, today
        self._used = 0
        self._changes: dict[date, Counter[str]] = defaultdict(Counter)

    def lock(self, works: Iterable[Work], others: Iterable[date] = ()) -> None:
        """Lock the rows that this transaction may change, of these works and `others`; the present month's for certain."""
        if self.limit is None:
            return
        months = sorted({self.today, *(work.month for work in works if work.month), *others})
        found = self._lock(months)
        if self.today not in found:
            self.cursor.execute(
                """INSERT INTO credit_month (id, tenant_id, month, spent, reserved)
                   SELECT %s, %s, %s::date, coalesce(sum(credits), 0), 0 FROM billing_usageevent
                   WHERE tenant_id = %s AND period = %s::date AND kind = 'attempt' AND livemode
                   ON CONFLICT (tenant_id, month) DO NOTHING""",
                [uuid7(), self.tenant_id, self.today, self.tenant_id, self.today],
            )
            found = self._lock(months)
        self._used = found[self.today]

    def counts(self, work: Work) -> bool:
        """Whether the limit holds for this work: live mode alone."""
        return self.limit is not None and work.run.livemode

    def move(self, work: Work, *, spent: int = 0, reserved: int = 0) -> None:
        """A call of this work was reserved, released or paid for (thousandths)."""
        if self.counts(work):
            self.move_in(work.month or self.today, spent=spent, reserved=reserved)

    def move_in(self, month: date, *, spent: int = 0, reserved: int = 0) -> None:
        if self.limit is not None:
            self._changes[month]["spent"] += spent
            self._changes[month]["reserved"] += reserved

    def room(self) -> int:
        """What is left of the limit, with what this transaction has done so far."""
        assert self.limit is not None
        now = self._changes[self.today]
        return self.limit - self._used - now["spent"] - now["reserved"]

    def write(self) -> None:
        months = sorted(month for month, change in self._changes.items() if any(change.values()))
        if not months:
            return
        self.cursor.execute(
            """UPDATE credit_month m SET spent = m.spent + t.spent, reserved = m.reserved + t.reserved
               FROM unnest(%s::date[], %s::bigint[], %s::bigint[]) t(month, spent, reserved)
               WHERE m.tenant_id = %s AND m.month = t.month""",
            [
                [month.isoformat() for month in months],
                [self._changes[month]["spent"] for month in months],
                [self._changes[month]["reserved"] for month in months],
                self.tenant_id,
            ],
        )

    def _lock(self, months: list[date]) -> dict[date, int]:
        return dict(
            book.rows(
                self.cursor,
                """SELECT month, spent + reserved FROM credit_month WHERE tenant_id = %s AND month = ANY(%s::date[])
                   ORDER BY month FOR UPDATE""",
                [self.tenant_id, [month.isoformat() for month in months]],
            )
        )
