"""A lane's life on paper: random limits, late timers, slow sockets, holders that follow each other, limits that change.

The checker knows nothing of the pacer: it looks at when calls left and at the limits that held when they were started.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from workflows.lanes.pace import Pacer, WindowLimit

Limits = Sequence[WindowLimit]


@dataclass(frozen=True)
class Call:
    """A call that left: the how-manieth start it was, when it left, and the limits at its start."""

    number: int
    left: float
    limits: Limits
    operation: str


def broken(calls: Sequence[Call]) -> list[str]:
    """Every window that held more calls than allowed when the last of them was started; counted naively."""
    found = []
    for limit in {limit for limits in {tuple(call.limits) for call in calls} for limit in limits}:
        ordered = sorted((c for c in calls if limit.group in ("", c.operation)), key=lambda call: call.left)
        times = [call.left for call in ordered]
        for index, end in enumerate(times):
            first = bisect_right(times, end - limit.period)
            if index + 1 - first > limit.rate:
                last = max(ordered[first : index + 1], key=lambda call: call.number)
                if limit in last.limits:
                    found.append(f"{index + 1 - first} calls in {limit} up to {end:.3f}")
    return found


@dataclass
class Life:
    """One lane over many holders. `clock` is the truth; each holder's own clock is `clock - skew`."""

    limits: Limits
    dice: random.Random
    operations: Sequence[str] = ("find",)
    slow: float = 0.05  # seconds at most from start to send
    late: float = 0.02  # seconds at most that a timer is late
    clock: float = 1_000.0
    skew: float = 0.0
    calls: list[Call] = field(default_factory=list)
    number: int = 0
    waiting: list[tuple[float, int, str, Limits]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pacer = Pacer(self.limits)
        self.written = self.pacer.history(self.mine, self.skew)

    @property
    def mine(self) -> float:
        return self.clock - self.skew

    def go(self, seconds: float) -> None:
        """Start whatever may start for so long."""
        end = self.clock + seconds
        while True:
            operation = self.dice.choice(self.operations)
            may = self.pacer.next_start(self.mine, operation) + self.skew + self.dice.uniform(0, self.late)
            leaves = min((call[0] for call in self.waiting), default=inf)
            if min(may, leaves) > end:
                self.clock = end
                return
            if leaves <= may:
                self.clock = max(self.clock, leaves)
                self.leave()
                continue
            self.clock = may
            self.written = self.pacer.history(self.mine, self.skew, coming=1)
            self.pacer.started(self.mine, operation)
            self.number += 1
            slow = self.dice.choice((0.0, 0.0, self.dice.uniform(0, self.slow)))
            self.waiting.append((self.clock + slow, self.number, operation, self.limits))

    def leave(self) -> None:
        """The call that has waited longest for its socket leaves now."""
        call = min(self.waiting)
        self.waiting.remove(call)
        self.pacer.sent(self.mine, call[2])
        self.calls.append(Call(call[1], self.clock, call[3], call[2]))

    def relimit(self, limits: Limits) -> None:
        self.limits = limits
        self.pacer.relimit(limits)

    def hand_over(self, *, orderly: bool, gap: float) -> None:
        """An orderly holder lets its calls leave first; a dead one takes what had not left with it."""
        if orderly:
            while self.waiting:
                self.clock = max(self.clock, min(self.waiting)[0])
                self.leave()
            self.written = self.pacer.history(self.mine, self.skew, last=True)
        self.waiting.clear()
        self.clock += gap
        self.skew = self.dice.uniform(0, 1_000)
        self.pacer = Pacer(self.limits)
        self.pacer.restore(self.written, self.mine, self.skew, quiet_s=gap)
        self.written = self.pacer.history(self.mine, self.skew)
