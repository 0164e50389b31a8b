"""Asking again for records that failed: one by one, or all of a run that fit a filter.

A record goes on where it failed; what vendors have answered and were paid for is kept. Who asks twice gets one retry:
a record that is under way again is left alone.

A transaction locks records, then adds queue entries, then the run: the engine's order (workflows/lanes/settle.py).
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from billing import quota
from tenants import audit
from tenants.errors import InvalidInput, NotFound
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.catalog import TEMPLATES, Ask, Final, Taken
from workflows.errors import RecordNotRetryable, RunIsFinal
from workflows.lanes import book, doubt
from workflows.lanes.decide import fingerprint
from workflows.lanes.ring import ring_after_commit
from workflows.models import AmbiguousCall, Lane, Record, Run, RunEvent, Step
from workflows.operations.failed_records import FailedFilter, lock_failed
from workflows.operations.records_in import storable
from workflows.operations.retry_in_doubt import can_be_looked_up, in_doubt, look_up_first
from workflows.operations.setup import setup_of
from workflows.replay import answers_of, questions, replay
from workflows.states import RecordStatus, RunStatus

CHUNK = 1_000
CLOSED = (RunStatus.CANCELLED, RunStatus.FAILED)
RETRYABLE = (RecordStatus.FAILED, RecordStatus.NOT_FOUND, RecordStatus.SKIPPED)
UNDER_WAY = (RecordStatus.QUEUED, RecordStatus.RUNNING)


@dataclass(slots=True)
class Retry:
    """A record about to be asked for again, with what its vendors have been paid so far (thousandths)."""

    id: uuid.UUID
    status: str
    input: dict[str, str]
    plan: Any
    taken: Sequence[Taken]
    paid: int
    doubtful: bool = False  # the vendor may have done it, and must not do it twice

    @property
    def becomes(self) -> str:
        """A record that has answers stands between two steps, as any other that has some."""
        if isinstance(self.plan, Final):
            return self.plan.status
        return RecordStatus.RUNNING if self.taken else RecordStatus.QUEUED


def retry_run(
    *, tenant_id: uuid.UUID, run_id: uuid.UUID, actor: str, which: FailedFilter | None = None
) -> int:
    """Ask again for the failed records of a run, and for those that were not found because a vendor gave up.

    Faulty input is left: it would fail again; so is what may have been done already, must not be done twice and cannot
    be looked up. Returns how many records are under way again; a second call finds none.
    Commits a chunk at a time when called outside of any scope. Raises NotFound, and RunIsFinal when the run was
    cancelled or its file was lost, MissingConnection when a vendor is not connected any more.
    """
    total = 0
    with tenant_scope(tenant_id):
        run = _open_run(run_id)
    statuses = [RecordStatus.FAILED]
    if run.config.get("on_outage") == "skip":  # else a vendor that gives up fails the record
        statuses.append(RecordStatus.NOT_FOUND)
    for status in statuses:
        after: int | None = 0
        while after is not None:
            with tenant_scope(tenant_id):
                count, after = _chunk(run, status, after, which or FailedFilter(), actor)
            total += count
    return total


def _chunk(run: Run, status: str, after: int, which: FailedFilter, actor: str) -> tuple[int, int | None]:
    """(records retried, the position to go on after or None at the end)."""
    with connections[APP_ALIAS].cursor() as cursor:
        _serialise(cursor, run)
        found = lock_failed(cursor, run, status, after, which, CHUNK)
        history = _history([row.id for row in found])
        retries = [_planned(run, row.id, status, row.input, history[row.id]) for row in found]
        # One that was not found and has no question left has its end already.
        retries = [r for r in retries if not (isinstance(r.plan, Final) and r.plan.status == status)]
        # What may have been done already, and cannot be looked up, is asked again only by whoever looked there.
        retries = [r for r in retries if not r.doubtful or can_be_looked_up(r.plan)]
        if retries:
            _meter(cursor, run, [retry.id for retry in retries if not isinstance(retry.plan, Final)])
            _write(cursor, run, retries, actor)
            RunEvent.objects.create(
                run=run, kind="run.retried", actor=actor, detail={"records": len(retries), **which.told()}
            )
            audit.record(actor=actor, verb="run.retried", subject=run, records=len(retries), **which.told())
    return len(retries), found[-1].position if len(found) == CHUNK else None


def retry_record(
    *,
    run_id: uuid.UUID,
    record_id: uuid.UUID,
    actor: str,
    restart: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Record:
    """Ask again for one record of the open tenant: from the step that failed, or from the start.

    `changes` are fields of the input to be replaced, None to remove one; answers that the record has are kept unless it
    restarts: then its vendors are asked, and paid, again. A record that is under way already is returned as it is. Raises
    NotFound, RunIsFinal, RecordNotRetryable (it was found, or is under way with another input), MissingConnection,
    InvalidInput for an input that cannot be used.
    """
    with tenant_scope(require_tenant_id()):
        run = _open_run(run_id)
        with connections[APP_ALIAS].cursor() as cursor:
            _serialise(cursor, run)
            record = (
                Record.objects.select_for_update(of=("self",)).filter(run_id=run_id, pk=record_id).first()
            )
            if record is None:
                raise NotFound("There is no such record in this run.")
            values, edited = _edited(run, record, changes or {})
            if record.status in UNDER_WAY and not edited:
                return record
            if record.status not in RETRYABLE:
                raise RecordNotRetryable(
                    f"The record is {record.get_status_display().lower()}: only one that failed, was skipped or was "
                    "not found can be asked for again."
                )
            history = _history([record.pk])[record.pk]
            retry = _planned(run, record.pk, record.status, values, history, restart=restart)
            if restart:
                _forget_answers(
                    cursor, run, questions(run.template, run.config, values, answers_of(*history))
                )
            _write_input(cursor, run, record, values, edited)
            _write(cursor, run, [retry], actor)
            detail: dict[str, Any] = {"mode": "restart" if restart else "resume", "fields": sorted(edited)}
            RunEvent.objects.create(
                run=run, record_id=record.pk, kind="record.retried", actor=actor, detail=detail
            )
            audit.record(actor=actor, verb="record.retried", subject=record, run=str(run.pk), **detail)
        record.refresh_from_db()
    return record


def _open_run(run_id: uuid.UUID) -> Run:
    run: Run | None = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise NotFound("There is no such run.")
    if run.status in CLOSED:
        raise RunIsFinal(f"The run is {run.status}: nothing of it can be asked again. Start a new run.")
    _use_present_lanes(run)
    return run


def _use_present_lanes(run: Run) -> None:
    """Where a vendor's connection was removed since, its calls go by the one that is there now. Raises MissingConnection
    where there is none."""
    removed = Lane.objects.filter(pk__in=list(run.lanes.values())).exclude(connection__removed_at=None)
    providers = list(removed.values_list("provider", flat=True))
    if providers:
        run.lanes |= setup_of(run.workflow).lanes_for(providers, livemode=run.livemode)
        Run.objects.filter(pk=run.pk).update(lanes=run.lanes)


def _serialise(cursor: Any, run: Run) -> None:
    """One retry of a run at a time: see `_write`."""
    book.hold_tenant(cursor, run.tenant_id)
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('retry:' || %s, 0))", [str(run.pk)])


History = tuple[list[Step], list[AmbiguousCall]]


def _history(record_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, History]:
    """The attempts of records, and their calls in doubt, in time order."""
    found: dict[uuid.UUID, History] = {record_id: ([], []) for record_id in record_ids}
    columns = (
        "record_id",
        "operation",
        "provider",
        "status",
        "outcome",
        "answer",
        "credits",
        "queue_id",
        "attempt",
    )
    for step in Step.objects.filter(record_id__in=record_ids).only(*columns).order_by("id"):
        found[step.record_id][0].append(step)
    for call in AmbiguousCall.objects.filter(record_id__in=record_ids).order_by("id"):
        found[call.record_id][1].append(call)
    return found


def _planned(
    run: Run,
    record_id: uuid.UUID,
    status: str,
    values: dict[str, str],
    history: History,
    *,
    restart: bool = False,
) -> Retry:
    steps, calls = history
    doubts = [doubt.carried(call) for call in calls if call.may_cost and call.released_at is None]
    if restart:
        plan, taken = replay(run.template, run.config, values, {})
    else:
        plan, taken = replay(run.template, run.config, values, answers_of(steps, calls), doubts)
    # A late answer tells nothing where the vendor charges a question once and was asked again: the repeat's answer does.
    told = {
        (call.queue_id, call.attempt) for call in calls if call.repeat_is_free and call.status == "repeated"
    }
    counted = [step for step in steps if step.status != "late" or (step.queue_id, step.attempt) not in told]
    paid = sum(step.credits for step in counted) + sum(step.credits for step in doubts)
    return Retry(record_id, status, values, plan, taken, paid, doubtful=in_doubt(plan, steps))


def _edited(run: Run, record: Record, changes: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    """The record's input with these changes, and the fields that differ now. Raises InvalidInput."""
    wanted = {**record.input, **changes}
    values, faults = TEMPLATES[run.template].clean_record(
        {name: value for name, value in wanted.items() if value is not None}
    )
    if faults:
        raise InvalidInput(
            faults[0].message, errors=[{"field": f"input.{f.field}", "message": f.message} for f in faults]
        )
    values = storable(values)
    names = {*values, *record.input}
    return values, {name for name in names if values.get(name) != record.input.get(name)}


