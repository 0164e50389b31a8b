"""Exact limits: in any window of `period` seconds at most `rate` calls, by their time of arrival."""

import socket
import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from math import inf

# Arrivals are kept this long past their window, for calls that are handled out of order.
SLACK = 5.0
TCP_INFO_BYTES = 60
LAST_DATA_RECEIVED = 52
CLOCK_TICK_MS = 4
BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Window:
    """`group` "" counts every question, else those of one operation; BULK counts calls that ask several.

    Breaking it shuts the key out for `block` seconds."""

    rate: int
    period: float
    group: str = ""
    block: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is over the limit: `window` None means too many at once."""

    window: Window | None
    wait: float


def arrived(now: float, connection: socket.socket | None) -> float:
    """When the last bytes of a connection reached this machine.

    A process that has to wait for the processor reads late, which would make well-spaced calls look bunched. The
    kernel tells how old they are, in ticks of a few milliseconds.
    """
    if connection is None:
        return now
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    except OSError:
        return now
    if len(info) < TCP_INFO_BYTES:
        return now
    age: int = struct.unpack_from("=I", info, LAST_DATA_RECEIVED)[0]
    return now - age / 1000 if CLOCK_TICK_MS < age < SLACK * 1000 else now


class Counter:
    """Arrivals of the calls that one window let in."""

    __slots__ = ("blocked_until", "peak", "times", "window")

    def __init__(self, window: Window, times: list[float] | None = None) -> None:
        self.window = window
        self.times = times or []
        self.peak = 0
        self.blocked_until = -inf

    def wait(self, at: float, count: int = 1) -> float | None:
        """Seconds until so many calls that arrive together at `at` would be let in; None: now."""
        if at < self.blocked_until:
            return self.blocked_until - at
        rate, period, times = self.window.rate, self.window.period, self.times
        first = bisect_right(times, at - period)
        after = len(times) - first + count
        if times and at < times[-1] and after > rate:
            return self._wait_out_of_order(at, count)
        self.peak = max(self.peak, after)
        if after <= rate:
            return None
        return times[first + after - rate - 1] + period - at if count <= rate else period

    def _wait_out_of_order(self, at: float, count: int) -> float | None:
        rate, period = self.window.rate, self.window.period
        place = bisect_right(self.times, at)
        after = [*self.times[:place], *[at] * count, *self.times[place:]]
        for start in range(max(0, place - rate), place + count):
            end = start + rate
            if end < len(after) and after[end] - after[start] < period:
                self.peak = max(self.peak, rate + count)
                return after[start] + period - at
        return None

    def add(self, at: float) -> None:
        times = self.times
        if times and at < times[-1]:
            times.insert(bisect_right(times, at), at)
            return
        times.append(at)
        if times[0] < at - self.window.period - SLACK and len(times) > 64:
            stale = bisect_right(times, at - self.window.period - SLACK)
            if stale * 2 > len(times):
                del times[:stale]

    def left(self, at: float) -> int:
        return max(
            0, self.window.rate - (len(self.times) - bisect_right(self.times, at - self.window.period))
        )

    def reset_after(self, at: float) -> float:
        """Seconds until the oldest call in the window leaves it; 0 when there is none."""
        first = bisect_right(self.times, at - self.window.period)
        return self.times[first] + self.window.period - at if first < len(self.times) else 0.0


@dataclass
class Gate:
    """The limits of one key. `enter` counts a call only when it is let in; each one let in must `leave`.

    One that asks several questions (`count`) is one call in flight, and in the windows as many as it asks.
    """

    windows: tuple[Window, ...] = ()
    parallelism: int | None = None
    group_parallelism: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    max_in_flight: int = 0

    def __post_init__(self) -> None:
        self.counters = [Counter(window) for window in self.windows]
        self._sort()
        self._group_in_flight: dict[str, int] = {}

    def enter(self, operation: str, path_group: str, at: float, count: int | None = None) -> Refusal | None:
        """None: it is in. `count` None: an ordinary call, which asks one question."""
        refusal = self._refusal(operation, path_group, at, count)
        if refusal is not None:
            if refusal.window is None:
                self.max_in_flight = max(self.max_in_flight, self.in_flight + 1)
            return refusal
        for counter, number in self._counted(operation, count):
            for _ in range(number):
                counter.add(at)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        if path_group in self.group_parallelism:
            self._group_in_flight[path_group] = self._group_in_flight.get(path_group, 0) + 1
        return None

    def leave(self, path_group: str) -> None:
        self.in_flight -= 1
        if path_group in self._group_in_flight:
            self._group_in_flight[path_group] -= 1

    def change(self, windows: tuple[Window, ...], parallelism: int | None) -> None:
        """New limits for a key in use: what has arrived in the last `period` goes on counting."""
        self.counters = [Counter(window, self._history(window)) for window in windows]
        self.windows, self.parallelism = windows, parallelism
        self._sort()

    def peaks(self) -> dict[str, int]:
        """The most calls, refused ones included, that arrived in any window, by "rate/period[ group]"."""
        named = {}
        for counter in self.counters:
            window = counter.window
            name = f"{window.rate}/{window.period:g}s" + (f" {window.group}" if window.group else "")
            named[name] = counter.peak
        return named

    def _sort(self) -> None:
        self._groups: dict[str, list[Counter]] = {}
        self._of_bulk = [counter for counter in self.counters if counter.window.group == BULK]

    def _of(self, operation: str) -> list[Counter]:
        found = self._groups.get(operation)
        if found is None:
            found = [counter for counter in self.counters if counter.window.group in ("", operation)]
            self._groups[operation] = found
        return found

    def _counted(self, operation: str, count: int | None) -> list[tuple[Counter, int]]:
        """The windows that a call is counted in, and as how many."""
        counted = [(counter, count or 1) for counter in self._of(operation)]
        return counted if count is None else [*counted, *((counter, 1) for counter in self._of_bulk)]

    def _refusal(self, operation: str, path_group: str, at: float, count: int | None) -> Refusal | None:
        refusal = None
        for counter, number in self._counted(operation, count):
            wait = counter.wait(at, number)
            if wait is not None and (refusal is None or wait > refusal.wait):
                refusal = Refusal(counter.window, wait)
                if counter.window.block and at >= counter.blocked_until:
                    counter.blocked_until = at + counter.window.block
        if refusal is not None:
            return refusal
        if self.parallelism is not None and self.in_flight >= self.parallelism:
            return Refusal(None, 0.0)
        cap = self.group_parallelism.get(path_group)
        if cap is not None and self._group_in_flight.get(path_group, 0) >= cap:
            return Refusal(None, 0.0)
        return None

    def _history(self, window: Window) -> list[float]:
        alike = [counter for counter in self.counters if counter.window.group == window.group]
        return list(max(alike, key=lambda counter: counter.window.period).times) if alike else []
