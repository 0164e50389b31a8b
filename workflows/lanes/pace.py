"""When may the next call of a lane start? Pure: every method takes the time, seconds on one monotonic clock.

Promise: in any window of `period` seconds at most `rate` starts, whatever order calls report in, plus a small guard so
that network jitter does not trip the vendor's own window. Starts are spread, with just enough slack to catch up after
a late timer. It does not promise what happens between our socket and the vendor beyond the guard.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GUARD_SHARE, GUARD_MAX, GUARD_MIN = 0.02, 0.05, 0.015
# Windows with more starts than this are counted in buckets, rounded up; shorter ones exactly.
EXACT_LIMIT = 2_000
BUCKETS = 240
# Each start keeps at least this share of the even distance to the one before; the rest is slack for late timers.
SPREAD = 0.9


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


class _Exact:
    """The last `rate` start times."""

    def __init__(self, limit: WindowLimit) -> None:
        self.limit = limit
        self.starts: deque[float] | list[float] = []

    def earliest(self, rate: int) -> float:
        if len(self.starts) < rate:
            return 0.0
        return self.starts[-rate] + self.limit.period + self.limit.guard

    def add(self, at: float, count: int = 1) -> None:
        assert isinstance(self.starts, list)
        for _ in range(count):
            insort(self.starts, at)
        # One start more than needed: a lowered limit is stricter at once, a raised one sees the full history.
        if len(self.starts) > 2 * EXACT_LIMIT:
            del self.starts[:EXACT_LIMIT]

    def move(self, was: float, at: float) -> None:
        assert isinstance(self.starts, list)
        try:
            self.starts.remove(was)
        except ValueError:
            return
        insort(self.starts, at)

    def count_since(self, since: float) -> int:
        return sum(1 for start in reversed(self.starts) if start > since)


class _Bucketed:
    """Counts per bucket; a bucket counts as if all its starts came at its end, so it errs on the safe side."""

    def __init__(self, limit: WindowLimit) -> None:
        self.limit = limit
        self.width = limit.period / BUCKETS
        self.buckets: deque[list[float]] = deque()

    def earliest(self, rate: int) -> float:
        room = rate
        for end, count in reversed(self.buckets):
            room -= int(count)
            if room <= 0:
                return end + self.limit.period + self.limit.guard
        return 0.0

    def add(self, at: float, count: int = 1) -> None:
        end = (int(at / self.width) + 1) * self.width
        for bucket in reversed(self.buckets):
            if bucket[0] == end:
                bucket[1] += count
                return
            if bucket[0] < end:
                break
        self.buckets.append([end, count])
        while len(self.buckets) > BUCKETS + 2:
            self.buckets.popleft()

    def move(self, was: float, at: float) -> None:
        if at >= (int(was / self.width) + 1) * self.width:
            self.add(at)  # rounded up: counted in both buckets

    def count_since(self, since: float) -> int:
        return sum(int(count) for end, count in self.buckets if end > since)


class Pacer:
    """The windows of one lane. `pace` below 1 slows it down after a vendor's 429."""

    def __init__(self, windows: Iterable[WindowLimit]) -> None:
        self.pace = 1.0
        self._counters = [self._counter(limit) for limit in windows]
        self._last: dict[str, float] = {}

    @staticmethod
    def _counter(limit: WindowLimit) -> _Exact | _Bucketed:
        return _Exact(limit) if limit.rate <= EXACT_LIMIT and limit.period <= 3600 else _Bucketed(limit)

    @property
    def limits(self) -> list[WindowLimit]:
        return [counter.limit for counter in self._counters]

    def next_start(self, now: float, operation: str = "") -> float:
        """The earliest moment, not before `now`, at which a call of this operation may start."""
        at = now
        for counter in self._counters:
            limit = counter.limit
            if limit.group not in ("", operation):
                continue
            at = max(at, counter.earliest(max(1, int(limit.rate * self.pace))))
            # Only short windows are spread: nobody wants 2,000 a day to mean one every 43 seconds.
            if limit.period <= 60 and limit.group in self._last:
                gap = SPREAD * (limit.period + limit.guard) / (limit.rate * self.pace)
                at = max(at, self._last[limit.group] + gap)
        return at

    def started(self, at: float, operation: str = "") -> None:
        """A call starts now."""
        for counter in self._counters:
            if counter.limit.group in ("", operation):
                counter.add(at)
        for group in ("", operation):
            self._last[group] = max(at, self._last.get(group, 0.0))

    def sent(self, was: float, at: float, operation: str = "") -> None:
        """A call reported as started at `was` left the machine at `at`: count it there."""
        if at <= was:
            return
        for counter in self._counters:
            if counter.limit.group in ("", operation):
                counter.move(was, at)

    def assume(self, limit: WindowLimit, at: float, count: int) -> None:
        """Count `count` starts of an earlier holder, at the latest moment they can have happened."""
        for counter in self._counters:
            if counter.limit.key == limit.key:
                counter.add(at, count)

    def capacity(self, now: float, horizon: float, operation: str = "", most: int = 10_000) -> int:
        """About how many calls may start within `horizon` seconds: for planning ahead, never for sending."""
        first = self.next_start(now, operation)
        if first > now + horizon:
            return 0
        room = most
        for counter in self._counters:
            limit = counter.limit
            if limit.group in ("", operation):
                room = min(room, 1 + int(horizon * limit.rate * self.pace / limit.period))
        return room

    def relimit(self, windows: Iterable[WindowLimit]) -> None:
        """Take other limits, keeping the history: a new window counts the starts of the longest exact old one."""
        old = list(self._counters)
        fresh: list[_Exact | _Bucketed] = []
        for limit in windows:
            same = next((c for c in old if c.limit.key == limit.key), None)
            counter = self._counter(limit)
            donor = same or max(
                (c for c in old if c.limit.group in ("", limit.group)),
                key=lambda c: c.limit.period,
                default=None,
            )
            if isinstance(donor, _Exact):
                for start in donor.starts:
                    counter.add(start)
            elif isinstance(donor, _Bucketed):
                for end, count in donor.buckets:
                    counter.add(end, int(count))
            fresh.append(counter)
        self._counters = fresh

    def started_since(self, since: float) -> int:
        """How many starts the shortest window has seen since then."""
        if not self._counters:
            return 0
        return min(self._counters, key=lambda c: c.limit.period).count_since(since)

    def history(self) -> dict[str, list[list[float]]]:
        """The starts of windows of a minute or more, per window, as [[time, count], …]: what a new holder reads."""
        result: dict[str, list[list[float]]] = {}
        for counter in self._counters:
            if counter.limit.period < 60:
                continue  # a new holder takes short windows as full
            if isinstance(counter, _Bucketed):
                result[counter.limit.key] = [list(bucket) for bucket in counter.buckets]
            else:
                result[counter.limit.key] = _into_buckets(counter.starts, counter.limit.period / BUCKETS)
        return result


def _into_buckets(starts: Iterable[float], width: float) -> list[list[float]]:
    buckets: list[list[float]] = []
    for start in starts:
        end = (int(start / width) + 1) * width
        if buckets and buckets[-1][0] == end:
            buckets[-1][1] += 1
        else:
            buckets.append([end, 1])
    return buckets[-BUCKETS - 2 :]
