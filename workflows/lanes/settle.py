"""One flush: settle what ended and stamp what is about to start, for many lanes and tenants in one transaction, and in
one of its own for each that locks runs early.

Order of locks, the same in every process: inside a tenant queue entries, then lookups by fingerprint, then records; then,
tenant by tenant in the order of their ids, what several processes write: places in lanes, the runs' figures of vendors, and
runs by id. Everything is set-based: the number of statements does not grow with the batch.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from django.db import connections, transaction

from tenants.failpoints import reach
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, enter_asking, planned_ahead
from workflows import telling
from workflows.catalog import Taken
from workflows.lanes import book, counts, doubtful, hurry, job_rows, lease
from workflows.lanes.abreast import Share, write_abreast
from workflows.lanes.month import Month
from workflows.lanes.shield import TOLD_WITHHELD, Shield
from workflows.lanes.stamp import not_yet_stamped, stamp, unpark, unstamp
from workflows.lanes.tally import Tally
from workflows.lanes.work import Batch, Flushed, Settlement


def flush(batch: Batch, holder: uuid.UUID) -> Flushed:
    """Write one batch. Raises django.db.Error when the database is away; the same batch may then be flushed again,
    with `retried` set, and what had been committed after all is left alone.

    Written again, it goes statement by statement, which may take as long as it takes (hurry.py)."""
    result = Flushed()
    parts = sorted(by_tenant(batch).items())
    for _, part in parts:
        part.retried = batch.retried
    # Asked once: a run's limit may be raised or lifted meanwhile.
    early = {tenant_id for tenant_id, part in parts if _locks_runs_early(part)}
    together = [entry for entry in parts if entry[0] not in early]
    apart = [[entry] for entry in parts if entry[0] in early]
    for group in (together, *apart):
        if group:
            with transaction.atomic(using=APP_ALIAS):
                _write(group, holder, result, pipelined=not batch.retried)
                _reached(group, "written")
            _reached(group, "committed")
    if result.completed:
        reach("run.completed")
    return result


def _locks_runs_early(part: Batch) -> bool:
    """Where a run has a limit its row is locked before calls are stamped, and places in lanes are written that belong to
    other processes' lanes. Such a share has a transaction of its own: it never holds one tenant's and wants another's."""
    works = [*(s.work for s in part.settlements), *part.unstamps, *(work for work, _, _ in part.stamps)]
    return any(work.run.credit_limit is not None for work in works)


def _write(
    parts: Sequence[tuple[uuid.UUID, Batch]], holder: uuid.UUID, result: Flushed, *, pipelined: bool
) -> None:
    first, _ = parts[0]
    known = {first: _enter(first, pipelined=pipelined)}  # the others are asked together

    def write(part: Batch, share: Share) -> None:
        standing = known[first] if share.tenant_id == first else _standing_of(share)
        _write_share(share, part, standing, holder, result)

    shares = [(tenant_id, partial(write, part)) for tenant_id, part in parts]
    write_abreast(connections[APP_ALIAS], shares, entered=first, pipelined=pipelined)


def _write_share(
    share: Share, part: Batch, standing: "_Standing | None", holder: uuid.UUID, result: Flushed
) -> None:
    if standing is None:
        result.late += len(part.settlements)
    else:
        _TenantFlush(share, share.tenant_id, holder, result, standing).write(part)


def by_tenant(batch: Batch) -> dict[uuid.UUID, Batch]:
    """Each tenant's share of a batch."""
    tenants: dict[uuid.UUID, Batch] = defaultdict(Batch)
    for settlement in batch.settlements:
        tenants[settlement.work.run.tenant_id].settlements.append(settlement)
    for entry in batch.stamps:
        tenants[entry[0].run.tenant_id].stamps.append(entry)
    for work in batch.unstamps:
        tenants[work.run.tenant_id].unstamps.append(work)
    for starts in batch.starts:
        tenants[starts[0]].starts.append(starts)
    return tenants


