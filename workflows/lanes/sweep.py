"""The sweep: makes lost messages, dead workers and flushed brokers harmless.

Every runner runs it each second, the one that gets the advisory lock does it; correctness depends on nothing else.
Runs as the ops login: it looks across tenants.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import connections, transaction

from tenants import leaving
from tenants.failpoints import reach
from tenants.scope import OPS_ALIAS, ops_scope
from workflows.lanes import hurry, ring
from workflows.lanes.book import rows
from workflows.lanes.parking import unpark_for_nothing
from workflows.operations.cancel import cancel_waiting
from workflows.operations.settle_late import settle_late

log = structlog.get_logger(__name__)

LOCK = 0x57454952  # "WEIR"
BATCH = 2_000
FILL_STALLED_S = 10
POSTS = 500

# A lane that stands still for its key's sake has work all the same for runs that do not wait for vendors.
PASSED_OVER = """(l.pause_reason IN ('auth_failed', 'no_credits') AND EXISTS (
        SELECT 1 FROM lane_run lr JOIN run r ON r.id = lr.run_id
        WHERE lr.tenant_id = l.tenant_id AND lr.lane_id = l.id AND lr.state = 'active'
          AND r.config->>'on_outage' = 'skip'))"""

# A loose index scan: one probe per lane that has waiting work, however many steps wait in it.
LANES_WITH_WORK = f"""
    WITH RECURSIVE lanes AS (
        (SELECT lane_id FROM step_queue WHERE not_before IS NULL ORDER BY lane_id LIMIT 1)
        UNION ALL
        SELECT (SELECT q.lane_id FROM step_queue q WHERE q.not_before IS NULL AND q.lane_id > lanes.lane_id
                ORDER BY q.lane_id LIMIT 1)
        FROM lanes WHERE lanes.lane_id IS NOT NULL)
    SELECT l.tenant_id, l.id FROM lanes JOIN lane l ON l.id = lanes.lane_id JOIN lane_state s ON s.lane_id = l.id
    WHERE (NOT l.paused OR {PASSED_OVER}) AND (s.holder IS NULL OR s.lease_until < clock_timestamp())
