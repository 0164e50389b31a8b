"""Reads of lanes: what waits in them, what is in flight, and why nothing starts. All of them need the tenant's scope."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections
from django.utils import timezone

from integrations.models import Connection
from tenants.scope import APP_ALIAS, require_tenant_id
from workflows.models import Lane, LaneState, Run
from workflows.states import LaneRunState, WaitReason

# A run's share of a lane is counted up to here: a page says "10,000 and more", and no poll reads a million rows.
COUNTED = 10_000
# A holder reports at every renewal of its lease; what is older than this and the lane's period says nothing any more.
_REPORT_S = 10.0


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane as its owner sees it. `rate` and `period` are its first window's; `oldest_waiting_s` is None when idle."""

    id: uuid.UUID
    connection_id: uuid.UUID
    provider: str
    key_hint: str
    mode: str
    connection_status: str
    windows: list[dict[str, Any]]
    rate: int | None
    period: float | None
    parallelism: int
    paused: bool
    pause_reason: str
    pinned: bool
    bulk: bool
    waiting: int
    in_flight: int
    started_last_period: int
    oldest_waiting_s: float | None
    wait_reason: str | None
    breaker: str
    breaker_until: datetime | None


@dataclass(frozen=True, slots=True)
class RunLane:
    """A run's share of one lane; `waiting` counts up to COUNTED and no further."""

    id: uuid.UUID
    provider: str
    waiting: int
    in_flight: int
    wait_reason: str | None


@dataclass(frozen=True, slots=True)
class _Load:
    waiting: int = 0
    in_flight: int = 0
    oldest_s: float | None = None
    ready: bool = False
    reason: str = ""


# Through lane_run, whose runs lead to the queue's entries by index; the queue itself has none by tenant.
_LOADS = """
    SELECT lr.lane_id,
           count(*) FILTER (WHERE q.sent_at IS NULL),
           count(*) FILTER (WHERE q.sent_at IS NOT NULL),
           extract(epoch FROM now() - min(q.ready_at) FILTER (WHERE q.sent_at IS NULL))::float,
           bool_or(q.sent_at IS NULL AND q.not_before IS NULL AND lr.state = 'active'),
           mode() WITHIN GROUP (ORDER BY CASE
               WHEN q.not_before IS NOT NULL THEN coalesce(nullif(q.reason, ''), 'backoff')
               WHEN lr.state IN ('paused', 'budget') THEN lr.state END) FILTER (WHERE q.sent_at IS NULL)
    FROM lane_run lr JOIN step_queue q ON q.run_id = lr.run_id AND q.lane_id = lr.lane_id
    WHERE lr.tenant_id = %s AND lr.state <> 'cancelled' AND lr.lane_id = ANY(%s)
    GROUP BY lr.lane_id
"""

# Whether other runs that are as urgent have work waiting in the same lane: then a run waits for its turn.
_SHARED = """EXISTS (
        SELECT 1 FROM lane_run o WHERE o.tenant_id = lr.tenant_id AND o.lane_id = lr.lane_id AND o.run_id <> lr.run_id
        AND o.state = 'active' AND o.priority >= lr.priority AND EXISTS (
            SELECT 1 FROM step_queue q WHERE q.lane_id = o.lane_id AND q.run_id = o.run_id
            AND q.not_before IS NULL AND q.sent_at IS NULL))"""

_RUN_LOADS = f"""
    SELECT lr.lane_id, lr.state, ready.n, later.n, later.reason, flying.n, {_SHARED}
    FROM lane_run lr
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (
            SELECT 1 FROM step_queue q WHERE q.lane_id = lr.lane_id AND q.run_id = lr.run_id
            AND q.not_before IS NULL AND q.sent_at IS NULL LIMIT %s) x) ready
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, min(x.reason) AS reason FROM (
            SELECT q.reason FROM step_queue q WHERE q.lane_id = lr.lane_id AND q.run_id = lr.run_id
            AND q.not_before IS NOT NULL LIMIT %s) x) later
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM step_queue q WHERE q.lane_id = lr.lane_id AND q.run_id = lr.run_id
        AND q.not_before IS NULL AND q.sent_at IS NOT NULL) flying
    WHERE lr.tenant_id = %s AND lr.run_id = %s AND lr.state <> 'cancelled'
"""  # noqa: S608 - a fragment of ours


def lane_views(lane_ids: Collection[uuid.UUID] | None = None) -> list[LaneView]:
    """The tenant's lanes (or these of them) by provider and age, in three queries whatever their number."""
    lanes = Lane.objects.filter(connection__removed_at=None).select_related("connection")
    lanes = lanes.order_by("provider", "id")
    if lane_ids is not None:
        lanes = lanes.filter(pk__in=list(lane_ids))
    found = list(lanes)
    ids = [lane.pk for lane in found]
    states = {state.lane_id: state for state in LaneState.objects.filter(lane_id__in=ids)}
    loads = _loads(ids)
    return [_view(lane, states.get(lane.pk), loads.get(lane.pk, _Load())) for lane in found]


