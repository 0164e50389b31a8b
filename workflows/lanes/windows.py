"""The windows of a lane, one counter each. Pure; times are seconds of one monotonic clock.

A log holds when the calls of one group left the machine. Windows of up to EXACT_LIMIT starts read it: asking costs one
look at one entry, noting a start appends to it. Larger or longer windows are counted in buckets, rounded up.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

GUARD_SHARE, GUARD_MAX, GUARD_MIN = 0.02, 0.05, 0.015
EXACT_LIMIT, EXACT_PERIOD_S = 2_000, 3_600.0
BUCKETS = 240
# Only short windows are spread: nobody wants 2,000 a day to mean one every 43 seconds.
SPREAD_PERIOD_S = 60.0
# Each start keeps at least this share of the even distance to the one before; the rest is slack for late timers.
SPREAD = 0.9
# A start that is no later than this does not put off the ones after it: timers of a millisecond must not cost a rate.
CATCH_UP_S = 0.005


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """At most `rate` starts in any `period` seconds, of one operation or (group "") of all."""

    rate: int
    period: float
    group: str = ""

    @property
    def guard(self) -> float:
        return max(GUARD_MIN, min(self.period * GUARD_SHARE, GUARD_MAX))

    @property
    def key(self) -> str:
        return f"{self.period:g}:{self.group}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "WindowLimit":
        return cls(int(data["rate"]), float(data["period"]), data.get("group", ""))


class StartLog:
    """When the calls of one group left, in order of time: at least the last EXACT_LIMIT of them.

    `unsent` counts calls that were started and have not left yet; whenever they do, they are counted by then.
    """

    __slots__ = ("last", "times", "unsent")

    def __init__(self, times: Iterable[float] = ()) -> None:
        self.times = array("d", times)
        self.unsent = 0
        self.last = -inf  # when the last call was started

    def add(self, at: float, count: int = 1) -> None:
        times = self.times
        if times and at < times[-1]:
            at = times[-1]
        if count == 1:
            times.append(at)
        else:
            times.extend([at] * count)
        if len(times) > 2 * EXACT_LIMIT:
            del times[:-EXACT_LIMIT]

    def count_since(self, since: float) -> int:
        return len(self.times) - bisect_right(self.times, since)


class Buckets:
    """Starts per bucket; each counts as if it came at its bucket's end, so this errs on the safe side."""

    __slots__ = ("entries", "period", "total", "width")

    def __init__(self, period: float, number: int = BUCKETS) -> None:
        self.period, self.width = period, period / number
        self.entries: deque[list[float]] = deque()
        self.total = 0

    def add(self, at: float, count: int = 1) -> None:
        self.put((int(at / self.width) + 1) * self.width, count)
        self.expire(at - self.period - 2 * self.width)

    def put(self, end: float, count: int) -> None:
        """Count starts that came by `end` at the latest, later than what is counted already."""
        if self.entries and end <= self.entries[-1][0]:
            self.entries[-1][1] += count
        else:
            self.entries.append([end, count])
        self.total += count

    def expire(self, until: float) -> None:
        """Forget what came to its end by then."""
        entries = self.entries
        while entries and entries[0][0] <= until:
            self.total -= int(entries.popleft()[1])

    def count_since(self, since: float) -> int:
        return sum(int(count) for end, count in self.entries if end > since)


class Counter:
    """One window over its group's log. `scale` below 1 allows less than the limit."""

    __slots__ = ("allowed", "buckets", "due", "floor", "gap", "limit", "log", "span")

    def __init__(self, limit: WindowLimit, log: StartLog) -> None:
        self.limit, self.log = limit, log
        self.span = limit.period + limit.guard
        exact = limit.rate <= EXACT_LIMIT and limit.period <= EXACT_PERIOD_S
        self.buckets = None if exact else Buckets(limit.period)
        self.due = -inf  # when the next start has its place in the spread
        self.floor = -inf  # nothing starts before this: what went on up to a period before it is not known
        self.scale(1.0)

    def scale(self, pace: float) -> None:
        self.allowed = max(1, int(self.limit.rate * pace))
        short = self.limit.period <= SPREAD_PERIOD_S
        self.gap = SPREAD * self.span / (self.limit.rate * pace) if short else 0.0

    def earliest(self, now: float) -> float:
        """When the next call may start; infinite while it depends on calls that have not left yet."""
        log = self.log
        free = self.allowed - log.unsent
        if free <= 0:
            return inf
        at = max(self.floor, self.due)
        if self.buckets is not None:
            return max(at, self._bucketed(now, free))
        index = len(log.times) - free
        return max(at, log.times[index] + self.span) if index >= 0 else at

    def free(self, now: float) -> int:
        """How many calls may start now, at once."""
        if max(self.floor, self.due) > now:
            return 0
        if self.buckets is not None:
            self.buckets.expire(now - self.span)
            return self.allowed - self.log.unsent - self.buckets.total
        return self.allowed - self.log.unsent - self.log.count_since(now - self.span)

    def start(self, at: float, count: int = 1) -> None:
        self.due = max(self.due, at - CATCH_UP_S) + self.gap * count

    def _bucketed(self, now: float, free: int) -> float:
        assert self.buckets is not None
        self.buckets.expire(now - self.span)
        over = self.buckets.total - free
        if over < 0:
            return -inf
        for end, count in self.buckets.entries:
            over -= int(count)
            if over < 0:
                return end + self.span
        return inf

    def used(self, now: float) -> int:
        """The starts of the last period, those included that have not left yet."""
        if self.buckets is not None:
            return self.buckets.count_since(now - self.limit.period) + self.log.unsent
        return self.log.count_since(now - self.limit.period) + self.log.unsent

    def room(self, first: float, until: float) -> int:
        """About how many calls may start from `first` to `until`."""
        spread = 1 + int((until - first) / self.gap) if self.gap else 10 * EXACT_LIMIT
        if self.span <= until - first:
            return spread
        counted = self.buckets.total if self.buckets is not None else self.log.count_since(until - self.span)
        return max(1, min(spread, self.allowed - self.log.unsent - counted))
