"""When may the next call of a lane start? Pure: every method takes the time, seconds on one monotonic clock.

Promise: in any window of `period` seconds at most `rate` calls leave the machine, however late they leave, plus a small
guard so that network jitter does not trip the vendor's own window. Starts are spread, with just enough slack to catch
up after a late timer. It does not promise what happens between our socket and the vendor beyond the guard.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.connectors.base import Quota
from workflows.lanes.windows import BUCKETS, SPREAD_PERIOD_S, Buckets, Counter, StartLog, WindowLimit

__all__ = ["LONG_WINDOW_S", "SLOWEST_PACE", "Pacer", "WindowLimit"]

# Windows this long are known to the next holder from what was written with each stamp; shorter ones only from an
# orderly hand-over.
LONG_WINDOW_S = 60.0
WRITTEN_BUCKETS = 48
LAST, UNKNOWN, KNOWN = "last", "unknown", "known"
# Among what is written with each stamp: until when calls may have been started that nobody wrote down, and the windows
# that know of theirs all the same. Named like a window of a group that no vendor has.
NOT_WRITTEN = "not:written"
SLOWEST_PACE = 0.1
# How far a vendor's count may be above ours before we take it that others use the key or the plan is smaller.
COUNTS_ALIKE, COUNTS_ALIKE_SHARE = 2, 0.02
UNTOLD_RESET_S = 5.0


@dataclass(slots=True)
class _Told:
    """What a vendor said is left of its window, less what was started since; over at `until`."""

    period: float
    left: int
    until: float
    gap: float
    number: int


class Pacer:
    """The windows of one lane. `pace` below 1 slows it down after a vendor's 429."""

    def __init__(self, windows: Iterable[WindowLimit]) -> None:
        self._pace = 1.0
        self._number = 0
        self._told: list[_Told] = []
        self._unknown_before: float | None = None
        self._known: set[str] = set()
        self._filled: set[str] = set()
        self._logs: dict[str, StartLog] = {"": StartLog()}
        self._written: dict[str, Buckets] = {}
        self._counters: list[Counter] = []
        self._use(list(windows))

    def _use(self, limits: Sequence[WindowLimit]) -> None:
        counters = [Counter(limit, self._log(limit.group)) for limit in limits]
        for counter in counters:
            if counter.buckets is not None:
                counter.buckets = self._history_of(counter.limit, BUCKETS)
        self._written = {
            limit.key: self._history_of(limit, WRITTEN_BUCKETS)
            for limit in limits
            if limit.period >= LONG_WINDOW_S
        }
        self._counters = counters
        self._filled &= self._written.keys()
        self._by_operation: dict[str, tuple[list[Counter], list[StartLog], list[Buckets]]] = {}
        self.grouped = any(limit.group for limit in limits)
        self.pace = self._pace
        self._unknown()

    def _log(self, group: str) -> StartLog:
        """The log of a group; a new one starts with all calls, which are more than those of one operation."""
        if group not in self._logs:
            self._logs[group] = StartLog(self._logs[""].times)
        return self._logs[group]

    def _history_of(self, limit: WindowLimit, number: int) -> Buckets:
        """What is known of a window's starts: its own count so far, else the longest one at hand, else the log."""
        kept = [(c.limit, c.buckets) for c in self._counters if c.buckets is not None]
        kept += [
            (c.limit, self._written[c.limit.key]) for c in self._counters if c.limit.key in self._written
        ]
        fitting = [(old, b) for old, b in kept if old.group in ("", limit.group)]
        best = max(
            fitting, key=lambda one: (one[0].key == limit.key, one[0].period, -one[1].width), default=None
        )
        buckets = Buckets(limit.period, number)
        if best is not None:
            for end, count in best[1].entries:
                buckets.put(end, int(count))
        else:
            for at in self._logs[limit.group].times:
                buckets.add(at)
        return buckets

    def _of(self, operation: str) -> tuple[list[Counter], list[StartLog], list[Buckets]]:
        found = self._by_operation.get(operation)
        if found is None:
            groups = {"", operation}
            counters = [counter for counter in self._counters if counter.limit.group in groups]
            buckets = [counter.buckets for counter in counters if counter.buckets is not None]
            buckets += [self._written[c.limit.key] for c in counters if c.limit.key in self._written]
            found = self._by_operation[operation] = (
                counters,
                [self._log(group) for group in groups],
                buckets,
            )
        return found

    @property
    def limits(self) -> list[WindowLimit]:
        return [counter.limit for counter in self._counters]

    @property
    def pace(self) -> float:
        return self._pace

    @pace.setter
    def pace(self, value: float) -> None:
        self._pace = value
        for counter in self._counters:
            counter.scale(value)

    # --- starting ------------------------------------------------------------------------------------------------------

    def next_start(self, now: float, operation: str = "") -> float:
        """The earliest moment, not before `now`, at which a call of this operation may start; infinite while that
        depends on a call that has been started and has not left yet."""
        at = now
        for counter in self._of(operation)[0]:
            earliest = counter.earliest(now)
            if earliest > at:
                at = earliest
        if self._told:
            at = max(at, self._told_start(now))
        return at

    def free(self, now: float, operation: str, most: int) -> int:
        """How many calls of this operation may start now, at once: `most` or fewer."""
        for counter in self._of(operation)[0]:
            most = min(most, counter.free(now))
        if self._told and self._told_start(now) > now:
            return 0
        return max(0, min([most, *(told.left for told in self._told)]))

    def started(self, at: float, operation: str = "", count: int = 1) -> int:
        """A call starts now, or one that counts as `count`; `sent` must follow. Returns its number in the order of
        starts."""
        counters, logs, _ = self._of(operation)
        for counter in counters:
            counter.start(at, count)
        for log in logs:
            log.unsent += count
            log.last = at
        for told in self._told:
            told.left -= count
        self._number += count
        return self._number

    def sent(self, at: float, operation: str = "", count: int = 1) -> None:
        """A call that was started left the machine now, or never will: it counts from now on."""
        _, logs, buckets = self._of(operation)
        for log in logs:
            log.unsent -= count
            log.add(at, count)
        for bucket in buckets:
            bucket.add(at, count)

    def capacity(self, now: float, horizon: float, operation: str = "", most: int = 10_000) -> int:
        """About how many calls may start within `horizon` seconds: for planning ahead, never for sending."""
        first = self.next_start(now, operation)
        if first > now + horizon:
            return 0
        room = most
        for counter in self._of(operation)[0]:
            room = min(room, counter.room(first, now + horizon))
        for told in self._told:
            room = min(room, max(0, told.left) if first < told.until else room)
        return room

    def started_since(self, since: float) -> int:
        """How many calls have left since then."""
        shortest = min(self._counters, key=lambda c: c.limit.period, default=None)
        if shortest is not None and shortest.buckets is not None:
            return shortest.buckets.count_since(since)
        return self._logs[""].count_since(since)

    # --- what the vendor says ------------------------------------------------------------------------------------------

    def told(self, quotas: Iterable[Quota], number: int, now: float) -> float:
        """Take over what the answer to start `number` says is left; for how many seconds nothing at all is.

        The vendor's count is followed only where it is above ours: then others use the key, or its plan allows less
        than we were told. Short windows are then spread over what is left, as ours are.
        """
        rest = 0.0
        for quota in quotas:
            before = next((told for told in self._told if told.period == quota.period), None)
            if before is not None and number < before.number:
                continue  # an answer that was overtaken by a later one
            if before is not None:
                self._told.remove(before)
            if self._counts_alike(quota, now):
                continue
            reset = UNTOLD_RESET_S if quota.reset_after is None else quota.reset_after
            reset = min(reset, quota.period)
            left = quota.remaining - (self._number - number)
            gap = self._told_gap(quota.period, left, reset)
            self._told.append(_Told(quota.period, left, now + reset, gap, number))
            if quota.remaining == 0:
                rest = max(rest, reset)
        return rest

    def forget_told(self) -> None:
        """Somebody says that the vendor is ready: what it said before counts no more."""
        self._told.clear()

    def _counts_alike(self, quota: Quota, now: float) -> bool:
        own = next((c for c in self._counters if not c.limit.group and c.limit.period == quota.period), None)
        if own is None:
            return False
        tolerance = max(COUNTS_ALIKE, own.limit.rate * COUNTS_ALIKE_SHARE)
        return own.limit.rate - quota.remaining <= own.used(now) + tolerance

    def _told_gap(self, period: float, left: int, reset: float) -> float:
        if period > SPREAD_PERIOD_S or left <= 0:
            return 0.0
        # A vendor whose window slides has more left by then than it said: do not crawl on its word alone.
        own = max((counter.gap for counter in self._counters), default=0.0)
        return min(reset / left, own / SLOWEST_PACE) if own else reset / left

    def _told_start(self, now: float) -> float:
        self._told = [told for told in self._told if told.until > now]
        last = self._logs[""].last
        return max((t.until if t.left <= 0 else min(t.until, last + t.gap) for t in self._told), default=now)

    # --- limits that change, holders that follow each other --------------------------------------------------------------

    def relimit(self, windows: Iterable[WindowLimit]) -> None:
        """Take other limits; what has been started counts in the new windows too."""
        self._use(list(windows))

    def _unknown(self) -> None:
        """An earlier holder may have started calls that nobody wrote down: windows of up to a minute, of which it left
        no history, count as full then. Longer ones would stand still for too long: they count what is known."""
        if self._unknown_before is None:
            return
        for counter in self._counters:
            key = counter.limit.key
            if counter.limit.period > LONG_WINDOW_S or key in self._known:
                continue
            counter.floor = self._unknown_before + counter.span
            if key in self._written and key not in self._filled:
                self._written[key].put(self._unknown_before, counter.limit.rate)
                self._filled.add(key)

    def history(
        self, now: float, offset: float, *, coming: int = 0, by: float = 0.0, last: bool = False
    ) -> dict[str, Any]:
        """What the next holder has to know, on a clock that is `offset` ahead of this one: the starts of long windows
        as {key: [[time, count], …]}, with `coming` more and those that have not left yet as if they left at `by` (now, if
        that is later); and with `last`, when nothing will be started any more, how many seconds ago each call of the
        logs left."""
        told: dict[str, Any] = {}
        coming += self._logs[""].unsent
        for key, buckets in self._written.items():
            told[key] = [[round(end + offset, 3), count] for end, count in buckets.entries]
            if coming:
                told[key].append([round(max(now, by) + offset, 3), coming])
        if self._unknown_before is not None and now - self._unknown_before <= LONG_WINDOW_S + 1.0:
            told[NOT_WRITTEN] = [round(self._unknown_before + offset, 3), sorted(self._known)]
        if last:
            # At least as much as a window may need that somebody sets before the next holder has its own history.
            spans = [counter.span for counter in self._counters if counter.buckets is None]
            since = now - max(LONG_WINDOW_S + 1.0, *spans, 0.0)
            for group, log in self._logs.items():
                times = [*log.times[len(log.times) - log.count_since(since) :], *[now] * log.unsent]
                told.setdefault(LAST, {})[group] = [round(now - at, 4) for at in times]
            if self._unknown_before is not None:
                told[LAST][UNKNOWN] = round(now - self._unknown_before, 4)
                told[LAST][KNOWN] = sorted(self._known)
        return told

    def restore(self, told: Mapping[str, Any], now: float, offset: float, *, quiet_s: float | None) -> None:
        """Take over what the holder before wrote down; it started nothing in the last `quiet_s` seconds (None: nobody
        held the lane before)."""
        quiet_since = now - max(0.0, quiet_s or 0.0)
        logs: Mapping[str, Any] | None = told.get(LAST)
        self._known = {counter.limit.key for counter in self._counters} & told.keys()
        if logs is None:
            self._unknown_before = None if quiet_s is None else quiet_since
            self._known -= _full_as_nobody_knew(told, now + offset, self._known)
        elif UNKNOWN in logs:
            self._unknown_before, self._known = quiet_since - logs[UNKNOWN], set(logs[KNOWN])
        self._unknown()
        longest: dict[str, WindowLimit] = {}
        for counter in self._counters:
            limit = counter.limit
            for buckets in (counter.buckets, self._written.get(limit.key)):
                if buckets is not None:
                    for end, count in _entries(told, limit):
                        buckets.put(min(end - offset, quiet_since), int(count))
            if counter.buckets is None and limit.period >= longest.get(limit.group, limit).period:
                longest[limit.group] = limit
        for group, log in self._logs.items():
            if logs is not None:
                starts = [quiet_since - ago for ago in logs.get(group, logs.get("", ()))]
            else:
                entries = _entries(told, longest[group]) if group in longest else ()
                starts = [min(end - offset, quiet_since) for end, count in entries for _ in range(int(count))]
            for at in sorted(starts):
                log.add(at)


def _full_as_nobody_knew(told: Mapping[str, Any], at: float, keys: set[str]) -> set[str]:
    """Those of which was written that they are full, by their rate of then: it may be a larger one now."""
    if NOT_WRITTEN not in told:
        return set()
    until, known = told[NOT_WRITTEN]
    return keys - set(known) if at - until <= LONG_WINDOW_S + 1.0 else set()


def _entries(told: Mapping[str, Any], limit: WindowLimit) -> list[list[float]]:
    """What was written of a window; of one that is new, what was written of the longest other."""
    if limit.period < LONG_WINDOW_S:
        return []
    found = {
        key: entries
        for key, entries in told.items()
        if key != LAST and key.split(":", 1)[1] in ("", limit.group)
    }
    if limit.key in found:
        return list(found[limit.key])
    longest = max(found, key=lambda key: float(key.split(":", 1)[0]), default=None)
    return [] if longest is None else list(found[longest])