def _reached(parts: Sequence[tuple[uuid.UUID, Batch]], how_far: str) -> None:
    if any(part.settlements for _, part in parts):
        reach(f"settle.{how_far}")
    if any(part.stamps for _, part in parts):
        reach(f"stamp.{how_far}")


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a tenant's share has to know of it."""

    monthly_limit: int | None
    today: date
    """The first of the month that it is."""
    covers_subdomains: bool
    suppresses: bool
    tells_records: bool


LOCK_WAIT = "2s"
"""For so long a flush waits for what somebody else has in hand; then each tenant's share is written apart (salvage.py)."""
_STANDING = f"""
    SELECT jsonb_build_array(t.monthly_credit_limit, date_trunc('month', now() AT TIME ZONE 'utc')::date,
        t.suppress_subdomains, EXISTS (SELECT 1 FROM integrations_suppression s WHERE s.tenant_id = t.id),
        {telling.ABOUT_RECORDS})
    FROM tenants_tenant t WHERE t.id = {{tenant}} FOR KEY SHARE OF t"""  # noqa: S608 - fragments of ours


def _enter(tenant_id: uuid.UUID, *, pipelined: bool) -> _Standing | None:
    """Go on as this tenant, which stays until this transaction ends. None where it is gone: a frozen worker may come back
    after its tenant was erased; what it brings is dropped, and the other tenants' share of its flush is not held up by
    it.

    In one message with the transaction's begin: each one more has this thread wait for its turn beside the runner's
    loop, for some milliseconds of a busy worker's.
    """
    connection = connections[APP_ALIAS]
    waits = f"SELECT set_config('lock_timeout', '{LOCK_WAIT}', true), {hurry.told(pipelined)};"
    question = waits + planned_ahead(connection) + _STANDING.format(tenant=f"'{tenant_id}'")
    return _standing(enter_asking(connection, tenant_id, question))


def _standing_of(share: Share) -> _Standing | None:
    """As `_enter`, in the transaction that is begun and set up."""
    share.execute(_STANDING.format(tenant="%s::uuid"), [share.tenant_id])
    found = share.fetchone()
    return _standing(found[0] if found else None)


def _standing(found: str | None) -> _Standing | None:
    if found is None:
        return None
    limit, today, *flags = json.loads(found)
    return _Standing(limit, date.fromisoformat(today), *flags)


# What is shared by those who ask the same; of anything else each asks for itself.
TOLD = ("hit", "miss", "invalid", doubtful.AMBIGUOUS, TOLD_WITHHELD)


