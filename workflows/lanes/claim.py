"""Reading what waits in a lane. Claiming writes nothing: only a stamp (stamp.py) makes a step somebody's."""

import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import orjson
from django.db import connections, transaction

from tenants.failpoints import reach
from tenants.scope import APP_ALIAS, enter_asking, planned_ahead, tenant_scope
from workflows.lanes import hurry, job_rows
from workflows.lanes.abreast import Share, write_abreast
from workflows.lanes.work import CALLBACK, FIRST, Job, RunFacts, RunInLane, Work

# One probe of the queue's index per run, from where it was read up to: a huge run's part of it begins with a million
# entries that are settled and cannot be cleaned up while somebody reads an old snapshot. What came back is asked for by
# id. The provider is the holder's to say: read here from its lane it would be one more table with a policy, and from the
# step's name with a function that is not leakproof, with whose result no index is searched under row-level security.
# The question is looked up per step (LATERAL): joined, it is one row of a table that nobody has analyzed yet to PostgreSQL,
# and for each step it read all that the tenant had ever asked of the vendor.
_CLAIM = """
    SELECT w.number, q.id, q.record_id, q.name, q.query, q.fingerprint, q.context, q.attempt, q.crashes, q.ready_at,
           r.input, l.outcome, l.answer, coalesce(extract(epoch FROM clock_timestamp() - q.tried_at), 0)::float,
           q.job, coalesce(extract(epoch FROM q.job_until - clock_timestamp()), 0)::float, q.reserved
    FROM unnest(%s::int[], %s::uuid[], %s::uuid[], %s::int[], %s::bool[], %s::timestamptz[])
         w(number, run_id, after, most, livemode, fresh_from)
    CROSS JOIN LATERAL (
        (SELECT * FROM step_queue
         WHERE lane_id = %s AND run_id = w.run_id AND not_before IS NULL AND sent_at IS NULL
           AND id > w.after AND id <> ALL(%s)
         ORDER BY id LIMIT w.most){returned}) q
    JOIN record r ON r.id = q.record_id AND r.tenant_id = q.tenant_id
    LEFT JOIN LATERAL (
        SELECT k.outcome, k.answer FROM lookup k
        WHERE k.tenant_id = q.tenant_id AND k.provider = %s AND k.livemode = w.livemode AND k.fingerprint = q.fingerprint
          AND k.outcome <> '' AND k.answered_at >= w.fresh_from
        LIMIT 1) l ON true
    ORDER BY w.number, q.id
"""
_RETURNED = """
        UNION ALL
        SELECT * FROM step_queue
        WHERE id = ANY(%s) AND lane_id = %s AND run_id = w.run_id AND not_before IS NULL AND sent_at IS NULL
          AND id <= w.after AND id <> ALL(%s)"""
CLAIM = _CLAIM.format(returned="")
# Asked only when something came back: each table of a statement is planned, and its policy with it.
CLAIM_WITH_RETURNED = _CLAIM.format(returned=_RETURNED)


Found = list[tuple[RunInLane, list[Work], bool]]
"""Per run that was to be read, its steps and whether there were no more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a lane is read for: up to `n` waiting steps of each of these runs, oldest first, without those that are
    `known` to its holder already. `provider` is the lane's."""

    tenant_id: uuid.UUID
    lane_id: uuid.UUID
    provider: str
    runs: Sequence[tuple[RunInLane, int]]
    known: Collection[uuid.UUID]


def claim(
    tenant_id: uuid.UUID,
    lane_id: uuid.UUID,
    provider: str,
    wanted: Sequence[tuple[RunInLane, int]],
    known: Collection[uuid.UUID],
) -> Found:
    """As `claim_all`, of one lane."""
    return claim_all([Wanted(tenant_id, lane_id, provider, wanted, known)])[0]


def claim_all(wanted: Sequence[Wanted]) -> list[Found]:
    """Read these lanes, each once and all in one transaction: what was found in each. Raises django.db.Error.

    Reads from each run's cursor on, which the caller moves, and of the steps before it those that it is `asking` for.
    """
    found: list[Found] = [[]] * len(wanted)

    def read(place: int, share: Share) -> None:
        found[place] = _read(share, wanted[place])

    connection = connections[APP_ALIAS]
    ordered = sorted(range(len(wanted)), key=lambda place: wanted[place].tenant_id)
    with transaction.atomic(using=APP_ALIAS):
        first = wanted[ordered[0]].tenant_id
        enter_asking(connection, first, f"{planned_ahead(connection)} SELECT {hurry.told_reading()}")
        shares = [(wanted[place].tenant_id, partial(read, place)) for place in ordered]
        write_abreast(connection, shares, entered=first)
    reach("claim.read")
    return found