def lanes_of_connections(connection_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """The lane of each of these connections, by connection."""
    lanes = Lane.objects.filter(connection_id__in=list(connection_ids))
    return dict(lanes.values_list("connection_id", "id"))


def run_lanes(run: Run) -> list[RunLane]:
    """A run's share of its lanes, for those in which it has work, the fullest first."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(_RUN_LOADS, [COUNTED, COUNTED, require_tenant_id(), run.pk])
        rows = cursor.fetchall()
    ids = [row[0] for row in rows]
    lanes = {lane.pk: lane for lane in Lane.objects.filter(pk__in=ids)}
    states = {state.lane_id: state for state in LaneState.objects.filter(lane_id__in=ids)}
    shares = []
    for lane_id, in_lane, ready, later, later_reason, flying, shared in rows:
        if lane_id not in lanes or not ready + later + flying:
            continue
        reason = None
        if ready:
            reason = waiting_for(lanes[lane_id], states.get(lane_id), in_lane, shared=shared)
        elif later:
            reason = later_reason or WaitReason.BACKOFF
        shares.append(RunLane(lane_id, lanes[lane_id].provider, min(ready + later, COUNTED), flying, reason))
    return sorted(shares, key=lambda share: (-share.waiting, share.provider))


def run_wait(run: Run) -> tuple[str, RunLane] | None:
    """Why a run that is not final does not go faster, and in which lane most of it waits; None when nothing waits."""
    if run.is_final:
        return None
    for share in run_lanes(run):
        if share.waiting and share.wait_reason:
            return share.wait_reason, share
    return None


def is_shared(lane_id: uuid.UUID, run_id: uuid.UUID) -> bool:
    """Whether the run shares the lane with others that are as urgent and have work waiting there."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            f"SELECT {_SHARED} FROM lane_run lr WHERE lr.tenant_id = %s AND lr.lane_id = %s AND lr.run_id = %s",  # noqa: S608
            [require_tenant_id(), lane_id, run_id],
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def waiting_for(
    lane: Lane | None, state: LaneState | None, in_lane: str, *, shared: bool = False
) -> str | None:
    """The word of WaitReason for work that is ready and does not start; None where it is about to. `shared`: other runs
    that are as urgent use the lane's limits too."""
    if in_lane in (LaneRunState.PAUSED, LaneRunState.BUDGET):
        return str(in_lane)
    if lane is not None and lane.paused:
        return WaitReason.PAUSED
    if state is None:
        return None
    if state.cooldown_until and state.cooldown_until > timezone.now():
        return WaitReason.COOLDOWN
    if state.breaker != "closed":
        return WaitReason.BREAKER
    if shared and state.wait_reason in (WaitReason.RATE, WaitReason.PARALLELISM):
        return WaitReason.TURN
    return state.wait_reason or None


def breaker_now(state: LaneState | None) -> str:
    """closed, open or half_open: a rest that is over is half-open, also where nobody holds the lane to say so."""
    if state is None or state.breaker == "closed":
        return "closed"
    over = state.breaker_until is None or state.breaker_until <= timezone.now()
    return "half_open" if over else "open"


def _loads(lane_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, _Load]:
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(_LOADS, [require_tenant_id(), list(lane_ids)])
        return {
            row[0]: _Load(row[1], row[2], row[3], bool(row[4]), row[5] or "") for row in cursor.fetchall()
        }


def _view(lane: Lane, state: LaneState | None, load: _Load) -> LaneView:
    connection: Connection = lane.connection
    window = lane.first_window
    reason = None
    if load.waiting or lane.paused:
        ready = load.ready or lane.paused
        reason = waiting_for(lane, state, LaneRunState.ACTIVE) if ready else load.reason or None
    return LaneView(
        id=lane.pk,
        connection_id=connection.pk,
        provider=lane.provider,
        key_hint=lane.key_hint,
        mode=connection.mode,
        connection_status=connection.status,
        windows=lane.windows,
        rate=window["rate"],
        period=window["period"],
        parallelism=lane.parallelism,
        paused=lane.paused,
        pause_reason=lane.pause_reason,
        pinned=lane.pinned,
        bulk=lane.bulk,
        waiting=load.waiting,
        in_flight=load.in_flight,
        started_last_period=_recent_starts(state, window["period"] or 0.0),
        oldest_waiting_s=None if load.oldest_s is None else round(max(0.0, load.oldest_s), 3),
        wait_reason=reason,
        breaker=breaker_now(state),
        breaker_until=state.breaker_until if state and breaker_now(state) == "open" else None,
    )


def _recent_starts(state: LaneState | None, period: float) -> int:
    if state is None or state.seen_at is None:
        return 0
    age = (timezone.now() - state.seen_at).total_seconds()
    return state.started_last_period if age < period + _REPORT_S else 0
