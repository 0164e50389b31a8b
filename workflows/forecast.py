"""When will a run be done? Pure: from its lanes' limits, the work ahead and what was seen so far to a time, and to the
band in which nine of ten runs end.

A run ends when its slowest lane is through with its calls and the last record has been through its last vendors. What
is not known is told apart: how many records reach a vendor (a share with a flat prior, sharpened by every record that
has ended), how long the vendor takes, how much of the other runs' work comes first, how much of a limit is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

Pair = tuple[str, str]  # operation, provider
NINE_IN_TEN = 1.645  # standard deviations on either side
# How long a vendor takes where nothing was measured, and how far off that may be.
TYPICAL_LATENCY_S, TYPICAL_OFF = 0.6, 4.0
MEASURED_OFF = 1.25
# What is used of a short window while work waits: the guard, and late timers.
WINDOW_USED = (0.99, 0.97, 0.91)
# Starts are spread over windows up to this long; longer ones are used up first and waited for then.
EVEN_S = 60.0
# How many calls a record of another run needs in a shared lane: at least, typically, at most.
RIVAL_CALLS = (0.1, 0.6, 1.2)
# The engine's own time for a record's last steps.
OVERHEAD_S = (0.0, 0.3, 2.0)
# Progress speaks for itself once this many records and seconds have passed.
ENOUGH_RECORDS, ENOUGH_S = 50, 5.0
PROGRESS_OFF = 1.3
SOME = 20  # calls that are in flight and in no count yet

Band = tuple[float, float, float]  # at least, typically, at most


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from now: the likely end, and the two between which nine of ten runs end."""

    soonest: float
    likely: float
    latest: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """One window of a lane, with the starts that it has seen already."""

    rate: int
    period: float
    used: int = 0
    group: str = ""

    def seconds_for(self, calls: float, share_used: float = 1.0) -> float:
        if self.period <= EVEN_S:
            return calls * self.period / (self.rate * share_used)
        return max(0.0, (self.used + calls - 1) // self.rate) * self.period


@dataclass(frozen=True, slots=True)
class LaneSpeed:
    """What a lane can do. `latency_s`: how long its vendor takes of late, None where nobody has seen it."""

    windows: tuple[Allowance, ...]
    parallelism: int
    latency_s: float | None = None
    stopped: bool = False

    @property
    def latency(self) -> Band:
        if self.latency_s is None:
            return TYPICAL_LATENCY_S / TYPICAL_OFF, TYPICAL_LATENCY_S, TYPICAL_LATENCY_S * TYPICAL_OFF
        return self.latency_s / MEASURED_OFF, self.latency_s, self.latency_s * MEASURED_OFF

    def seconds_for(self, calls: Mapping[Pair, float], place: int) -> float:
        """Seconds for so many calls of each kind; `place` says which end of the band (0 to 2)."""
        total = sum(calls.values())
        slowest = total * self.latency[place] / max(1, self.parallelism)
        for window in self.windows:
            counted = sum(n for (operation, _), n in calls.items() if window.group in ("", operation))
            if counted:
                slowest = max(slowest, window.seconds_for(counted, WINDOW_USED[place]))
        return slowest


@dataclass(frozen=True, slots=True)
class Rival:
    """Another run with work in the same lane."""

    pending: int
    priority: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: records that are and are not at their end, calls made of each kind, seconds so far."""

    pending: int
    finished: int
    asked: Mapping[Pair, int]
    elapsed_s: float = 0.0


def forecast(
    progress: Progress,
    lane_of: Mapping[Pair, str],
    speeds: Mapping[str, LaneSpeed],
    rivals: Mapping[str, Sequence[Rival]],
    priority: int,
) -> Forecast | None:
    """When the run will be done; None where a lane that it needs is stopped or not known. `lane_of` names the lane of
    each kind of call, in order of first use."""
    later = [pair for pair in list(lane_of)[1:] if lane_of[pair] in speeds]
    slowest = max(later, key=lambda pair: speeds[lane_of[pair]].seconds_for({pair: 100.0}, 1), default=None)
    calls = calls_ahead(progress, list(lane_of), slowest)
    ends = [0.0, 0.0, 0.0]
    for lane in set(lane_of.values()):
        speed = speeds.get(lane)
        mine = {pair: band for pair, band in calls.items() if lane_of[pair] == lane}
        if speed is None or (speed.stopped and any(band[1] for band in mine.values())):
            return None
        for place in range(3):
            wanted = {pair: band[place] for pair, band in mine.items()}
            ahead = _ahead(sum(wanted.values()), rivals.get(lane, ()), priority, RIVAL_CALLS[place])
            share = 1 + ahead / total if (total := sum(wanted.values())) else 1.0
            seconds = speed.seconds_for({pair: n * share for pair, n in wanted.items()}, place)
            ends[place] = max(ends[place], seconds)
    if progress.pending:
        tail = sum(speeds[lane].latency[1] for lane in lane_of.values())
        for place, weight in enumerate((0.2, 0.6, 2.5)):
            ends[place] += tail * weight + OVERHEAD_S[place]
    return _with_progress(ends, progress)


def calls_ahead(progress: Progress, pairs: Sequence[Pair], slowest: Pair | None = None) -> dict[Pair, Band]:
    """How many calls of each kind the pending records still need.

    Records that are through their first vendor and not at their end wait for a later one: most likely all for the
    `slowest`. The records that ended say little of it: they are those that did not need it.
    """
    pending, first = progress.pending, pairs[0]
    passed = progress.asked.get(first, 0)
    under_way = float(max(0, min(pending, passed - progress.finished)))
    untouched = pending - under_way
    calls: dict[Pair, Band] = {first: (untouched, untouched, min(float(pending), untouched * 1.02 + SOME))}
    for pair in pairs[1:]:
        asked = min(progress.asked.get(pair, 0), 2 * passed)
        most = under_way if pair == slowest else 0.0
        waiting = (0.6 * most, most, under_way)
        bands = []
        for place, sign in enumerate((-1, 0, 1)):
            share = (asked + waiting[place] + 1) / (passed + 2)
            doubt = share * max(1.0 - share, 0.25)
            off = NINE_IN_TEN * sqrt(untouched**2 * doubt / (passed + 3) + untouched * doubt)
            bands.append(min(2.0 * pending, max(0.0, untouched * share + sign * off) + waiting[place]))
        calls[pair] = (bands[0], bands[1], bands[2])
    return calls


def _ahead(calls: float, rivals: Sequence[Rival], priority: int, per_record: float) -> float:
    """Calls of other runs that come first: all of more urgent ones, as many of equal ones as the run has itself."""
    ahead = 0.0
    for rival in rivals:
        theirs = rival.pending * per_record
        if rival.priority > priority:
            ahead += theirs
        elif rival.priority == priority:
            ahead += min(theirs, calls)
    return ahead


def _with_progress(ends: Sequence[float], progress: Progress) -> Forecast:
    """What limits do not tell, the pace so far does: a run that is slower than its lanes need not become faster."""
    soonest, likely, latest = ends
    if progress.finished >= ENOUGH_RECORDS and progress.elapsed_s >= ENOUGH_S:
        at_this_pace = progress.pending * progress.elapsed_s / progress.finished
        latest = max(latest, at_this_pace * PROGRESS_OFF) if at_this_pace < inf else latest
        likely = min(max(likely, at_this_pace), latest)
    return Forecast(min(soonest, likely), likely, max(latest, likely))