"""  # noqa: S608 - a fragment of ours

# Asked for apart: posts that wait with their steps, as a paused run's do, must not hide those that wait for nobody.
LATE_POSTS = """
    SELECT c.tenant_id, c.id FROM callback c
    WHERE c.state = 'new' AND NOT EXISTS (SELECT 1 FROM step_queue q WHERE q.id = c.entry_id)
    ORDER BY c.received_at LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What a sweep came across: (tenant, id) pairs each."""

    lanes: list[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=list)  # with work and no live holder
    late: list[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=list)  # posts that nobody waits for
    stalled: list[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=list)  # runs whose file is not read on
    cancelled: list[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=list)  # runs of which steps may wait


def sweep() -> list[tuple[uuid.UUID, uuid.UUID]]:
    """One sweep; returns (tenant, lane) of the lanes that have work and no live holder. Nothing if another sweeps."""
    found = look()
    see_to(found)
    return found.lanes


def look() -> Found:
    """Put right what a statement can, in one transaction, and see what else there is to do. Nothing if another sweeps.

    What somebody else is writing at this moment is left to the next sweep: waiting for it would keep all others waiting,
    and two may wait for each other.
    """
    with ops_scope("sweep"), transaction.atomic(using=OPS_ALIAS), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_xact_lock(%s), {hurry.SET}", [LOCK, hurry.STALLED])
        if not cursor.fetchone()[0]:
            return Found()
        promoted = rows(
            cursor,
            """UPDATE step_queue q SET not_before = NULL, reason = ''
               FROM (SELECT id FROM step_queue WHERE not_before <= clock_timestamp() ORDER BY not_before LIMIT %s
                     FOR UPDATE SKIP LOCKED) due
               WHERE q.id = due.id RETURNING q.tenant_id, q.lane_id""",
            [BATCH],
        )
        promoted += _heal_followers(cursor)
        promoted += _follow_runs(cursor)
        promoted += _wake_posted(cursor)
        promoted += _unpark_months(cursor)
        promoted += _unpark_runs(cursor)
        promoted += unpark_for_nothing(cursor)
        idle = rows(cursor, LANES_WITH_WORK, [])
        late = rows(cursor, LATE_POSTS, [POSTS])
        leaving.ring_if_due(cursor)
        cancelled = rows(
            cursor, "SELECT DISTINCT tenant_id, run_id FROM lane_run WHERE state = 'cancelled'", []
        )
        stalled = rows(
            cursor,
            """UPDATE run r SET filled_at = clock_timestamp()
               FROM (SELECT id FROM run
                     WHERE upload_id IS NOT NULL AND filled < total AND status NOT IN ('failed', 'completed')
                       AND coalesce(filled_at, created_at) < clock_timestamp() - %s * interval '1 second'
                     FOR NO KEY UPDATE SKIP LOCKED) still
               WHERE r.id = still.id RETURNING r.tenant_id, r.id""",
            [FILL_STALLED_S],
        )
        reach("sweep.written")
    reach("sweep.committed")
    return Found(
        sorted({(row[0], row[1]) for row in (*promoted, *idle)}),
        *([(row[0], row[1]) for row in found] for found in (late, stalled, cancelled)),
    )


def see_to(found: Found) -> None:
    """What takes transactions of its own. What goes wrong with one tenant's is told, and holds up nobody else's."""
    for tenant_id in sorted({row[0] for row in found.late}):
        _apart(settle_late, tenant_id, [row[1] for row in found.late if row[0] == tenant_id])
    _apart(ring.ring_purge_if_due)
    _apart(ring.ring_by_the_clock)
    for tenant_id, run_id in found.stalled:
        _apart(ring.ring_fill, tenant_id, run_id)
    for tenant_id, run_id in found.cancelled:
        _apart(cancel_waiting, tenant_id, run_id)


def _apart(work: Callable[..., object], *args: Any) -> None:
    try:
        work(*args)
    except Exception:
        log.exception("sweep_left_something", what=work.__name__, about=[str(arg) for arg in args[:2]])


def has_work(lane_id: uuid.UUID) -> bool:
    """Whether anything could be started in this lane: asked once more after a release."""
    with ops_scope("lane runner"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            f"""SELECT EXISTS (SELECT 1 FROM step_queue q JOIN lane_run r ON r.lane_id = q.lane_id AND r.run_id = q.run_id
                              WHERE q.lane_id = %s AND q.not_before IS NULL AND r.state = 'active')
                      AND (SELECT NOT l.paused OR {PASSED_OVER} FROM lane l WHERE l.id = %s)""",  # noqa: S608
            [lane_id, lane_id],
        )
        return bool(cursor.fetchone()[0])


def _wake_posted(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let steps go on that wait for what their vendors have posted."""
    return rows(
        cursor,
        """UPDATE step_queue q SET not_before = NULL, reason = ''
           FROM (SELECT w.id FROM callback c JOIN step_queue w ON w.id = c.entry_id
                 WHERE c.state = 'new' AND w.reason = 'callback' LIMIT %s FOR UPDATE OF w SKIP LOCKED) posted
           WHERE q.id = posted.id RETURNING q.tenant_id, q.lane_id""",
        [POSTS],
    )


