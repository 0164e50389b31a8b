"""Runs that wait at a credit limit: parked in their lanes, but not while something of theirs is due that costs nothing.

The result of a job, or a repeat that its vendor gives for nothing: what is set aside or booked for it is often what there
is no room for, and nothing but its answer makes that free.
"""

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from integrations.connectors import registry
from workflows.lanes import book

HEAD = 20  # entries of a run in a lane that are looked at: what was asked before is before what never was

_DUE_FOR_NOTHING = f"""EXISTS (
    SELECT 1 FROM (SELECT q.name, q.job, q.context, q.fingerprint FROM step_queue q
                   WHERE q.lane_id = l.lane_id AND q.run_id = l.run_id AND q.not_before IS NULL AND q.sent_at IS NULL
                   ORDER BY q.id LIMIT {HEAD}) head
    WHERE head.job IS NOT NULL
       OR (split_part(head.name, ':', 2) = ANY(%(free)s::text[]) AND head.context @> jsonb_build_array(jsonb_build_object(
               'outcome', 'ambiguous', 'answer', jsonb_build_object('of', head.fingerprint)))))"""  # noqa: S608 - a number of ours
"""In SQL, whether the run of `l` (lane_run) has such a step; as `doubt.worst_of` and the flusher price it."""


class Parking(NamedTuple):
    """Why a run waits in a lane: for its tenant's month or for its own limit, and how much room the cheapest of what was
    refused needs (thousandths)."""

    for_month: bool
    worst: int

    def beside(self, other: "Parking") -> "Parking":
        """One of both: the month's, which says when it ends at the latest."""
        if self.for_month != other.for_month:
            return self if self.for_month else other
        return Parking(self.for_month, min(self.worst, other.worst))


def park(
    cursor: Any, tenant_id: uuid.UUID, pairs: Mapping[tuple[uuid.UUID, uuid.UUID], Parking]
) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Let runs at a limit wait in their lanes, until calls in flight cost less or the limit is raised; at the tenant's
    monthly one until the month ends at the latest. Whoever settles such a call lets them go on, and the sweep all those
    that have room: what another process freed before this parking was committed has found nobody to wake. Returns the
    (lane, run) pairs that wait now.

    Told once for each limit: a run at its limit is parked and let go with every call that costs less than it might.
    """
    ordered = sorted(pairs)
    parked = {
        (row[0], row[1]): row[2]
        for row in book.rows(
            cursor,
            f"""WITH parked AS (
                   UPDATE lane_run l SET state = 'budget', parked_for = t.worst, parked_until = CASE WHEN t.for_month THEN
                          (date_trunc('month', now() AT TIME ZONE 'utc') + interval '1 month') AT TIME ZONE 'utc' END
                   FROM unnest(%(lanes)s::uuid[], %(runs)s::uuid[], %(for_month)s::bool[], %(worst)s::bigint[])
                        t(lane_id, run_id, for_month, worst)
                   WHERE l.tenant_id = %(tenant)s AND l.lane_id = t.lane_id AND l.run_id = t.run_id
                     AND l.state = 'active' AND NOT {_DUE_FOR_NOTHING}
                   RETURNING l.lane_id, l.run_id)
               SELECT p.lane_id, p.run_id, NOT EXISTS (
                   SELECT 1 FROM run_event e WHERE e.tenant_id = %(tenant)s AND e.run_id = p.run_id
                   AND e.kind = 'run.parked'
                   AND NOT EXISTS (SELECT 1 FROM run_event c WHERE c.tenant_id = e.tenant_id AND c.run_id = e.run_id
                                   AND c.kind = 'run.changed' AND c.id > e.id))
               FROM parked p""",  # noqa: S608 - text of ours alone
            {
                "tenant": tenant_id,
                "lanes": [pair[0] for pair in ordered],
                "runs": [pair[1] for pair in ordered],
                "for_month": [pairs[pair].for_month for pair in ordered],
                "worst": [pairs[pair].worst for pair in ordered],
                "free": _free_repeats(),
            },
        )
    }
    if untold := sorted({run_id for (_, run_id), is_news in parked.items() if is_news}):
        told: list[tuple[uuid.UUID, str, dict[str, Any]]] = [(run_id, "run.parked", {}) for run_id in untold]
        book.write_events(cursor, tenant_id, told, actor="system:engine")
    return set(parked)


def unpark_for_nothing(cursor: Any) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Let runs go on, of any tenant, that have something due which costs nothing; (tenant, lane) of each."""
    return book.rows(
        cursor,
        f"""UPDATE lane_run u SET state = 'active'
            FROM (SELECT l.id FROM lane_run l WHERE l.state = 'budget' AND {_DUE_FOR_NOTHING}
                  FOR NO KEY UPDATE OF l SKIP LOCKED) due
            WHERE u.id = due.id RETURNING u.tenant_id, u.lane_id""",  # noqa: S608 - text of ours alone
        {"free": _free_repeats()},
    )


def _free_repeats() -> list[str]:
    """The vendors that do not charge a repeat."""
    return sorted(name for name, connector in registry.CONNECTORS.items() if connector.repeat_is_free)
