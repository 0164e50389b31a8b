"""What the ops console's overview shows of the engine: a handful of statements, each bounded, across all tenants."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections

from tenants.errors import ScopeError
from tenants.scope import OPS_ALIAS, ops_reason
from workflows.models import Lane, LaneState, Run
from workflows.states import RunStatus

UNDER_WAY = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED)
PAIRS_READ = 300  # runs in lanes, the longest waiting first
COUNT_UP_TO = 1_000  # of each


@dataclass(frozen=True, slots=True)
class WaitingLane:
    """A lane with ready work. `waiting` is a lower bound where `more` says so."""

    lane_id: UUID
    tenant_id: UUID
    tenant: str
    provider: str
    key_hint: str
    paused: bool
    wait_reason: str
    waiting: int
    more: bool
    oldest: datetime | None

    @property
    def title(self) -> str:
        return f"{self.provider} …{self.key_hint}"


def runs_under_way() -> dict[str, int]:
    """How many runs are queued, running and paused; reads the unfinished runs alone, tenant by tenant."""
    counts = _rows(
        """SELECT r.status, sum(r.number)::int FROM tenants_tenant t
           CROSS JOIN LATERAL (SELECT status, count(*) AS number FROM run
                               WHERE tenant_id = t.id AND status = ANY(%s) GROUP BY status) r
           GROUP BY r.status""",
        [list(UNDER_WAY)],
    )
    found = dict(counts)
    return {status: found.get(status, 0) for status in UNDER_WAY}


def waiting_lanes(most: int = 10) -> list[WaitingLane]:
    """The lanes with the most ready work that no call has been started for, the fullest first."""
    rows = _rows(
        """SELECT l.id, l.tenant_id, t.name, l.provider, l.key_hint, l.paused, coalesce(s.wait_reason, ''),
                  sum(w.number)::int, bool_or(w.number >= %s), min(w.oldest)
           FROM (SELECT lane_id, run_id FROM lane_run ORDER BY since LIMIT %s) b
           CROSS JOIN LATERAL (SELECT count(*) AS number, min(ready_at) AS oldest
                               FROM (SELECT ready_at FROM step_queue
                                     WHERE lane_id = b.lane_id AND run_id = b.run_id AND not_before IS NULL
                                       AND sent_at IS NULL
                                     ORDER BY id LIMIT %s) q) w
           JOIN lane l ON l.id = b.lane_id JOIN tenants_tenant t ON t.id = l.tenant_id
           LEFT JOIN lane_state s ON s.tenant_id = l.tenant_id AND s.lane_id = l.id
           WHERE w.number > 0
           GROUP BY l.id, l.tenant_id, t.name, l.provider, l.key_hint, l.paused, s.wait_reason
           ORDER BY 8 DESC, l.id LIMIT %s""",
        [COUNT_UP_TO, PAIRS_READ, COUNT_UP_TO, most],
    )
    return [WaitingLane(*row) for row in rows]


def oldest_ready() -> datetime | None:
    """Since when the longest waiting step could have been started, of runs that are not paused."""
    return _rows(
        """SELECT min(w.ready_at) FROM (SELECT lane_id, run_id FROM lane_run WHERE state = 'active'
                                        ORDER BY since LIMIT %s) b
           JOIN lane l ON l.id = b.lane_id AND NOT l.paused
           CROSS JOIN LATERAL (SELECT ready_at FROM step_queue
                               WHERE lane_id = b.lane_id AND run_id = b.run_id AND not_before IS NULL
                                 AND sent_at IS NULL
                               ORDER BY id LIMIT 1) w""",
        [PAIRS_READ],
    )[0][0]


def unattended_s() -> float:
    """For how many seconds the longest unattended work has been so: it could go on, and no worker holds its lane.

    0 while workers hold every lane that has work, however long that work has to wait for a vendor's limits.
    """
    return float(
        _rows(
            """SELECT coalesce(max(extract(epoch FROM clock_timestamp()
                          - greatest(w.ready_at, s.lease_until, s.released_at))), 0)::float
               FROM (SELECT lane_id, run_id FROM lane_run WHERE state = 'active' ORDER BY since LIMIT %s) b
               JOIN lane l ON l.id = b.lane_id AND NOT l.paused
               JOIN lane_state s ON s.tenant_id = l.tenant_id AND s.lane_id = l.id
                    AND (s.holder IS NULL OR s.lease_until < clock_timestamp())
               CROSS JOIN LATERAL (SELECT ready_at FROM step_queue
                                   WHERE lane_id = b.lane_id AND run_id = b.run_id AND not_before IS NULL
                                   ORDER BY id LIMIT 1) w""",
            [PAIRS_READ],
        )[0][0]
    )


def paused_lanes(most: int = 10) -> list[Lane]:
    return list(Lane.objects.filter(paused=True).select_related("tenant").order_by("-id")[:most])


def resting_lanes(most: int = 10) -> list[LaneState]:
    """Lanes whose breaker is not closed: the vendor failed too often."""
    states = LaneState.objects.exclude(breaker="closed").select_related("tenant", "lane")
    return list(states.order_by("-id")[:most])


def last_runs(most: int = 10) -> list[Run]:
    return list(Run.objects.select_related("tenant", "workflow").order_by("-id")[:most])


def _rows(statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    if ops_reason() is None:
        raise ScopeError("The overview crosses tenants: open an ops scope first.")
    with connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