def _heal_followers(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let steps go on that wait for an answer which has come, or whose asker is gone or waits itself: one that leads may
    come to be stamped beside an equal question, and the other was taken for the leader. One that was put back to be asked
    again leads no more while its run is paused or at a limit; what a vendor has taken on keeps its lead until its time is
    over."""
    rows(
        cursor,
        """DELETE FROM lookup l USING (
               SELECT k.id FROM step_queue f JOIN lookup k ON k.tenant_id = f.tenant_id AND k.fingerprint = f.fingerprint
               WHERE f.reason = 'duplicate' AND k.outcome = '' AND NOT EXISTS (
                   SELECT 1 FROM step_queue q WHERE q.id = k.leader AND q.reason <> 'duplicate'
                   AND (q.sent_at IS NOT NULL OR q.job_until > clock_timestamp() OR EXISTS (
                       SELECT 1 FROM lane_run lr WHERE lr.tenant_id = q.tenant_id AND lr.lane_id = q.lane_id
                       AND lr.run_id = q.run_id AND lr.state = 'active')))
               FOR UPDATE OF k SKIP LOCKED) alone
           WHERE l.id = alone.id RETURNING l.id""",
        [],
    )
    return rows(
        cursor,
        """UPDATE step_queue q SET not_before = NULL, reason = ''
           FROM (SELECT w.id FROM step_queue w
                 WHERE w.reason = 'duplicate' AND NOT EXISTS (
                     SELECT 1 FROM lookup l JOIN run r ON r.id = w.run_id
                     WHERE l.tenant_id = w.tenant_id AND l.fingerprint = w.fingerprint AND l.livemode = r.livemode
                       AND l.provider = split_part(w.name, ':', 2) AND l.outcome = '')
                 FOR UPDATE OF w SKIP LOCKED) alone
           WHERE q.id = alone.id RETURNING q.tenant_id, q.lane_id""",
        [],
    )


def _unpark_months(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let work go on that waits for its tenant's monthly limit, when there is room again or the month is over."""
    return rows(
        cursor,
        """UPDATE lane_run l SET state = CASE WHEN l.state = 'budget' THEN 'active' ELSE l.state END,
                  parked_until = NULL, parked_for = 0
           FROM (SELECT p.id FROM lane_run p JOIN tenants_tenant t ON t.id = p.tenant_id
                 LEFT JOIN credit_month m ON m.tenant_id = t.id
                      AND m.month = date_trunc('month', clock_timestamp() AT TIME ZONE 'utc')::date
                 WHERE p.parked_until IS NOT NULL AND (
                     p.state <> 'budget' OR t.monthly_credit_limit IS NULL
                     OR t.monthly_credit_limit - coalesce(m.spent + m.reserved, 0) >= p.parked_for)
                 FOR NO KEY UPDATE OF p SKIP LOCKED) room
           WHERE l.id = room.id RETURNING l.tenant_id, l.lane_id""",
        [],
    )


def _unpark_runs(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let runs go on that wait at their own limit and have room. Whoever frees it wakes them at once where it can, and
    cannot where the parking was committed after it looked, or where what was freed came by another way than a call."""
    return rows(
        cursor,
        """UPDATE lane_run l SET state = 'active', parked_for = 0
           FROM (SELECT p.id FROM lane_run p JOIN run r ON r.id = p.run_id AND r.tenant_id = p.tenant_id
                 WHERE p.state = 'budget' AND p.parked_until IS NULL AND (
                     r.credit_limit IS NULL
                     OR r.credit_limit - r.credits_spent - r.credits_reserved >= greatest(p.parked_for, 1))
                 FOR NO KEY UPDATE OF p SKIP LOCKED) room
           WHERE l.id = room.id RETURNING l.tenant_id, l.lane_id""",
        [],
    )


def _follow_runs(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Bring entries in line that the engine made while their run was being paused, resumed or cancelled."""
    return rows(
        cursor,
        """UPDATE lane_run l SET state = CASE r.status WHEN 'paused' THEN 'paused' WHEN 'cancelled' THEN 'cancelled'
                                              WHEN 'failed' THEN 'cancelled' ELSE 'active' END
           FROM (SELECT b.id, r.status FROM lane_run b JOIN run r ON r.id = b.run_id
                 WHERE (r.status IN ('paused', 'cancelled') AND b.state <> r.status)
                    OR (r.status = 'failed' AND b.state <> 'cancelled')
                    OR (r.status IN ('queued', 'running') AND b.state = 'paused')
                 FOR NO KEY UPDATE OF b SKIP LOCKED) r
           WHERE l.id = r.id RETURNING l.tenant_id, l.lane_id""",
        [],
    )
