"""When will a run be finished? What forecast.py needs, read from the tables: limits, work ahead, progress so far."""

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.utils import timezone

from tenants.scope import APP_ALIAS
from workflows.catalog import TEMPLATES
from workflows.forecast import Allowance, Forecast, LaneSpeed, Pair, Progress, Rival, forecast
from workflows.lanes.wire import engine_cursor
from workflows.models import Lane, LaneRun, LaneState, Run, RunVendor
from workflows.states import LaneRunState, RunStatus

_LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Finish:
    """When a run is likely to be finished, and between when and when nine of ten are."""

    at: datetime
    soonest: datetime
    latest: datetime


def estimated_finish(run: Run) -> datetime | None:
    """When a run will be finished; None when it is final, paused, or waits for something that nobody can foresee."""
    return estimates([run])[run.pk]


def estimates(runs: Iterable[Run]) -> dict[uuid.UUID, datetime | None]:
    """`estimated_finish` of many runs, in four queries at most."""
    return {run_id: finish.at if finish else None for run_id, finish in finishes(runs).items()}


def finishes(runs: Iterable[Run]) -> dict[uuid.UUID, Finish | None]:
    """When each of these runs will be finished, with the band of nine in ten; in four queries at most."""
    wanted = list(runs)
    open_runs = [
        run for run in wanted if not run.is_final and run.status in (RunStatus.QUEUED, RunStatus.RUNNING)
    ]
    result: dict[uuid.UUID, Finish | None] = {run.pk: None for run in wanted}
    if not open_runs:
        return result
    lane_ids = {uuid.UUID(lane_id) for run in open_runs for lane_id in run.lanes.values()}
    speeds = _speeds(lane_ids)
    rivals, parked = _rivals(lane_ids)
    asked: dict[uuid.UUID, dict[Pair, int]] = defaultdict(dict)
    for vendor in RunVendor.objects.filter(run_id__in=[run.pk for run in open_runs]):
        asked[vendor.run_id][(vendor.operation, vendor.provider)] = vendor.calls + vendor.cached
    now = timezone.now()
    for run in open_runs:
        if (
            run.pk not in parked
        ):  # one that is goes on when somebody raises its credit limit: nobody knows when
            elapsed_s = (now - run.started_at).total_seconds() if run.started_at else 0.0
            others = _others(rivals, str(run.pk))
            result[run.pk] = _from_now(_foresee(run, speeds, others, asked[run.pk], elapsed_s), now)
    return result


# What lanes can do and who else is in them, as this process read it for newly accepted runs: (when, what) by lanes.
_OUTLOOK_S = 5.0
_MOST_RIVALS = 100
_outlooks: dict[tuple[str, ...], tuple[float, "_Outlook"]] = {}


@dataclass(slots=True)
class _Outlook:
    """The lanes' speeds and the runs in each; `rivals` None: so many that nobody can tell."""

    speeds: dict[str, LaneSpeed]
    rivals: dict[str, dict[str, Rival]] | None
    looked_for: uuid.UUID
    """The run that it was read for, which is among the rivals of all that come after it."""
    foreseen: dict[tuple[Any, ...], Forecast | None] = field(default_factory=dict)
    """By what a new run's forecast depends on beside this: most that come at once are alike."""

    def foresee(self, run: Run) -> Forecast | None:
        assert self.rivals is not None
        first = run.pk == self.looked_for
        alike = (*_lane_of(run).items(), run.pending, run.finished_records, run.priority, first)
        if alike not in self.foreseen:
            self.foreseen[alike] = _foresee(run, self.speeds, _others(self.rivals, str(run.pk)), {})
        return self.foreseen[alike]


def first_finish(run: Run) -> datetime | None:
    """`estimated_finish` of a run that has just been accepted, at a cost that does not grow with the number of runs:
    lanes are looked at every 5 s, and where more than 100 runs are in one, it is None."""
    if run.is_final:
        return None
    key, now = tuple(sorted(run.lanes.values())), time.monotonic()
    read, outlook = _outlooks.get(key, (-_OUTLOOK_S, None))
    if outlook is None or now - read >= _OUTLOOK_S:
        outlook = _look(run, key)
        if len(_outlooks) > 10_000:
            _outlooks.clear()
        _outlooks[key] = (now, outlook)
    if outlook.rivals is None:
        return None
    finish = _from_now(outlook.foresee(run), timezone.now())
    return finish.at if finish else None