def _read(share: Share, lane: Wanted) -> Found:
    facts = [run.facts for run, _ in lane.runs]
    cursors = [run.cursor or FIRST for run, _ in lane.runs]
    earliest = min(cursors, default=FIRST)
    known_after = [entry for entry in lane.known if entry > earliest]
    returned = [entry for run, _ in lane.runs for entry in run.asking]
    came_back: list[Any] = (
        [returned, lane.lane_id, list(set(lane.known).intersection(returned))] if returned else []
    )
    share.execute(
        CLAIM_WITH_RETURNED if returned else CLAIM,
        [
            list(range(len(lane.runs))),
            [fact.id for fact in facts],
            cursors,
            [count for _, count in lane.runs],
            [fact.livemode for fact in facts],
            [fact.created_at - timedelta(days=fact.config.get("reuse_days") or 0) for fact in facts],
            lane.lane_id,
            known_after,
            *came_back,
            lane.provider,
        ],
    )
    works = _shared_out(share.fetchall(), lane.lane_id, lane.runs)
    called_back = [w for mine in works for w in mine if w.job is not None and w.job.kind == CALLBACK]
    job_rows.attach_posted(share, lane.tenant_id, called_back)
    return [
        (run, mine, sum(work.id > after for work in mine) < count)
        for (run, count), mine, after in zip(lane.runs, works, cursors, strict=True)
    ]


def _shared_out(
    found: Sequence[Sequence[Any]], lane_id: uuid.UUID, wanted: Sequence[tuple[RunInLane, int]]
) -> list[list[Work]]:
    """What a claim found, by the run's number."""
    works: list[list[Work]] = [[] for _ in wanted]
    for number, *row in found:
        work = _work(row, lane_id, wanted[number][0])
        work.tried_s = row[12]
        if row[13] is not None:
            give_job(work, row[13], row[14], row[15])
        works[number].append(work)
    return works


def _work(row: Sequence[Any], lane_id: uuid.UUID, run: RunInLane) -> Work:
    operation, provider = row[2].split(":", 1)
    return Work(
        id=row[0],
        lane_id=lane_id,
        run=run.facts,
        record_id=row[1],
        operation=operation,
        provider=provider,
        query=load(row[3]),
        fingerprint=row[4],
        taken=load(row[5]),
        attempt=row[6],
        crashes=row[7],
        ready_at=row[8],
        record_input=load(row[9]),
        cached_outcome=row[10] or "",
        cached_answer=load(row[11]),
    )


def give_job(work: Work, job: Any, left_s: float, held: int) -> None:
    """Put the job that is under way, with the seconds that it has left, into the hands of the entry's holder."""
    work.job = Job(**load(job), ends_at=time.monotonic() + left_s)
    work.held = work.reserved = held
    work.month = date.fromisoformat(work.job.month) if work.job.month else work.month
    work.cached_outcome = ""  # its own answer is what it waits for


def load(value: Any) -> Any:
    """A jsonb value: Django registers a loader that leaves text, raw psycopg one that parses."""
    return orjson.loads(value) if isinstance(value, str) else value


def stamped_by_others(tenant_id: uuid.UUID, lane_id: uuid.UUID, entries: Sequence[uuid.UUID]) -> list[Work]:
    """Queue entries that earlier holders stamped, as work to be settled as lost."""
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT q.id, q.record_id, q.name, q.query, q.fingerprint, q.context, q.attempt, q.crashes, q.ready_at,
                      r.input, '', NULL, run.id, run.tenant_id, run.template, run.config, run.lanes, run.livemode,
                      run.created_at, run.credit_limit, q.reserved, q.job,
                      coalesce(extract(epoch FROM q.job_until - clock_timestamp()), 0)::float,
                      date_trunc('month', q.sent_at AT TIME ZONE 'utc')::date
               FROM step_queue q JOIN record r ON r.id = q.record_id AND r.tenant_id = q.tenant_id
               JOIN run ON run.id = q.run_id
               WHERE q.lane_id = %s AND q.id = ANY(%s) AND q.sent_at IS NOT NULL""",
            [lane_id, list(entries)],
        )
        found = cursor.fetchall()
        works = _works_of(found, lane_id)
        job_rows.attach_posted(cursor, tenant_id, [work for work in works if work.job is None])
    return works


def _works_of(found: Sequence[tuple[Any, ...]], lane_id: uuid.UUID) -> list[Work]:
    works = []
    for row in found:
        facts = RunFacts(row[12], row[13], row[14], load(row[15]), load(row[16]), row[17], row[18], row[19])
        run = RunInLane(facts=facts, priority=0, vtime=0.0, since=facts.created_at)
        work = _work(row, lane_id, run)
        work.reserved, work.month = row[20], row[23]
        if row[21] is not None:
            give_job(work, row[21], row[22], row[20])
        works.append(work)
    reach("lost.found")
    return works
