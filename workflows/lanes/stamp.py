"""Stamping: what is about to be sent is marked in the queue first, so that only stamped steps can be ambiguous.

The same step keeps a run and its tenant's month within their credit limits, and makes one of several equal questions
the one that is asked.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tenants.ids import uuid7
from workflows.lanes import book
from workflows.lanes.parking import Parking, park
from workflows.lanes.tally import Tally
from workflows.lanes.work import STAMP_GRACE_S, Flushed, Work

# Until somebody else's answer comes. A finite date: Python has no infinite one.
UNTIL_WOKEN = datetime(9999, 1, 1, tzinfo=UTC)

Stamp = tuple[Work, float, int]  # work, seconds that its call may take, worst credits in thousandths

MONTH = None  # among limits: the tenant's monthly one; the others go by their run's id


def stamp(
    cursor: Any,
    tenant_id: uuid.UUID,
    holder: uuid.UUID,
    stamps: Sequence[Stamp],
    tally: Tally,
    result: Flushed,
) -> None:
    """Mark starts in the queue; `result.stamped` names those that may be sent, the others are dropped or wait."""
    room = _Room(cursor, tenant_id, stamps, tally)
    stamps, refused = room.admit(stamps)
    # Whoever has a job under way has been the one to ask.
    under_way = [entry for entry in stamps if entry[0].job is not None]
    asking = [entry for entry in stamps if entry[0].job is None] if under_way else stamps
    stamps = [*under_way, *_leaders(cursor, tenant_id, asking, result)]
    if stamps:
        _mark(cursor, tenant_id, holder, stamps, tally, result)
    # Only now: the marking needs the run to be active in its lane. And only where there is no room in truth: steps that
    # turned out to wait for somebody else's answer took none, and nothing of theirs in flight would end the parking.
    parked = park(cursor, tenant_id, short) if refused and (short := room.without(refused)) else set()
    result.parked |= parked
    result.woken |= {
        (tenant_id, work.lane_id) for work, _, _ in refused if (work.lane_id, work.run.id) not in parked
    }


def _mark(
    cursor: Any,
    tenant_id: uuid.UUID,
    holder: uuid.UUID,
    stamps: Sequence[Stamp],
    tally: Tally,
    result: Flushed,
) -> None:
    stamps = sorted(stamps, key=lambda entry: entry[0].id)
    for work, _, worst in stamps:
        work.reserved = work.held + worst
        if work.job is None:
            work.month = tally.month.today
    stamped = book.ids(
        cursor,
        """UPDATE step_queue q SET sent_at = now(), deadline_at = now() + t.span * interval '1 second', holder = %s,
                  reserved = t.reserved
           FROM unnest(%s::uuid[], %s::int[], %s::float[], %s::bigint[]) t(id, attempt, span, reserved)
           WHERE q.id = t.id AND q.attempt = t.attempt AND q.sent_at IS NULL AND q.not_before IS NULL
             AND EXISTS (SELECT 1 FROM lane_run lr WHERE lr.tenant_id = q.tenant_id AND lr.lane_id = q.lane_id
                         AND lr.run_id = q.run_id AND lr.state = 'active')
           RETURNING q.id""",
        [
            holder,
            [work.id for work, _, _ in stamps],
            [work.attempt for work, _, _ in stamps],
            [span + STAMP_GRACE_S for _, span, _ in stamps],
            [work.reserved for work, _, _ in stamps],
        ],
    )
    result.stamped |= stamped
    tally.mark_running([work.record_id for work, _, _ in stamps if work.id in stamped and not work.taken])
    served: Counter[tuple[uuid.UUID, uuid.UUID]] = Counter()
    for work, _, _ in stamps:
        if work.id in stamped:
            served[(work.lane_id, work.run.id)] += 1
            tally.reserve(work)
    keys = sorted(served)
    cursor.execute(
        """UPDATE lane_run l SET vtime = l.vtime + t.n FROM unnest(%s::uuid[], %s::uuid[], %s::int[])
           t(lane_id, run_id, n) WHERE l.tenant_id = %s AND l.lane_id = t.lane_id AND l.run_id = t.run_id""",
        [[key[0] for key in keys], [key[1] for key in keys], [served[key] for key in keys], tenant_id],
    )
    dropped = [work for work, _, _ in stamps if work.id not in stamped and work.job is None]
    result.woken |= book.drop_leads(cursor, tenant_id, dropped)


def not_yet_stamped(
    cursor: Any, tenant_id: uuid.UUID, holder: uuid.UUID, stamps: Sequence[Stamp], result: Flushed
) -> list[Stamp]:
    """Of a flush that is written again: the starts that it did not stamp the first time. The others may be sent, and
    their price is set aside already, in the month of their stamp."""
    month_of = dict(
        book.rows(
            cursor,
            """SELECT q.id, date_trunc('month', q.sent_at AT TIME ZONE 'utc')::date
               FROM step_queue q, unnest(%s::uuid[], %s::int[]) t(id, attempt)
               WHERE q.id = t.id AND q.attempt = t.attempt AND q.tenant_id = %s AND q.holder = %s
                 AND q.sent_at IS NOT NULL""",
            [[work.id for work, _, _ in stamps], [work.attempt for work, _, _ in stamps], tenant_id, holder],
        )
    )
    result.stamped |= month_of.keys()
    for work, _, worst in stamps:
        if work.id in month_of:
            work.reserved = work.held + worst
            if work.job is None:
                work.month = month_of[work.id]
    return [entry for entry in stamps if entry[0].id not in month_of]


def unstamp(
    cursor: Any, tenant_id: uuid.UUID, holder: uuid.UUID, works: Sequence[Work], tally: Tally, result: Flushed
) -> None:
    """Starts that were stamped but never sent go back, as if nothing had happened."""
    if not works:
        return
    back_ids = book.ids(
        cursor,
        """UPDATE step_queue SET sent_at = NULL, deadline_at = NULL, holder = NULL,
                  reserved = CASE WHEN job IS NULL THEN 0 ELSE reserved END
           WHERE id = ANY(%s) AND holder = %s AND tenant_id = %s RETURNING id""",
        [sorted(work.id for work in works), holder, tenant_id],
    )
    back = [work for work in works if work.id in back_ids]
    result.woken |= book.drop_leads(cursor, tenant_id, [work for work in back if work.job is None])
    for work in back:
        tally.release(work, held=work.held)
    unpark(cursor, tenant_id, back, result)


def unpark(cursor: Any, tenant_id: uuid.UUID, freed: Sequence[Work], result: Flushed) -> None:
    """What was parked for these calls' sake has room again, maybe: where it has none, it parks again."""
    limited = sorted({work.run.id for work in freed if work.run.credit_limit is not None})
    if not limited:
        return
    lanes = book.ids(
        cursor,
        """UPDATE lane_run SET state = 'active' WHERE tenant_id = %s AND run_id = ANY(%s) AND state = 'budget'
           RETURNING lane_id""",
        [tenant_id, limited],
    )
    result.woken |= {(tenant_id, lane_id) for lane_id in lanes}


