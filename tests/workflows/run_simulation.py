"""Runs through lanes on paper: limits, vendors' latencies, shares of hits and other runs drawn by chance. Knows nothing of
how ends are foreseen."""

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

FIND_1, FIND_2, VERIFY = ("find", "prospeo"), ("find", "findymail"), ("verify", "zerobounce")
KINDS = (FIND_1, FIND_2, VERIFY)


@dataclass
class SimLane:
    """One vendor's lane: so many starts a second, so many at once, and how long a call takes."""

    rate: float
    parallelism: int
    median_s: float
    spread: float
    waste: float
    dice: random.Random
    queues: dict[int, deque[int]] = field(default_factory=dict)
    order: deque[int] = field(default_factory=deque)
    busy: int = 0
    free_at: float = 0.0
    seen: list[float] = field(default_factory=list)

    def put(self, run: int, record: int) -> None:
        if run not in self.queues:
            self.queues[run] = deque()
            self.order.append(run)
        self.queues[run].append(record)

    def next(self, now: float) -> tuple[int, int] | None:
        """Whose call starts now; runs take turns."""
        if self.busy >= self.parallelism or now < self.free_at:
            return None
        for _ in range(len(self.order)):
            run = self.order[0]
            self.order.rotate(-1)
            if self.queues[run]:
                self.busy += 1
                self.free_at = now + (1.02 + self.waste) / self.rate
                return run, self.queues[run].popleft()
        return None

    def takes(self) -> float:
        return self.median_s * self.dice.lognormvariate(0, self.spread)


@dataclass(frozen=True)
class Seen:
    """What anybody could know at a moment."""

    at: float
    pending: int
    finished: int
    asked: Counter[tuple[str, str]]
    rival_pending: int
    latency: dict[tuple[str, str], float | None]


@dataclass
class SimRun:
    """A run of `size` records beside a rival of the same priority; `looks` are taken at these numbers of finished ones."""

    dice: random.Random

    def __post_init__(self) -> None:
        dice = self.dice
        self.size = dice.choice([10, 60, 200, 500])
        self.rival = dice.choice([0, 0, 40, 400])
        self.hit = (dice.uniform(0.05, 0.95), dice.uniform(0.05, 0.95))
        self.valid = dice.uniform(0.5, 1.0)
        self.lanes = {
            kind: SimLane(
                rate=dice.choice([2, 5, 10, 20, 100]), parallelism=dice.choice([1, 3, 10]),
                median_s=dice.choice([0.05, 0.2, 0.6, 1.5]), spread=dice.choice([0.1, 0.4, 0.7]),
                waste=dice.uniform(0.0, 0.05), dice=dice,
            )
            for kind in KINDS
        }  # fmt: skip

    def play(self) -> tuple[list[Seen], float]:
        """What was seen at five moments, and when the run ended."""
        self.finished, self.asked, self.rival_left = 0, Counter[tuple[str, str]](), self.rival
        looks = {0, *(max(1, self.size * part // 10) for part in (1, 3, 6, 9))}
        seen: list[Seen] = []
        for record in range(self.size):
            self.lanes[FIND_1].put(0, record)
        for record in range(self.rival):
            self.lanes[FIND_1].put(1, record)
        events: list[tuple[float, int, tuple[str, str], int, int]] = []
        now, number = 0.0, 0
        while self.finished < self.size:
            if self.finished in looks:
                looks.remove(self.finished)
                seen.append(self._look(now))
            started = True
            while started:
                started = False
                for kind, lane in self.lanes.items():
                    while (turn := lane.next(now)) is not None:
                        started = True
                        number += 1
                        if turn[0] == 0:
                            self.asked[kind] += 1
                        took = lane.takes()
                        lane.seen.append(took)
                        heappush(events, (now + took, number, kind, *turn))
            waits = [
                lane.free_at
                for lane in self.lanes.values()
                if lane.free_at > now and lane.busy < lane.parallelism and any(lane.queues.values())
            ]
            ends = events[0][0] if events else float("inf")
            now = min([ends, *waits])
            while events and events[0][0] <= now:
                _, _, kind, run, record = heappop(events)
                self.lanes[kind].busy -= 1
                self._answered(kind, run, record)
        return seen, now

    def _answered(self, kind: tuple[str, str], run: int, record: int) -> None:
        dice = self.dice
        following: tuple[str, str] | None
        if kind == FIND_1:
            following = VERIFY if dice.random() < self.hit[0] else FIND_2
        elif kind == FIND_2:
            following = VERIFY if dice.random() < self.hit[1] else None
        else:
            following = FIND_2 if dice.random() > self.valid and dice.random() < 0.5 else None
        if following is not None:
            self.lanes[following].put(run, record)
        elif run == 0:
            self.finished += 1
        else:
            self.rival_left -= 1

    def _look(self, now: float) -> Seen:
        latency = {
            kind: sum(lane.seen[-20:]) / len(lane.seen[-20:]) if lane.seen else None
            for kind, lane in self.lanes.items()
        }
        return Seen(
            now, self.size - self.finished, self.finished, Counter(self.asked), self.rival_left, latency
        )