def _write_input(cursor: Any, run: Run, record: Record, values: dict[str, str], edited: set[str]) -> None:
    """Keep the new input. A record whose faulty input was mended is billed now, like any that was sound at first."""
    if edited:
        original = {name: text for name, text in (record.original or {}).items() if name not in edited}
        Record.objects.filter(pk=record.pk).update(input=values, original=original or None)
    _meter(cursor, run, [record.pk])


def _meter(cursor: Any, run: Run, record_ids: Sequence[uuid.UUID]) -> None:
    """Count those that never were (their input was faulty, or there was no room for them) and those that were given back
    because nobody had been asked. Raises QuotaExceeded.

    Before the run is locked, which whoever fills it takes after the quota.
    """
    if not run.livemode:
        return
    cursor.execute(
        f"""INSERT INTO billing_usageevent (id, tenant_id, key, kind, quantity, credits, provider, run_id, period,
                                            livemode)
            SELECT t.id, %(tenant)s, 'record:' || t.record_id || {quota.ROUND}, 'record', 1, 0, '', %(run)s,
                   {quota.PERIOD}, true
            FROM unnest(%(ids)s::uuid[], %(records)s::uuid[]) t(id, record_id)
            ON CONFLICT (tenant_id, key) DO NOTHING RETURNING 1""",  # noqa: S608 - constants
        {
            "tenant": run.tenant_id,
            "run": run.pk,
            "ids": [uuid7() for _ in record_ids],
            "records": list(record_ids),
        },
    )
    quota.take(cursor, run.tenant_id, len(cursor.fetchall()))