def _look(run: Run, lanes: Sequence[str]) -> _Outlook:
    with engine_cursor(APP_ALIAS, prepared=True) as cursor:
        cursor.execute(
            """SELECT l.id, l.windows, l.parallelism, l.paused, s.latency_s, s.breaker, s.starts,
                      (SELECT jsonb_agg(jsonb_build_array(r.id, r.pending, o.priority))
                       FROM (SELECT run_id, priority FROM lane_run
                             WHERE tenant_id = %(tenant)s AND lane_id = l.id AND state = 'active'
                             LIMIT %(most)s) o
                            JOIN run r ON r.tenant_id = %(tenant)s AND r.id = o.run_id)
               FROM lane l LEFT JOIN lane_state s ON s.tenant_id = l.tenant_id AND s.lane_id = l.id
               WHERE l.tenant_id = %(tenant)s AND l.id = ANY(%(lanes)s::uuid[])""",
            {"tenant": run.tenant_id, "lanes": list(lanes), "most": _MOST_RIVALS + 1},
        )
        rows = cursor.fetchall()
    speeds, rivals = {}, {}
    for lane_id, windows, parallelism, paused, latency_s, breaker, starts, others in rows:
        lane = Lane(windows=json.loads(windows), parallelism=parallelism, paused=paused)
        state = LaneState(latency_s=latency_s, breaker=breaker, starts=json.loads(starts)) if starts else None
        speeds[str(lane_id)] = _speed(lane, state)
        rivals[str(lane_id)] = {
            run_id: Rival(pending, priority) for run_id, pending, priority in orjson.loads(others or "[]")
        }
    crowded = any(len(others) > _MOST_RIVALS for others in rivals.values())
    return _Outlook(speeds, None if crowded else rivals, looked_for=run.pk)


def _others(rivals: Mapping[str, Mapping[str, Rival]], run_id: str) -> dict[str, list[Rival]]:
    """By lane, everybody but this run."""
    return {
        lane: [rival for other, rival in there.items() if other != run_id] for lane, there in rivals.items()
    }


def _lane_of(run: Run) -> dict[Pair, str]:
    return {pair: run.lanes[pair[1]] for pair in TEMPLATES[run.template].providers(run.config)}


def _foresee(
    run: Run,
    speeds: Mapping[str, LaneSpeed],
    rivals: Mapping[str, Sequence[Rival]],
    asked: Mapping[Pair, int],
    elapsed_s: float = 0.0,
) -> Forecast | None:
    progress = Progress(run.pending, run.finished_records, asked, elapsed_s)
    return forecast(progress, _lane_of(run), speeds, rivals, run.priority)


def _from_now(foreseen: Forecast | None, now: datetime) -> Finish | None:
    if foreseen is None or timedelta(seconds=foreseen.likely) > _LONGEST:
        return None
    soonest, likely, latest = (
        now + min(timedelta(seconds=seconds), 2 * _LONGEST)
        for seconds in (foreseen.soonest, foreseen.likely, foreseen.latest)
    )
    return Finish(likely, soonest, latest)


def _speeds(lane_ids: Iterable[uuid.UUID]) -> dict[str, LaneSpeed]:
    lanes = list(Lane.objects.filter(pk__in=list(lane_ids)))
    states = {
        state.lane_id: state for state in LaneState.objects.filter(lane_id__in=[lane.pk for lane in lanes])
    }
    return {str(lane.pk): _speed(lane, states.get(lane.pk)) for lane in lanes}


def _speed(lane: Lane, state: LaneState | None) -> LaneSpeed:
    return LaneSpeed(
        windows=tuple(_allowance(window, state) for window in lane.windows),
        parallelism=lane.parallelism,
        latency_s=state.latency_s if state else None,
        stopped=lane.paused or bool(state and state.breaker != "closed"),
    )


def _allowance(window: Mapping[str, Any], state: LaneState | None) -> Allowance:
    period, group = float(window["period"]), window.get("group", "")
    since = timezone.now().timestamp() - period
    history = state.starts.get(f"{period:g}:{group}", []) if state else []
    used = sum(int(count) for end, count in history if end > since)
    return Allowance(window["rate"], period, used, group)


def _rivals(
    lane_ids: Iterable[uuid.UUID],
) -> tuple[dict[str, dict[str, Rival]], set[uuid.UUID]]:
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
    found: dict[str, dict[str, Rival]] = defaultdict(dict)
    for lane_id, run_id, priority in entries:
        found[str(lane_id)][str(run_id)] = Rival(pending.get(run_id, 0), priority)
    return found, parked