class _TenantFlush:
    """The statements of one tenant's share."""

    def __init__(
        self, cursor: Share, tenant_id: uuid.UUID, holder: uuid.UUID, result: Flushed, standing: _Standing
    ) -> None:
        self.cursor, self.tenant_id, self.holder, self.result = cursor, tenant_id, holder, result
        self.tells_records = standing.tells_records
        self.month = Month(cursor, tenant_id, standing.monthly_limit, standing.today)
        self.tally = Tally(cursor, tenant_id, self.month)
        self.shield = (
            Shield(cursor, tenant_id, subdomains=standing.covers_subdomains) if standing.suppresses else None
        )
        self.retried = False
        self.entered: set[tuple[uuid.UUID, uuid.UUID]] = set()
        """(lane, run) of what was queued."""
        self.woken_later: list[Callable[[], set[tuple[uuid.UUID, uuid.UUID]]]] = []
        self.kept: set[uuid.UUID] = set()
        """The attempts that nobody had settled before."""

    def write(self, part: Batch) -> None:
        self.retried = part.retried
        self.month.lock(
            [*(s.work for s in part.settlements), *part.unstamps],
            (month for s in part.settlements for month in s.released_in),
        )
        settlements = self._not_yet_written(part.settlements) if part.retried else part.settlements
        settled: Sequence[Settlement] = []
        unstamp(self.cursor, self.tenant_id, self.holder, part.unstamps, self.tally, self.result)
        if settlements:
            settled = self._settle(settlements)
        stamps = part.stamps
        if part.retried and stamps:
            stamps = not_yet_stamped(self.cursor, self.tenant_id, self.holder, stamps, self.result)
        if self.shield is not None and stamps:
            stamps = self.shield.hold_back(stamps, self.result)
        stamp(self.cursor, self.tenant_id, self.holder, stamps, self.tally, self.result)
        if part.starts:
            lease.write_starts(self.cursor, self.tenant_id, self.holder, part.starts)
        # What several processes write comes last, and everybody's in one order.
        self.cursor.wait_for_all()
        if self.entered:
            book.enter_lanes(self.cursor, self.tenant_id, sorted(self.entered))
        if settled:
            counts.count_vendors(self.cursor, self.tenant_id, settled, self.kept)
        self.tally.count()
        self.cursor.wait_for_all()  # one share has its counts sooner than another
        self.result.completed += self.tally.write()
        for woken in self.woken_later:
            self.result.woken |= woken()

    def _not_yet_written(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        written = self._ids("SELECT id FROM step WHERE id = ANY(%s)", [[s.attempt_id for s in settlements]])
        return [s for s in settlements if s.attempt_id not in written]

    def _settle(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """Settle them; returns those that are for the history."""
        job_rows.mark_read(self.cursor, self.tenant_id, settlements)
        if any(s.goes_on for s in settlements):
            settlements = self._carry_on(settlements)
        kept = self._fence(settlements)
        kept_ids = self.kept = {s.attempt_id for s in kept}
        late = [s for s in settlements if s.attempt_id not in kept_ids]
        self.result.late += len(late)
        if late:
            job_rows.cost_once(self.cursor, self.tenant_id, late)
        if self.shield is not None:
            self.shield.withhold(kept, late)
        self._answer_lookups(kept)
        doubtful.write(self.cursor, self.tenant_id, self.month, settlements, kept_ids)
        self._write_history(settlements, kept_ids)
        counts.write_usage(self.cursor, self.tenant_id, self.month, settlements)
        self.result.woken |= book.drop_leads(
            self.cursor, self.tenant_id, [s.work for s in kept if s.outcome == "skipped"]
        )
        self._finish_records([s for s in kept if s.final])
        self._queue_next([s for s in kept if s.ask])
        for s in settlements:
            self.tally.spend(s.work, s.credits + s.booked)
            for booked_in, amount in s.released_by_month:
                self.tally.take_back(s.work, amount, booked_in)
        self._release_reserved(kept)
        return settlements

    def _carry_on(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Put back the entries whose attempt goes on; returns the settlements that are for the history.

        The start of a job that nobody waits for any more is among these: it comes late.
        """
        going = [s for s in settlements if s.goes_on]
        mine, lanes = job_rows.put_back(self.cursor, self.tenant_id, going)
        self.result.woken |= {(self.tenant_id, lane_id) for lane_id in lanes}
        self._release_reserved([s for s in going if s.work.id in mine and s.job is None])
        # Of a flush that is written again, nobody can tell: it may have put them back the first time.
        gone = [] if self.retried else [s for s in going if s.work.id not in mine and s.work.job is None]
        return [*(s for s in settlements if not s.goes_on), *gone]

    def _fence(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Take the entries out of the queue, or put them back; what another holder took over stays as it is.

        By attempt and not by entry: a late answer may come in the same batch as the answer of who took it over.
        """
        gone = sorted((s for s in settlements if s.leaves_queue), key=lambda s: s.work.id)
        back = sorted((s for s in settlements if not s.leaves_queue and not s.job), key=lambda s: s.work.id)
        in_doubt = [s for s in settlements if s.job and not s.goes_on]
        mine: set[uuid.UUID] = set()
        if gone:
            mine |= self._ids(
                """DELETE FROM step_queue q USING unnest(%s::uuid[], %s::int[], %s::uuid[], %s::uuid[])
                          t(id, attempt, holder, attempt_id)
                   WHERE q.id = t.id AND q.attempt = t.attempt AND q.holder IS NOT DISTINCT FROM t.holder
                   RETURNING t.attempt_id""",
                [
                    [s.work.id for s in gone],
                    [s.work.attempt for s in gone],
                    [s.holder for s in gone],
                    [s.attempt_id for s in gone],
                ],
            )
        if back:
            mine |= self._ids(
                """UPDATE step_queue q SET attempt = t.next_attempt, crashes = t.crashes, reserved = 0, sent_at = NULL,
                          deadline_at = NULL, holder = NULL, ready_at = now(), reason = t.reason,
                          not_before = CASE WHEN t.after > 0 THEN now() + t.after * interval '1 second' END,
                          tried_at = CASE WHEN NOT t.afresh THEN coalesce(q.tried_at, q.sent_at) END,
                          context = coalesce(t.context::jsonb, q.context), job = NULL, job_until = NULL
                   FROM unnest(%s::uuid[], %s::int[], %s::uuid[], %s::int[], %s::int[], %s::float[], %s::text[],
                               %s::bool[], %s::text[], %s::uuid[])
                        t(id, attempt, holder, next_attempt, crashes, after, reason, afresh, context, attempt_id)
                   WHERE q.id = t.id AND q.attempt = t.attempt AND q.holder IS NOT DISTINCT FROM t.holder
                   RETURNING t.attempt_id""",
                [
                    [s.work.id for s in back],
                    [s.work.attempt for s in back],
                    [s.holder for s in back],
                    [s.next_attempt for s in back],
                    [s.work.crashes for s in back],
                    [s.again_after for s in back],
                    [s.again_reason for s in back],
                    [s.again_afresh for s in back],
                    [book.dump(s.work.taken) if s.in_doubt or s.settles else None for s in back],
                    [s.attempt_id for s in back],
                ],
            )
        if in_doubt:
            put_back = job_rows.put_back(self.cursor, self.tenant_id, in_doubt)[0]
            mine |= {s.attempt_id for s in in_doubt if s.work.id in put_back}
        return [s for s in settlements if s.attempt_id in mine]

    def _write_history(self, settlements: Sequence[Settlement], kept: set[uuid.UUID]) -> None:
        rows: list[tuple[Any, ...]] = []
        for s in settlements:
            work = s.work
            status = s.status if s.attempt_id in kept else "late"
            rows.append(
                (
                    s.attempt_id, work.lane_id, work.run.id, work.record_id, work.id, work.operation, work.provider,
                    work.attempt, status, s.outcome, s.reason[:300], book.dump(s.answer), s.http_status, s.latency_ms,
                    s.credits, work.ready_at, s.started_at, s.finished_at,
                )
            )  # fmt: skip
            rows += [_skip_row(s, step) for step in s.skipped if s.attempt_id in kept]
        book.write_history(self.cursor, self.tenant_id, rows)

    def _answer_lookups(self, kept: Sequence[Settlement]) -> None:
        """Give the leaders' answers to the steps that wait for them; a leader without one lets another lead."""
        leaders = sorted((s for s in kept if s.called and s.leaves_queue), key=lambda s: s.work.fingerprint)
        if not leaders:
            return
        answered = [s for s in leaders if _told(s) in TOLD]
        failed = [s for s in leaders if _told(s) not in TOLD]
        if answered:
            self.cursor.execute(
                """UPDATE lookup l SET outcome = t.outcome, answer = t.answer::jsonb, answered_at = clock_timestamp()
                   FROM unnest(%s::uuid[], %s::text[], %s::bool[], %s::text[], %s::text[], %s::text[])
                        t(leader, provider, livemode, fingerprint, outcome, answer)
                   WHERE l.tenant_id = %s AND l.provider = t.provider AND l.livemode = t.livemode
                     AND l.fingerprint = t.fingerprint AND l.leader = t.leader""",
                [
                    [s.work.id for s in answered],
                    [s.work.provider for s in answered],
                    [s.work.run.livemode for s in answered],
                    [s.work.fingerprint for s in answered],
                    [_told(s) for s in answered],
                    [book.dump(s.answer) for s in answered],
                    self.tenant_id,
                ],
            )
        if failed:
            self.cursor.execute(
                """DELETE FROM lookup WHERE tenant_id = %s AND fingerprint = ANY(%s) AND leader = ANY(%s)
                   AND outcome = ''""",
                [self.tenant_id, [s.work.fingerprint for s in failed], [s.work.id for s in failed]],
            )
        self.woken_later.append(
            book.wake_followers_later(self.cursor, self.tenant_id, [s.work.fingerprint for s in leaders])
        )

    def _finish_records(self, finished: Sequence[Settlement]) -> None:
        if not finished:
            return
        finished = sorted(finished, key=lambda s: s.work.record_id)
        ended = book.rows_later(
            self.cursor,
            """UPDATE record r SET status = t.status, output = t.output::jsonb, error = t.error::jsonb,
                      credits = r.credits + t.credits, finished_at = now(), started_at = coalesce(r.started_at, now())
               FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bigint[])
                        t(id, status, output, error, credits)
                    CROSS JOIN LATERAL (
                        SELECT id, status FROM record WHERE id = t.id AND tenant_id = %s FOR UPDATE) was
               WHERE r.id = was.id AND r.finished_at IS NULL
               RETURNING r.run_id, was.status, r.status, r.id""",
            [
                [s.work.record_id for s in finished],
                [s.final.status for s in finished if s.final],
                [book.dump(s.final.output) for s in finished if s.final],
                [book.dump(s.final.error) for s in finished if s.final],
                [s.credits + sum(step["credits"] for step in s.work.taken) for s in finished],
                self.tenant_id,
            ],
        )
        self.tally.moved(lambda: [(run_id, was, now_is) for run_id, was, now_is, _ in ended()])
        if self.tells_records:
            telling.records_ended(self.cursor, self.tenant_id, [row[3] for row in ended()])

    def _queue_next(self, going_on: Sequence[Settlement]) -> None:
        if not going_on:
            return
        entries = []
        for s in going_on:
            assert s.ask is not None
            step = {
                "operation": s.work.operation,
                "provider": s.work.provider,
                "outcome": s.counts_as or s.outcome,
                "answer": s.answer or {},
                "credits": s.credits,
            }
            entries.append(
                book.QueueEntry(
                    lane_id=uuid.UUID(s.work.run.lanes[s.ask.provider]),
                    run_id=s.work.run.id,
                    record_id=s.work.record_id,
                    name=s.ask.name,
                    query=s.ask.query,
                    fingerprint=s.ask_fingerprint,
                    context=[*s.work.taken, step, *(skip.to_json() for skip in s.skipped)],
                )
            )
        self.cursor.execute(book.INSERT_QUEUE, {**book.queue_parameters(entries), "tenant": self.tenant_id})
        self.entered |= {(entry.lane_id, entry.run_id) for entry in entries}
        self.result.woken |= {(self.tenant_id, entry.lane_id) for entry in entries}
        # A record whose first step was answered without a call leaves "queued" here and not at a stamp.
        self.tally.mark_running([s.work.record_id for s in going_on if not s.work.taken])

    def _release_reserved(self, kept: Sequence[Settlement]) -> None:
        """What was reserved for these calls is free again; runs parked at their limit may have room now, also where calls
        in doubt turned out to have cost less."""
        held = [s for s in kept if s.work.reserved and not s.job]
        for s in held:
            self.tally.release(s.work)
        freed = [*held, *(s for s in kept if s.released)]
        unpark(self.cursor, self.tenant_id, [s.work for s in freed], self.result)

    def _ids(self, statement: str, parameters: Sequence[Any]) -> set[uuid.UUID]:
        return book.ids(self.cursor, statement, parameters)


def _told(s: Settlement) -> str:
    """What an equal question learns from this one."""
    return s.counts_as or s.outcome


def _skip_row(s: Settlement, step: Taken) -> tuple[Any, ...]:
    """A vendor that was passed over because the record has too little for it: shown, at no cost."""
    work = s.work
    return (
        uuid7(), None, work.run.id, work.record_id, work.id, step.operation, step.provider, 1, "done", "skipped",
        "Not enough input for this vendor.", None, None, None, 0, None, None, None,
    )  # fmt: skip