class _Room:
    """How much may be reserved: what the runs' credit limits and the tenant's monthly limit leave.

    What this very transaction settled and stamped is in the tally, and not in the rows yet.
    """

    def __init__(self, cursor: Any, tenant_id: uuid.UUID, stamps: Sequence[Stamp], tally: Tally) -> None:
        self.tally = tally
        self._left: dict[uuid.UUID, int] = {}
        if all(work.run.credit_limit is None for work, _, _ in stamps):
            return
        _take_what_comes_before_runs(cursor, tenant_id, stamps)
        # All that this transaction writes, in their order: others lock them in it too.
        touched = sorted({*(work.run.id for work, _, _ in stamps), *tally.runs})
        found = book.rows(
            cursor,
            """SELECT id, credit_limit - credits_spent - credits_reserved FROM run
               WHERE tenant_id = %s AND id = ANY(%s) ORDER BY id FOR NO KEY UPDATE""",
            [tenant_id, touched],
        )
        self._left = {run_id: left for run_id, left in found if left is not None}

    def admit(self, stamps: Sequence[Stamp]) -> tuple[list[Stamp], list[Stamp]]:
        """What fits, in the order of turns, and what does not."""
        room: dict[uuid.UUID | None, int] = {}
        kept: list[Stamp] = []
        refused: list[Stamp] = []
        for entry in stamps:
            work, _, worst = entry
            limits = self._limits(work)
            # What costs nothing, as to ask for the result of a job, has room in any limit.
            if worst and any(worst > room.setdefault(limit, self._now(limit)) for limit in limits):
                refused.append(entry)
                continue
            for limit in limits if worst else ():
                room[limit] -= worst
            kept.append(entry)
        return kept, refused

    def without(self, refused: Sequence[Stamp]) -> dict[tuple[uuid.UUID, uuid.UUID], Parking]:
        """The (lane, run) pairs that have no room in truth, once the starts are marked."""
        found: dict[tuple[uuid.UUID, uuid.UUID], Parking] = {}
        for work, _, worst in refused:
            short = [limit for limit in self._limits(work) if worst > self._now(limit)]
            if short:
                pair, parking = (work.lane_id, work.run.id), Parking(MONTH in short, worst)
                found[pair] = parking.beside(found.get(pair, parking))
        return found

    def _limits(self, work: Work) -> list[uuid.UUID | None]:
        limits: list[uuid.UUID | None] = [work.run.id] if work.run.id in self._left else []
        return [*limits, MONTH] if self.tally.month.counts(work) else limits

    def _now(self, limit: uuid.UUID | None) -> int:
        if limit is MONTH:
            return self.tally.month.room()
        run = self.tally.runs[limit]
        return self._left[limit] - run["spent"] - run["reserved"]