def _write(cursor: Any, run: Run, retries: Sequence[Retry], actor: str) -> None:
    """Move locked records back into the work, or to the end that they have without another question."""
    asked = [retry for retry in retries if not isinstance(retry.plan, Final)]
    _move_records(cursor, run, retries)
    entries = [
        book.QueueEntry(
            lane_id=uuid.UUID(run.lanes[retry.plan.provider]),
            run_id=run.pk,
            record_id=retry.id,
            name=retry.plan.name,
            query=retry.plan.query,
            fingerprint=fingerprint(retry.plan),
            context=[step.to_json() for step in retry.taken],
        )
        for retry in asked
    ]
    _ask_again(cursor, run, asked, [entry.fingerprint for entry in entries], actor)
    woken = book.insert_queue(cursor, run.tenant_id, entries)
    doubtful = [(r.id, r.plan) for r in asked if r.doubtful and can_be_looked_up(r.plan)]
    look_up_first(cursor, run.tenant_id, doubtful)
    change: Counter[str] = Counter()
    for retry in retries:
        change[retry.status] -= 1
        change[str(retry.becomes)] += 1
    change["ended"] = -len(asked)
    book.count_runs(cursor, run.tenant_id, {run.pk: change})
    _reopen(cursor, run, actor, under_way=bool(asked))
    # If the run's last record ended while we came, its lanes forgot it. The run is ours until we commit, it had no work
    # left, and no other retry is under way: nobody else can be adding it to a lane now.
    book.enter_lanes(cursor, run.tenant_id, sorted({(entry.lane_id, run.pk) for entry in entries}))
    ring_after_commit(woken)


