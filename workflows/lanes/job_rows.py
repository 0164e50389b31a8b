"""What the jobs of vendors are in the database: written and read only for entries that have one.

The functions take a cursor of the app login inside a transaction in which the tenant is set.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from workflows.lanes import book
from workflows.lanes.work import CALLBACK, Posted, Settlement, Work

# What a callback that was posted while its call was still open waits for.
WAKE = """
    UPDATE step_queue q SET not_before = NULL, reason = ''
    WHERE q.id = ANY(%s) AND q.tenant_id = %s AND q.reason = 'callback' AND EXISTS (
        SELECT 1 FROM callback c WHERE c.tenant_id = q.tenant_id AND c.entry_id = q.id AND c.state = 'new')
    RETURNING q.lane_id
"""


def put_back(
    cursor: Any, tenant_id: uuid.UUID, settlements: Sequence[Settlement]
) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    """Put entries back whose attempt goes on, with what is under way: (the entries that were still the holder's, lanes
    that have work at once). What was reserved for a job stays reserved; its deadline is set when it begins."""
    ordered = sorted(settlements, key=lambda s: s.work.id)
    mine = book.ids(
        cursor,
        """UPDATE step_queue q SET attempt = t.next_attempt, crashes = t.crashes, sent_at = NULL, deadline_at = NULL,
                  holder = NULL, ready_at = now(), reason = t.reason, job = t.job::jsonb,
                  reserved = CASE WHEN t.job IS NULL THEN 0 ELSE q.reserved END,
                  job_until = CASE WHEN t.job IS NULL THEN NULL
                                   ELSE coalesce(q.job_until, now() + t.lasts * interval '1 second') END,
                  not_before = CASE WHEN t.after > 0 THEN least(now() + t.after * interval '1 second', q.job_until) END,
                  tried_at = coalesce(q.tried_at, q.sent_at)
           FROM unnest(%s::uuid[], %s::int[], %s::uuid[], %s::int[], %s::int[], %s::float[], %s::text[], %s::text[],
                       %s::float[]) t(id, attempt, holder, next_attempt, crashes, after, reason, job, lasts)
           WHERE q.id = t.id AND q.attempt = t.attempt AND q.holder IS NOT DISTINCT FROM t.holder
           RETURNING q.id""",
        [
            [s.work.id for s in ordered],
            [s.work.attempt for s in ordered],
            [s.holder for s in ordered],
            [s.next_attempt for s in ordered],
            [s.work.crashes for s in ordered],
            [s.again_after for s in ordered],
            [s.again_reason for s in ordered],
            [book.dump(s.job.to_json() if s.job else None) for s in ordered],
            [s.job.lasts if s.job else 0.0 for s in ordered],
        ],
    )
    waiting = [s.work.id for s in ordered if s.job is not None and s.job.kind == CALLBACK]
    return mine, book.ids(cursor, WAKE, [waiting, tenant_id]) if waiting else set()


def cost_once(cursor: Any, tenant_id: uuid.UUID, late: Sequence[Settlement]) -> None:
    """Take the cost off answers to jobs that somebody else has settled, or still has in hand: a job is paid once."""
    of_jobs = [s for s in late if s.work.job is not None]
    if not of_jobs:
        return
    paid = book.ids(
        cursor,
        """SELECT queue_id FROM step WHERE tenant_id = %s AND record_id = ANY(%s) AND queue_id = ANY(%s)
                  AND status IN ('done', 'late')
           UNION SELECT id FROM step_queue WHERE id = ANY(%s) AND tenant_id = %s""",
        [
            tenant_id,
            [s.work.record_id for s in of_jobs],
            [s.work.id for s in of_jobs],
            [s.work.id for s in of_jobs],
            tenant_id,
        ],
    )
    for settlement in of_jobs:
        if settlement.work.id in paid:
            settlement.called, settlement.credits = False, 0


def mark_read(cursor: Any, tenant_id: uuid.UUID, settlements: Sequence[Settlement]) -> None:
    """What was posted has been read. The answer, if it was one, goes into the history; the body goes."""
    read = [(post, "unreadable" if s.goes_on else "read") for s in settlements for post in s.read]
    if not read:
        return
    cursor.execute(
        """UPDATE callback c SET state = t.state, body = ''::bytea, read_at = now()
           FROM unnest(%s::uuid[], %s::text[]) t(id, state) WHERE c.tenant_id = %s AND c.id = t.id AND c.state = 'new'""",
        [[entry[0] for entry in read], [entry[1] for entry in read], tenant_id],
    )


def attach_posted(cursor: Any, tenant_id: uuid.UUID, works: Sequence[Work]) -> None:
    """Give entries what their vendors have posted and nobody has read, the oldest first."""
    by_id = {work.id: work for work in works}
    if not by_id:
        return
    found = book.rows(
        cursor,
        """SELECT entry_id, id, attempt, body FROM callback
           WHERE tenant_id = %s AND entry_id = ANY(%s) AND state = 'new' ORDER BY id""",
        [tenant_id, list(by_id)],
    )
    for entry_id, post_id, attempt, body in found:
        by_id[entry_id].posted.append(Posted(post_id, attempt, bytes(body)))