def _take_what_comes_before_runs(cursor: Any, tenant_id: uuid.UUID, stamps: Sequence[Stamp]) -> None:
    """Lock the entries, their questions and their places in the lanes now: whoever pauses or cancels a run, or heals what
    waits for an answer, takes these before the run, and would wait for us while we wait for them."""
    works = sorted((work for work, _, _ in stamps), key=lambda work: work.id)
    cursor.execute(
        """WITH entries AS (
               SELECT id FROM step_queue WHERE id = ANY(%s) AND tenant_id = %s ORDER BY id FOR NO KEY UPDATE),
           questions AS (
               SELECT k.id FROM lookup k WHERE k.tenant_id = %s AND k.fingerprint = ANY(%s)
               ORDER BY k.provider, k.livemode, k.fingerprint FOR NO KEY UPDATE),
           places AS (
               SELECT l.id FROM lane_run l WHERE l.tenant_id = %s AND l.lane_id = ANY(%s) AND l.run_id = ANY(%s)
               ORDER BY l.lane_id, l.run_id FOR NO KEY UPDATE)
           SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM questions), (SELECT count(*) FROM places)""",
        [
            [work.id for work in works],
            tenant_id,
            tenant_id,
            sorted({work.fingerprint for work in works}),
            tenant_id,
            sorted({work.lane_id for work in works}),
            sorted({work.run.id for work in works}),
        ],
    )


def _leaders(cursor: Any, tenant_id: uuid.UUID, stamps: Sequence[Stamp], result: Flushed) -> list[Stamp]:
    """Let the first step that asks about a person lead; the others wait for its answer."""
    if not stamps:
        return []
    works = [entry[0] for entry in stamps]
    leaders = book.ids(
        cursor,
        """INSERT INTO lookup AS l (id, tenant_id, provider, livemode, fingerprint, leader, outcome)
           SELECT DISTINCT ON (provider, livemode, fingerprint) id, %s, provider, livemode, fingerprint, leader, ''
           FROM unnest(%s::uuid[], %s::text[], %s::bool[], %s::text[], %s::uuid[])
                t(id, provider, livemode, fingerprint, leader)
           ORDER BY provider, livemode, fingerprint, leader
           ON CONFLICT (tenant_id, provider, livemode, fingerprint) DO UPDATE
               SET leader = excluded.leader, outcome = '', answer = NULL, answered_at = NULL,
                   created_at = clock_timestamp()
               WHERE l.leader = excluded.leader
                  OR (l.outcome <> '' AND l.answered_at < (
                      SELECT min(r.created_at - coalesce((r.config->>'reuse_days')::int, 0) * interval '1 day')
                      FROM run r, step_queue q WHERE q.id = excluded.leader AND r.id = q.run_id))
           RETURNING l.leader""",
        [
            tenant_id,
            [uuid7() for _ in works],
            [work.provider for work in works],
            [work.run.livemode for work in works],
            [work.fingerprint for work in works],
            [work.id for work in works],
        ],
    )
    followers = [work for work in works if work.id not in leaders]
    if followers:
        # One whose answer came between its claim and now is claimed again at once; the rest wait for theirs.
        cursor.execute(
            """UPDATE step_queue q SET not_before = %s, reason = 'duplicate'
               FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::bool[]) t(id, provider, fingerprint, livemode)
               WHERE q.id = t.id AND q.sent_at IS NULL AND EXISTS (
                   SELECT 1 FROM lookup l WHERE l.tenant_id = q.tenant_id AND l.provider = t.provider
                   AND l.livemode = t.livemode AND l.fingerprint = t.fingerprint AND l.outcome = '')""",
            [
                UNTIL_WOKEN,
                [work.id for work in followers],
                [work.provider for work in followers],
                [work.fingerprint for work in followers],
                [work.run.livemode for work in followers],
            ],
        )
        result.woken |= {(tenant_id, work.lane_id) for work in followers}
    return [entry for entry in stamps if entry[0].id in leaders]