def _ask_again(
    cursor: Any, run: Run, asked: Sequence[Retry], fingerprints: Sequence[str], actor: str
) -> None:
    """Whoever retries a record whose call is in doubt has decided that it is asked again."""
    providers = [retry.plan.provider for retry in asked if not isinstance(retry.plan, Final)]
    cursor.execute(
        """UPDATE ambiguous_call SET status = 'repeated', decided_by = %s, decided_at = now()
           WHERE tenant_id = %s AND record_id = ANY(%s::uuid[]) AND status = 'open'""",
        [actor, run.tenant_id, [retry.id for retry in asked]],
    )
    cursor.execute(
        """DELETE FROM lookup l USING unnest(%s::text[], %s::text[]) t(provider, fingerprint)
           WHERE l.tenant_id = %s AND l.livemode = %s AND l.provider = t.provider AND l.fingerprint = t.fingerprint
             AND l.outcome = 'ambiguous'""",
        [providers, list(fingerprints), run.tenant_id, run.livemode],
    )


def _forget_answers(cursor: Any, run: Run, asks: Sequence[Ask]) -> None:
    """Whoever begins anew wants the vendors' word and not what is kept of it; what is being asked now is waited for."""
    cursor.execute(
        """DELETE FROM lookup l USING (
               SELECT k.id FROM lookup k JOIN unnest(%s::text[], %s::text[]) t(provider, fingerprint)
                      ON t.provider = k.provider AND t.fingerprint = k.fingerprint
               WHERE k.tenant_id = %s AND k.livemode = %s AND k.outcome <> ''
               ORDER BY k.provider, k.livemode, k.fingerprint FOR UPDATE OF k) kept
           WHERE l.id = kept.id""",
        [[ask.provider for ask in asks], [fingerprint(ask) for ask in asks], run.tenant_id, run.livemode],
    )


def _move_records(cursor: Any, run: Run, retries: Sequence[Retry]) -> None:
    """`credits` of a record under way is what it was paid beside the steps that its queue entry carries along."""
    ends = [retry.plan if isinstance(retry.plan, Final) else None for retry in retries]
    cursor.execute(
        """UPDATE record r SET status = t.status, output = t.output::jsonb, error = t.error::jsonb, credits = t.credits,
                  finished_at = CASE WHEN t.status NOT IN ('queued', 'running') THEN now() END
           FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bigint[])
                t(id, status, output, error, credits)
           WHERE r.id = t.id AND r.tenant_id = %s""",
        [
            [retry.id for retry in retries],
            [str(retry.becomes) for retry in retries],
            [book.dump(end.output) if end else None for end in ends],
            [book.dump(end.error) if end else None for end in ends],
            [
                retry.paid - (0 if end else sum(step.credits for step in retry.taken))
                for retry, end in zip(retries, ends, strict=True)
            ],
            run.tenant_id,
        ],
    )


def _reopen(cursor: Any, run: Run, actor: str, *, under_way: bool) -> None:
    """Let a run that had ended go on. Raises RunIsFinal when somebody cancelled it meanwhile."""
    status = book.rows(
        cursor, "SELECT status FROM run WHERE id = %s AND tenant_id = %s", [run.pk, run.tenant_id]
    )
    if status[0][0] in CLOSED:
        raise RunIsFinal(f"The run is {status[0][0]}: nothing of it can be asked again.")
    if under_way and status[0][0] == RunStatus.COMPLETED:
        cursor.execute(
            "UPDATE run SET status = 'running', finished_at = NULL WHERE id = %s AND tenant_id = %s",
            [run.pk, run.tenant_id],
        )
        book.write_events(cursor, run.tenant_id, [(run.pk, "run.reopened", {})], actor=actor)
