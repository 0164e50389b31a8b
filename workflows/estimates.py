"""When will a run be finished? An estimate from its lanes' limits, the work ahead of it and its progress so far."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from workflows.catalog import TEMPLATES
from workflows.models import Lane, LaneRun, LaneState, Run, RunVendor
from workflows.states import LaneRunState, RunStatus, WaitReason

# Until a run's own progress says more: how many of its records reach a vendor, by its place in the waterfall.
FIRST_SHARE, LATER_SHARE = 1.0, 0.5
# How long a vendor takes where nothing was measured.
TYPICAL_LATENCY_S = 0.6
# Starts are spread over windows up to this long; longer ones are used up first and waited for then.
EVEN_S = 60.0
# Progress speaks for itself once this many records and seconds have passed.
ENOUGH_RECORDS, ENOUGH_S = 50, 5.0
_LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Allowance:
    """One window of a lane, with the starts that it has seen already."""

    rate: int
    period: float
    used: int = 0

    def seconds_for(self, calls: float) -> float:
        if self.period <= EVEN_S:
            return calls * self.period / self.rate
        return max(0.0, (self.used + calls - 1) // self.rate) * self.period


@dataclass(frozen=True, slots=True)
class LaneSpeed:
    """What a lane can do."""

    windows: tuple[Allowance, ...]
    parallelism: int
    measured: float | None = None
    """Calls per second of late, where it is parallelism and not a window that holds the lane back."""
    stopped: bool = False

    def seconds_for(self, calls: float) -> float:
        in_flight = calls / (self.measured or self.parallelism / TYPICAL_LATENCY_S)
        return max(in_flight, *(window.seconds_for(calls) for window in self.windows), 0.0)


@dataclass(frozen=True, slots=True)
class Rival:
    """Another run with work in the same lane."""

    pending: int
    priority: int


def estimated_finish(run: Run) -> datetime | None:
    """When a run will be finished; None when it is final, paused, or waits for something that nobody can foresee."""
    return estimates([run])[run.pk]


def estimates(runs: Iterable[Run]) -> dict[uuid.UUID, datetime | None]:
    """`estimated_finish` of many runs, in four queries at most."""
    wanted = list(runs)
    open_runs = [
        run for run in wanted if not run.is_final and run.status in (RunStatus.QUEUED, RunStatus.RUNNING)
    ]
    result: dict[uuid.UUID, datetime | None] = {run.pk: None for run in wanted}
    if not open_runs:
        return result
    lane_ids = {uuid.UUID(lane_id) for run in open_runs for lane_id in run.lanes.values()}
    speeds = _speeds(lane_ids)
    rivals, parked = _rivals(lane_ids)
    asked: dict[uuid.UUID, dict[tuple[str, str], int]] = defaultdict(dict)
    for vendor in RunVendor.objects.filter(run_id__in=[run.pk for run in open_runs]):
        asked[vendor.run_id][(vendor.operation, vendor.provider)] = vendor.calls + vendor.cached
    now = timezone.now()
    for run in open_runs:
        if run.pk in parked:  # it goes on when somebody raises its credit limit: nobody knows when
            continue
        seconds = _seconds_left(run, speeds, rivals, asked[run.pk], now)
        if seconds is not None and timedelta(seconds=seconds) < _LONGEST:
            result[run.pk] = now + timedelta(seconds=seconds)
    return result


def seconds_in_lane(calls: float, speed: LaneSpeed, priority: int, rivals: Sequence[Rival]) -> float:
    """How long a lane needs for so many calls of a run: more urgent runs go first, equal ones take turns."""
    ahead = 0.0
    for rival in rivals:
        if rival.priority > priority:
            ahead += rival.pending
        elif rival.priority == priority:
            ahead += min(rival.pending, calls)
    return speed.seconds_for(calls + ahead)


def calls_ahead(
    pending: int, finished: int, pairs: Sequence[tuple[str, str]], asked: Mapping[tuple[str, str], int]
) -> dict[tuple[str, str], float]:
    """How many calls of each kind the pending records still need, by the share of records that needed them so far."""
    calls = {}
    for place, pair in enumerate(pairs):
        share = FIRST_SHARE if place == 0 else LATER_SHARE
        if finished >= ENOUGH_RECORDS:
            share = min(FIRST_SHARE, asked.get(pair, 0) / finished)
        calls[pair] = pending * share
    return calls


def _seconds_left(
    run: Run,
    speeds: Mapping[uuid.UUID, LaneSpeed],
    rivals: Mapping[uuid.UUID, Mapping[uuid.UUID, Rival]],
    asked: Mapping[tuple[str, str], int],
    now: datetime,
) -> float | None:
    pairs = TEMPLATES[run.template].providers(run.config)
    calls = calls_ahead(run.pending, run.finished_records, pairs, asked)
    per_lane: dict[uuid.UUID, float] = defaultdict(float)
    for (_, provider), count in calls.items():
        per_lane[uuid.UUID(run.lanes[provider])] += count
    slowest = 0.0
    for lane_id, count in per_lane.items():
        speed = speeds.get(lane_id)
        if speed is None or (speed.stopped and count):
            return None
        others = [rival for run_id, rival in rivals.get(lane_id, {}).items() if run_id != run.pk]
        slowest = max(slowest, seconds_in_lane(count, speed, run.priority, others))
    return max(slowest, _by_progress(run, now))


def _by_progress(run: Run, now: datetime) -> float:
    """Seconds at the pace so far; 0 where it is too early to tell."""
    done, began = run.finished_records, run.started_at
    if began is None or done < ENOUGH_RECORDS or (now - began).total_seconds() < ENOUGH_S:
        return 0.0
    return run.pending * (now - began).total_seconds() / done


def _speeds(lane_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, LaneSpeed]:
    lanes = list(Lane.objects.filter(pk__in=list(lane_ids)))
    states = {
        state.lane_id: state for state in LaneState.objects.filter(lane_id__in=[lane.pk for lane in lanes])
    }
    return {lane.pk: _speed(lane, states.get(lane.pk)) for lane in lanes}


def _speed(lane: Lane, state: LaneState | None) -> LaneSpeed:
    measured = None
    if state and state.wait_reason == WaitReason.PARALLELISM and state.started_last_period and lane.windows:
        # Holders count over the shortest window.
        measured = state.started_last_period / min(window["period"] for window in lane.windows)
    return LaneSpeed(
        windows=tuple(_allowance(window, state) for window in lane.windows),
        parallelism=lane.parallelism,
        measured=measured,
        stopped=lane.paused or bool(state and state.breaker != "closed"),
    )


def _allowance(window: Mapping[str, Any], state: LaneState | None) -> Allowance:
    period = float(window["period"])
    since = timezone.now().timestamp() - period
    history = state.starts.get(f"{period:g}:{window.get('group', '')}", []) if state else []
    return Allowance(window["rate"], period, sum(int(count) for end, count in history if end > since))


def _rivals(
    lane_ids: Iterable[uuid.UUID],
) -> tuple[dict[uuid.UUID, dict[uuid.UUID, Rival]], set[uuid.UUID]]:
    """By lane and run, the runs that may have calls started there; and the runs that are parked at their credit limit."""
    states = (LaneRunState.ACTIVE, LaneRunState.BUDGET)
    rows = list(
        LaneRun.objects.filter(lane_id__in=list(lane_ids), state__in=states).values_list(
            "lane_id", "run_id", "priority", "state"
        )
    )
    parked = {run_id for _, run_id, _, state in rows if state == LaneRunState.BUDGET}
    entries = [(lane_id, run_id, priority) for lane_id, run_id, priority, state in rows if state == states[0]]
    pending = dict(
        Run.objects.filter(pk__in={run_id for _, run_id, _ in entries}).values_list("id", "pending")
    )
    found: dict[uuid.UUID, dict[uuid.UUID, Rival]] = defaultdict(dict)
    for lane_id, run_id, priority in entries:
        found[lane_id][run_id] = Rival(pending.get(run_id, 0), priority)
    return found, parked
