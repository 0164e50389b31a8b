"""What a month costs, counted by hand: who accepted what in which order, and which plan was in force at each moment.

Nothing of the product's is asked. Decision 0028: with each change of plan the records count anew, at the new plan's price.
"""

from collections import Counter, defaultdict
from datetime import date
from typing import Any

from tests.billing.usage import cents

FREE = "free"


class Recount:
    """`units`: records accepted less those given back, by month. `back_late`: of them, given back when Stripe's meter may
    not be told any more. Months are first days; parts are the plans of a month and the records in each, oldest first."""

    def __init__(self, plans, plan) -> None:
        self._plans = plans
        self.plan = plan
        self.units: Counter[date] = Counter()
        self.back_late: Counter[date] = Counter()
        self._parts: dict[date, list[list[Any]]] = defaultdict(list)

    def month(self, month):
        """A month begins, in the plan of now."""
        if not self._parts[month]:
            self._parts[month].append([self.plan, 0])

    def now_in(self, month, plan):
        """This plan is in force: from the month's first moment where nothing is known of the month yet."""
        if plan != self.plan and self._parts[month]:
            self._parts[month].append([plan, 0])
        self.plan = plan
        self.month(month)

    def count(self, month, number):
        """What becomes known after a month's end is of its last part."""
        self.month(month)
        self._parts[month][-1][1] += number
        self.units[month] += number

    def written(self, month):
        """(plan, records written while it was in force)."""
        return [tuple(part) for part in self._parts[month]]

    def used(self, month):
        """The same, where records given back are of the plans that had some: the newest first."""
        parts, owed = [], 0
        for plan, number in reversed(self.written(month)):
            owed += number
            parts.append((plan, max(0, owed)))
            owed = min(0, owed)
        assert owed == 0
        return parts[::-1]

    def cents(self, month):
        """Beside the plans' own prices."""
        return sum(cents(self._plans[plan], number) for plan, number in self.used(month) if plan != FREE)
