"""The sweep: makes lost messages, dead workers and flushed brokers harmless.

Every runner runs it each second, the one that gets the advisory lock does it; correctness depends on nothing else.
Runs as the ops login: it looks across tenants.
"""

import uuid

from django.db import connections, transaction

from tenants import leaving
from tenants.failpoints import reach
from tenants.scope import OPS_ALIAS, ops_scope
from workflows.lanes import lease, ring
from workflows.lanes.book import rows
from workflows.operations.cancel import cancel_waiting
from workflows.operations.settle_late import settle_late

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
      AND (s.rung_at IS NULL OR s.rung_at < clock_timestamp() - interval '5 seconds')
"""  # noqa: S608 - a fragment of ours


def sweep() -> list[tuple[uuid.UUID, uuid.UUID]]:
    """One sweep; returns (tenant, lane) of the lanes that have work and no live holder. Nothing if another sweeps."""
    with ops_scope("sweep"), transaction.atomic(using=OPS_ALIAS), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_xact_lock(%s), {lease.HURRY}", [LOCK, lease.STALLED])
        if not cursor.fetchone()[0]:
            return []
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
        woken, late = _posted(cursor)
        promoted += woken
        promoted += _unpark_months(cursor)
        promoted += _unpark_runs(cursor)
        idle = rows(cursor, LANES_WITH_WORK, [])
        leaving.ring_if_due(cursor)
        cancelled = rows(
            cursor, "SELECT DISTINCT tenant_id, run_id FROM lane_run WHERE state = 'cancelled'", []
        )
        stalled = rows(
            cursor,
            """UPDATE run SET filled_at = clock_timestamp()
               WHERE upload_id IS NOT NULL AND filled < total AND status NOT IN ('failed', 'completed')
                 AND coalesce(filled_at, created_at) < clock_timestamp() - %s * interval '1 second'
               RETURNING tenant_id, id""",
            [FILL_STALLED_S],
        )
        reach("sweep.written")
    reach("sweep.committed")
    for tenant_id in sorted({row[0] for row in late}):
        settle_late(tenant_id, [row[1] for row in late if row[0] == tenant_id])
    ring.ring_purge_if_due()
    ring.ring_by_the_clock()
    for tenant_id, run_id in stalled:
        ring.ring_fill(tenant_id, run_id)
    for tenant_id, run_id in cancelled:
        cancel_waiting(tenant_id, run_id)
    return sorted({(row[0], row[1]) for row in (*promoted, *idle)})


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


def _posted(
    cursor: object,
) -> tuple[list[tuple[uuid.UUID, uuid.UUID]], list[tuple[uuid.UUID, uuid.UUID]]]:
    """What vendors posted: (tenant, lane) of steps that can go on with it, (tenant, post) of those that came too late."""
    found = rows(
        cursor,
        """SELECT c.tenant_id, c.id, q.id, q.reason FROM callback c LEFT JOIN step_queue q ON q.id = c.entry_id
           WHERE c.state = 'new' ORDER BY c.received_at LIMIT %s""",
        [POSTS],
    )
    waiting = [row[2] for row in found if row[3] == "callback"]
    woken = rows(
        cursor,
        """UPDATE step_queue SET not_before = NULL, reason = '' WHERE id = ANY(%s) AND reason = 'callback'
           RETURNING tenant_id, lane_id""",
        [waiting],
    ) if waiting else []  # fmt: skip
    return woken, [(row[0], row[1]) for row in found if row[2] is None]


def _heal_followers(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let steps go on that wait for an answer which has come, or whose asker is gone or waits itself: one that leads may
    come to be stamped beside an equal question, and the other was taken for the leader."""
    rows(
        cursor,
        """DELETE FROM lookup l USING step_queue f
           WHERE f.reason = 'duplicate' AND l.tenant_id = f.tenant_id AND l.fingerprint = f.fingerprint
             AND l.outcome = '' AND NOT EXISTS (
                 SELECT 1 FROM step_queue q WHERE q.id = l.leader AND q.reason <> 'duplicate') RETURNING l.id""",
        [],
    )
    return rows(
        cursor,
        """UPDATE step_queue q SET not_before = NULL, reason = ''
           WHERE q.reason = 'duplicate' AND NOT EXISTS (
               SELECT 1 FROM lookup l JOIN run r ON r.id = q.run_id
               WHERE l.tenant_id = q.tenant_id AND l.fingerprint = q.fingerprint AND l.livemode = r.livemode
                 AND l.provider = split_part(q.name, ':', 2) AND l.outcome = '')
           RETURNING q.tenant_id, q.lane_id""",
        [],
    )


def _unpark_months(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let work go on that waits for its tenant's monthly limit, when there is room again or the month is over."""
    return rows(
        cursor,
        """UPDATE lane_run l SET state = CASE WHEN l.state = 'budget' THEN 'active' ELSE l.state END,
                  parked_until = NULL, parked_for = 0
           FROM tenants_tenant t LEFT JOIN credit_month m ON m.tenant_id = t.id
                AND m.month = date_trunc('month', clock_timestamp() AT TIME ZONE 'utc')::date
           WHERE l.parked_until IS NOT NULL AND t.id = l.tenant_id AND (
               l.state <> 'budget' OR t.monthly_credit_limit IS NULL
               OR t.monthly_credit_limit - coalesce(m.spent + m.reserved, 0) >= l.parked_for)
           RETURNING l.tenant_id, l.lane_id""",
        [],
    )


def _unpark_runs(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let runs go on that wait at their own limit and have room. Whoever frees it wakes them at once where it can, and
    cannot where the parking was committed after it looked, or where what was freed came by another way than a call."""
    return rows(
        cursor,
        """UPDATE lane_run l SET state = 'active', parked_for = 0 FROM run r
           WHERE l.state = 'budget' AND l.parked_until IS NULL AND r.id = l.run_id AND r.tenant_id = l.tenant_id
             AND (r.credit_limit IS NULL
                  OR r.credit_limit - r.credits_spent - r.credits_reserved >= greatest(l.parked_for, 1))
           RETURNING l.tenant_id, l.lane_id""",
        [],
    )


def _follow_runs(cursor: object) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Bring entries in line that the engine made while their run was being paused, resumed or cancelled."""
    return rows(
        cursor,
        """UPDATE lane_run l SET state = CASE WHEN r.status IN ('paused', 'cancelled') THEN r.status ELSE 'active' END
           FROM run r WHERE r.id = l.run_id AND (
               (r.status IN ('paused', 'cancelled') AND l.state <> r.status)
               OR (r.status IN ('queued', 'running') AND l.state = 'paused'))
           RETURNING l.tenant_id, l.lane_id""",
        [],
    )
