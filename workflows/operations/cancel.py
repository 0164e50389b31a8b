"""Turning what waits of a cancelled run into history, in chunks. Calls in flight are finished by their holder."""

import uuid
from collections import Counter
from typing import Any

from django.db import connections

from billing import quota
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, tenant_scope
from workflows.lanes import book

CHUNK = 1_000
UNDER_WAY = "The vendor was at it; what it answers later is kept as late."


def cancel_waiting(tenant_id: uuid.UUID, run_id: uuid.UUID, *, most: int = 20_000) -> int:
    """Cancel up to `most` waiting steps of a run, a chunk per transaction; returns how many. Harmless twice."""
    total = 0
    while total < most:
        count = _chunk(tenant_id, run_id)
        total += count
        if count < CHUNK:
            break
    return total


def _chunk(tenant_id: uuid.UUID, run_id: uuid.UUID) -> int:
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        if not book.hold_tenant(cursor, tenant_id):
            return 0
        # The month before the run, as the engine has it; there is a row only where the tenant has a monthly limit.
        cursor.execute(
            "SELECT 1 FROM credit_month WHERE tenant_id = %s ORDER BY month FOR UPDATE", [tenant_id]
        )
        gone = book.rows(
            cursor,
            """DELETE FROM step_queue q USING (
                   SELECT id FROM step_queue WHERE run_id = %s AND tenant_id = %s AND sent_at IS NULL LIMIT %s
                   FOR UPDATE SKIP LOCKED) t
               WHERE q.id = t.id
               RETURNING q.id, q.lane_id, q.record_id, split_part(q.name, ':', 1), split_part(q.name, ':', 2), q.attempt,
                         q.ready_at, q.fingerprint, q.context = '[]'::jsonb AND q.attempt = 1 AND q.crashes = 0
                         AND q.job IS NULL AND NOT EXISTS (
                             SELECT 1 FROM step s WHERE s.tenant_id = q.tenant_id AND s.record_id = q.record_id
                             AND s.status IN ('done', 'dead', 'ambiguous')),
                         q.job IS NOT NULL AND NOT coalesce((q.job->>'counted')::boolean, false),
                         q.reserved, q.job->>'month',
                         (SELECT coalesce(sum((t.step->>'credits')::bigint), 0)
                          FROM jsonb_array_elements(q.context) t(step))""",
            [run_id, tenant_id, CHUNK],
        )
        if gone:
            book.write_history(
                cursor,
                tenant_id,
                [
                    (uuid7(), row[1], run_id, row[2], row[0], row[3], row[4], row[5], "cancelled", "",
                     UNDER_WAY if row[9] else "", None, None, None, 0, row[6], None, None)
                    for row in gone
                ],
            )  # fmt: skip
            book.drop_leads_of(cursor, tenant_id, [(row[0], row[7]) for row in gone])
            moved = book.rows(
                cursor,
                """UPDATE record r SET status = 'cancelled', finished_at = now(), credits = r.credits + paid.credits
                   FROM (SELECT id, status FROM record WHERE id = ANY(%s) AND tenant_id = %s FOR UPDATE) was,
                        unnest(%s::uuid[], %s::bigint[]) paid(id, credits)
                   WHERE r.id = was.id AND r.id = paid.id AND r.finished_at IS NULL RETURNING was.status""",
                [[row[2] for row in gone], tenant_id, [row[2] for row in gone], [row[12] for row in gone]],
            )
            _count_jobs(cursor, tenant_id, run_id, [(row[0], row[4]) for row in gone if row[9]])
            counts: Counter[str] = Counter()
            for (was,) in moved:
                counts[was] -= 1
            counts["cancelled"] = counts["ended"] = len(moved)
            counts["reserved"] = -sum(row[10] for row in gone)
            _free_month(
                cursor, tenant_id, run_id, [(row[11], row[10]) for row in gone if row[10] and row[11]]
            )
            # Records cancelled before any call are not billed.
            free = [row[2] for row in gone if row[8]]
            quota.give_back(cursor, tenant_id, [uuid7() for _ in free], free)
            book.count_runs(cursor, tenant_id, {run_id: counts})
        else:
            _forget_ended(cursor, tenant_id, run_id)
    return len(gone)


def _forget_ended(cursor: Any, tenant_id: uuid.UUID, run_id: uuid.UUID) -> None:
    """A run that failed has its end before its records have: its lanes forget it with its last step."""
    cursor.execute(
        """DELETE FROM lane_run l USING run r
           WHERE l.tenant_id = %s AND l.run_id = %s AND l.state = 'cancelled' AND r.tenant_id = l.tenant_id
             AND r.id = l.run_id AND r.finished_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM step_queue q WHERE q.tenant_id = l.tenant_id AND q.run_id = l.run_id)""",
        [tenant_id, run_id],
    )


def _free_month(cursor: object, tenant_id: uuid.UUID, run_id: uuid.UUID, held: list[tuple[str, int]]) -> None:
    """What was set aside in the tenant's months for jobs under way is free again."""
    if not held:
        return
    cursor.execute(  # type: ignore[attr-defined]
        """UPDATE credit_month m SET reserved = greatest(0, m.reserved - t.held)
           FROM (SELECT month, sum(held) AS held FROM unnest(%s::date[], %s::bigint[]) u(month, held) GROUP BY 1) t,
                run r
           WHERE m.tenant_id = %s AND m.month = t.month AND r.id = %s AND r.tenant_id = m.tenant_id AND r.livemode""",
        [[month for month, _ in held], [amount for _, amount in held], tenant_id, run_id],
    )


def _count_jobs(
    cursor: object, tenant_id: uuid.UUID, run_id: uuid.UUID, jobs: list[tuple[uuid.UUID, str]]
) -> None:
    """The calls that began these entries' jobs were made; what they cost comes with a late answer, if one comes."""
    if not jobs:
        return
    cursor.execute(  # type: ignore[attr-defined]
        """INSERT INTO billing_usageevent (id, tenant_id, key, kind, quantity, credits, provider, run_id, period, livemode)
           SELECT t.id, r.tenant_id, 'attempt:' || t.id, 'attempt', 1, 0, t.provider, r.id,
                  date_trunc('month', now() AT TIME ZONE 'utc')::date, r.livemode
           FROM unnest(%s::uuid[], %s::text[]) t(id, provider) JOIN run r ON r.id = %s AND r.tenant_id = %s
           ON CONFLICT DO NOTHING""",
        [[uuid7() for _ in jobs], [job[1] for job in jobs], run_id, tenant_id],
    )
