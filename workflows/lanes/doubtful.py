"""What a flush writes about calls in doubt: the list that people decide from, and what late answers change in it."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from integrations.connectors import registry
from workflows.lanes import book
from workflows.lanes.doubt import AMBIGUOUS as AMBIGUOUS  # noqa: PLC0414
from workflows.lanes.month import Month
from workflows.lanes.work import Settlement


def write(
    cursor: Any,
    tenant_id: uuid.UUID,
    month: Month,
    settlements: Sequence[Settlement],
    kept: Collection[uuid.UUID],
) -> None:
    """List new calls in doubt, settle old ones. Before history and ledger are written: it says what they count."""
    late = []
    for s in settlements:
        if s.attempt_id in kept:
            continue
        if s.in_doubt:  # its own holder was quicker: there is no doubt
            s.in_doubt, s.called, s.booked = False, False, 0
        s.released, s.released_in = 0, {}
        if s.called:
            late.append(s)
        else:  # whoever had its step in hand has told
            s.settles = []
    if late:
        _answered_late(cursor, tenant_id, late)
    if settled := [attempt_id for s in settlements for attempt_id in s.settles]:
        freed = book.rows(
            cursor,
            """UPDATE ambiguous_call SET released_at = now()
               WHERE tenant_id = %s AND id = ANY(%s) AND released_at IS NULL RETURNING id, may_cost, month""",
            [tenant_id, settled],
        )
        _take_back_earlier(late, {row[0]: (row[1], row[2]) for row in freed})
    if late:
        _tell_records(cursor, tenant_id, late)
    if doubts := [s for s in settlements if s.in_doubt]:
        _list(cursor, tenant_id, month, doubts)


def _answered_late(cursor: Any, tenant_id: uuid.UUID, late: Sequence[Settlement]) -> None:
    """An answer tells what its call cost, in place of what it was booked at. Where the vendor charges a question once
    and it was asked again, the repeat tells, or has told: then this answer changes nothing."""
    found = {
        (row[0], row[1]): row[2:]
        for row in book.rows(
            cursor,
            """UPDATE ambiguous_call a
               SET status = CASE a.status WHEN 'open' THEN 'answered' ELSE a.status END,
                   released_at = CASE WHEN a.repeat_is_free AND a.status = 'repeated' THEN a.released_at
                                      ELSE now() END
               FROM unnest(%s::uuid[], %s::int[]) t(queue_id, attempt)
               WHERE a.tenant_id = %s AND a.queue_id = t.queue_id AND a.attempt = t.attempt
                 AND (a.released_at IS NULL OR (a.repeat_is_free AND a.status = 'repeated'))
               RETURNING a.queue_id, a.attempt, a.may_cost, a.repeat_is_free AND a.status = 'repeated'""",
            [[s.work.id for s in late], [s.work.attempt for s in late], tenant_id],
        )
    }
    for s in late:
        if (s.work.id, s.work.attempt) in found:
            may_cost, repeat_tells = found[s.work.id, s.work.attempt]
            s.released, s.recounted = s.credits if repeat_tells else may_cost, True
            if repeat_tells:
                s.settles = []


def _take_back_earlier(late: Sequence[Settlement], freed: Mapping[uuid.UUID, tuple[int, date]]) -> None:
    """An answer that comes late to the last of several calls, which nobody repeats, tells of those before it too."""
    for s in late:
        for may_cost, month in (freed[attempt_id] for attempt_id in s.settles if attempt_id in freed):
            s.released += may_cost
            s.released_in[month] = s.released_in.get(month, 0) + may_cost


def _tell_records(cursor: Any, tenant_id: uuid.UUID, late: Sequence[Settlement]) -> None:
    cursor.execute(
        """UPDATE record r SET credits = r.credits + t.credits
           FROM (SELECT id, sum(credits) AS credits FROM unnest(%s::uuid[], %s::bigint[]) u(id, credits) GROUP BY id) t
           WHERE r.tenant_id = %s AND r.id = t.id AND t.credits <> 0""",
        [[s.work.record_id for s in late], [s.credits - s.released for s in late], tenant_id],
    )


def _list(cursor: Any, tenant_id: uuid.UUID, month: Month, doubts: Sequence[Settlement]) -> None:
    cursor.execute(
        """INSERT INTO ambiguous_call (id, tenant_id, lane_id, run_id, record_id, queue_id, attempt, provider, operation,
                                       fingerprint, email, livemode, may_cost, repeat_is_free, month, status, reason,
                                       decided_by, decided_at)
           SELECT id, %s, lane_id, run_id, record_id, queue_id, attempt, provider, operation, fingerprint, email,
                  livemode, may_cost, free, month, status, reason, '',
                  CASE WHEN status <> 'open' THEN now() END
           FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::int[], %s::text[], %s::text[],
                       %s::text[], %s::text[], %s::bool[], %s::bigint[], %s::bool[], %s::date[], %s::text[], %s::text[])
                t(id, lane_id, run_id, record_id, queue_id, attempt, provider, operation, fingerprint, email, livemode,
                  may_cost, free, month, status, reason)
           ON CONFLICT (tenant_id, queue_id, attempt) DO NOTHING""",
        [
            tenant_id,
            [s.attempt_id for s in doubts],
            [s.work.lane_id for s in doubts],
            [s.work.run.id for s in doubts],
            [s.work.record_id for s in doubts],
            [s.work.id for s in doubts],
            [s.work.attempt for s in doubts],
            [s.work.provider for s in doubts],
            [s.work.operation for s in doubts],
            [s.work.fingerprint for s in doubts],
            [(s.work.query.get("email") or "")[:320] if s.work.operation == "verify" else "" for s in doubts],
            [s.work.run.livemode for s in doubts],
            [s.booked for s in doubts],
            [registry.get(s.work.provider).repeat_is_free for s in doubts],
            [(s.work.month or month.today).isoformat() for s in doubts],
            [_status(s) for s in doubts],
            [s.reason[:300] for s in doubts],
        ],
    )


def _status(s: Settlement) -> str:
    """What the policy has made of it; where the record ended over it, a person decides."""
    if not s.leaves_queue:
        return "repeated"
    return "accepted" if s.counts_as == "miss" or s.ask else "open"
