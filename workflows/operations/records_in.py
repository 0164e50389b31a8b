"""New records: what becomes of each before its first call, and the statements that write them with their first steps."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from billing import quota
from integrations.suppressions import covers_subdomains, suppressed_of
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS
from workflows import contacts
from workflows.catalog import Ask, Final
from workflows.lanes import book
from workflows.lanes.decide import decide, fingerprint
from workflows.lanes.ring import ring_after_commit
from workflows.lanes.shield import ERROR as SUPPRESSED
from workflows.lanes.wire import engine_cursor
from workflows.models import Run
from workflows.states import RecordStatus, RunStatus

# Both take the parameters of `RecordsIn.parameters`.
INSERT_RECORDS = """
    INSERT INTO record (id, tenant_id, run_id, position, line, input, original, status, output, error, credits,
                        finished_at)
    SELECT id, %(tenant)s, %(run)s, position, line, input::jsonb, original::jsonb, status, output::jsonb,
           error::jsonb, 0, CASE WHEN status <> 'queued' THEN now() END
    FROM unnest(%(ids)s::uuid[], %(positions)s::int[], %(lines)s::int[], %(inputs)s::text[], %(originals)s::text[],
                %(statuses)s::text[], %(outputs)s::text[], %(errors)s::text[])
         t(id, position, line, input, original, status, output, error)"""
INSERT_USAGE = f"""
    INSERT INTO billing_usageevent (id, tenant_id, key, kind, quantity, credits, provider, run_id, period, livemode)
    SELECT event_id, %(tenant)s, 'record:' || record_id, 'record', 1, 0, '', %(run)s, {quota.PERIOD}, true
    FROM unnest(%(usage_ids)s::uuid[], %(used)s::uuid[]) e(event_id, record_id)"""  # noqa: S608 - a constant
NO_ROOM = {
    "code": "quota_exceeded",
    "message": "The month's records were used up when this row was read. Retry it when there is room again.",
}


@dataclass(slots=True)
class NewRecord:
    """A record to be written: its input as kept, what is wrong with it, and where it came from."""

    position: int
    values: dict[str, Any]
    faults: list[tuple[str, str]] = field(default_factory=list)  # code, message
    line: int | None = None
    originals: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RecordsIn:
    """Records of a run as they are written: their rows, the first steps of those that are to be done, the statuses of
    those that are final at once, and the ids of those that count as used."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    entries: list[book.QueueEntry] = field(default_factory=list)
    final: list[str] = field(default_factory=list)
    used: list[uuid.UUID] = field(default_factory=list)

    def parameters(self, run: Run) -> dict[str, Any]:
        """What `INSERT_RECORDS` and `INSERT_USAGE` take; runs of test keys are not metered."""
        used = self.used if run.livemode else []
        names = ("ids", "positions", "lines", "inputs", "originals", "statuses", "outputs", "errors")
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(names)
        return {
            "tenant": run.tenant_id,
            "run": run.pk,
            "used": used,
            "usage_ids": [uuid7() for _ in used],
            **{name: list(column) for name, column in zip(names, columns, strict=True)},
        }


def work_out(
    run: Run, records: Sequence[NewRecord], suppressed: set[int], room: int | None = None
) -> RecordsIn:
    """What is written for these records; `suppressed` has the positions of those that are about suppressed people.

    `room`: for so many there is quota; the others fail. None: for all of them.
    """
    into = RecordsIn()
    for record in records:
        record_id = uuid7()
        status, output, error = RecordStatus.QUEUED.value, None, None
        plan: Ask | Final | None = None
        used = not record.faults
        if run.status == RunStatus.CANCELLED:  # rows of an upload that was cancelled while it was read
            status, used = RecordStatus.CANCELLED.value, False
        elif record.faults:
            code, message = record.faults[0]
            status, error = RecordStatus.FAILED.value, {"code": code, "message": message}
        elif record.position in suppressed:
            status, error, used = RecordStatus.SKIPPED.value, SUPPRESSED, False
        elif room is not None and len(into.used) >= room:
            status, error, used = RecordStatus.FAILED.value, NO_ROOM, False
        else:
            plan, skipped = decide(run.template, run.config, record.values, [])
        if isinstance(plan, Final):
            status, output, error = plan.status, plan.output, plan.error
            used = status != RecordStatus.FAILED
        elif isinstance(plan, Ask):
            into.entries.append(
                book.QueueEntry(
                    lane_id=uuid.UUID(run.lanes[plan.provider]),
                    run_id=run.pk,
                    record_id=record_id,
                    name=plan.name,
                    query=plan.query,
                    fingerprint=fingerprint(plan),
                    context=[step.to_json() for step in skipped],
                )
            )
        if status != RecordStatus.QUEUED:
            into.final.append(status)
        if used:
            into.used.append(record_id)
        into.rows.append(
            (record_id, record.position, record.line, book.dump(storable(record.values)),
             book.dump(storable(record.originals) or None), status, book.dump(output), book.dump(storable(error)))
        )  # fmt: skip
    return into


def write_records(run: Run, records: Sequence[NewRecord]) -> None:
    """Write rows of an upload with their first steps, in the caller's tenant scope.

    The run's counts move with them: a run that is being filled has counted its rows as queued already.
    """
    with connections[APP_ALIAS].cursor() as cursor:
        subdomains = covers_subdomains(cursor, run.tenant_id)
    suppressed = suppressed_among(run, records, subdomains)
    into = work_out(run, records, suppressed)
    with engine_cursor(APP_ALIAS) as cursor:
        if run.livemode:
            room = quota.take_some(cursor, run.tenant_id, len(into.used))
            if room < len(into.used):
                into = work_out(run, records, suppressed, room)
        cursor.execute(f"WITH fresh AS ({INSERT_RECORDS}) {INSERT_USAGE}", into.parameters(run))
        woken = book.insert_queue(cursor, run.tenant_id, into.entries)
        change = Counter(into.final)
        change["queued"], change["ended"] = -len(into.final), len(into.final)
        book.count_runs(cursor, run.tenant_id, {run.pk: change})
    ring_after_commit(woken)


def suppressed_among(run: Run, records: Sequence[NewRecord], subdomains: bool | None) -> set[int]:
    """The positions of the records that are about somebody on the tenant's list; `subdomains` None: nobody is on it."""
    sound = [record for record in records if not record.faults]
    if subdomains is None or not sound:
        return set()
    values = [record.values for record in sound]
    with connections[APP_ALIAS].cursor() as cursor:
        found = suppressed_of(cursor, run.tenant_id, values, subdomains=subdomains)
    return {record.position for record, hit in zip(sound, found, strict=True) if hit}


def storable(value: Any) -> Any:
    """The same JSON value with what PostgreSQL cannot keep (NUL, lone surrogates) replaced, visibly."""
    if isinstance(value, str):
        return contacts.storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
