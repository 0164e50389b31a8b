"""Accepting work: one transaction, whatever the number of records; nothing accepted is ever lost after it.

Records that come with the request are written here. The rows of an upload become records in chunks afterwards
(`fill_run`), so that the first calls of a large run start at once.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.db import connections
from django.utils import timezone

from integrations.connectors import registry
from integrations.queries import usable_connections
from integrations.suppressions import covers_subdomains, suppressed_of
from tenants import audit
from tenants.errors import InvalidInput
from tenants.failpoints import reach
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows import contacts
from workflows.catalog import TEMPLATES, Ask, Final
from workflows.csv_in import check_mapping
from workflows.errors import (
    MappingRefused,
    MissingConnection,
    TooManyRecords,
    UnknownWorkflow,
    WorkflowDisabled,
)
from workflows.lanes import book
from workflows.lanes.decide import decide, fingerprint
from workflows.lanes.ring import ring_after_commit, ring_fill_after_commit
from workflows.lanes.shield import ERROR as SUPPRESSED
from workflows.lanes.wire import engine_cursor
from workflows.models import Lane, Run, RunEvent, Upload, Workflow
from workflows.states import RecordStatus, RunStatus
from workflows.worst_case import most_credits

MAX_RECORDS = 1_000
MAX_CREDIT_LIMIT = 10**12


@dataclass(slots=True)
class NewRecord:
    """A record to be written: its input as kept, what is wrong with it, and where it came from."""

    position: int
    values: dict[str, Any]
    faults: list[tuple[str, str]] = field(default_factory=list)  # code, message
    line: int | None = None
    originals: dict[str, str] = field(default_factory=dict)


def find_workflow(ref: str) -> Workflow:
    """The open tenant's workflow with this id or slug. Raises UnknownWorkflow."""
    try:
        found = Workflow.objects.filter(pk=uuid.UUID(str(ref))).first()
    except ValueError:
        found = Workflow.objects.filter(slug=str(ref)[:64]).first() if "\0" not in str(ref) else None
    if found is None:
        raise UnknownWorkflow(f"There is no workflow “{storable(str(ref)[:64])}”. GET /workflows lists them.")
    return found


def accept_run(
    *,
    workflow: Workflow,
    records: Sequence[Mapping[str, Any]],
    actor: str,
    source: str,
    livemode: bool,
    priority: int = 5,
    credit_limit: int | None = None,
    callback_url: str = "",
    metadata: Mapping[str, Any] | None = None,
    name: str = "",
) -> Run:
    """Accept a run of 1 to 1,000 records for the open tenant; `credit_limit` in thousandths of the vendors' credits.

    A faulty record becomes a failed record with a named error and does not stop the others. Raises TooManyRecords,
    InvalidInput, WorkflowDisabled, and MissingConnection when a vendor of the workflow is not connected.
    """
    if len(records) > MAX_RECORDS:
        raise TooManyRecords(
            f"A run takes up to {MAX_RECORDS:,} records in one request, this one has {len(records):,}. "
            "Split it, or upload a CSV file.",
            errors=[{"field": "records", "message": f"At most {MAX_RECORDS:,}."}],
        )
    if not records:
        raise InvalidInput(
            "A run needs at least one record.", errors=[{"field": "records", "message": "None given."}]
        )
    template = TEMPLATES[workflow.template]
    new = []
    for position, raw in enumerate(records, 1):
        values, faults = template.clean_record(raw)
        originals = {
            key: value
            for key, value in raw.items()
            if isinstance(value, str) and value != values.get(key, "")
        }
        named = [(fault.code, fault.message) for fault in faults]
        new.append(NewRecord(position, values, named, originals=originals))
    with tenant_scope(require_tenant_id()):
        run = _new_run(
            workflow,
            actor,
            source,
            livemode,
            priority,
            credit_limit,
            callback_url,
            metadata,
            name,
            total=len(new),
        )
        run.filled = len(new)
        run.save(force_insert=True)
        _created(run, actor)
        write_records(run, new)
        reach("accept.written")
        run.refresh_from_db()
    return run


def accept_upload(
    *,
    workflow: Workflow,
    upload: Upload,
    actor: str,
    source: str,
    livemode: bool,
    mapping: Mapping[str, str] | None = None,
    priority: int = 5,
    credit_limit: int | None = None,
    callback_url: str = "",
    metadata: Mapping[str, Any] | None = None,
    name: str = "",
) -> Run:
    """Accept a run over an uploaded file; its rows become records in the background, the first ones at once.

    Raises as `accept_run` does, and InvalidInput when the mapping leaves out a column that the template needs.
    """
    mapping = dict(upload.mapping if mapping is None else mapping)
    faults = check_mapping(upload.columns, mapping, template=workflow.template)
    if faults:
        raise MappingRefused([(fault.code, fault.message) for fault in faults])
    with tenant_scope(require_tenant_id()):
        run = _new_run(
            workflow, actor, source, livemode, priority, credit_limit, callback_url, metadata,
            name or upload.filename, total=upload.rows,
        )  # fmt: skip
        run.upload, run.mapping = upload, mapping
        run.queued = run.pending = upload.rows
        run.save(force_insert=True)
        _created(run, actor)
        ring_fill_after_commit(run.tenant_id, run.pk)
    return run


def write_records(run: Run, records: Sequence[NewRecord]) -> int:
    """Write records of a run with their first steps, in the caller's tenant scope; returns how many are to be done.

    The run's counts move with them: a run that is being filled has counted its rows as queued already.
    """
    counted_before = run.upload_id is not None
    suppressed = _suppressed(run, records)
    rows: list[tuple[Any, ...]] = []
    entries: list[book.QueueEntry] = []
    final: list[str] = []
    for record in records:
        record_id = uuid7()
        status, output, error = RecordStatus.QUEUED.value, None, None
        plan: Ask | Final | None = None
        if run.status == RunStatus.CANCELLED:  # rows of an upload that was cancelled while it was read
            status = RecordStatus.CANCELLED.value
        elif record.faults:
            code, message = record.faults[0]
            status, error = RecordStatus.FAILED.value, {"code": code, "message": message}
        elif record.position in suppressed:
            status, error = RecordStatus.SKIPPED.value, SUPPRESSED
        else:
            plan, skipped = decide(run.template, run.config, record.values, [])
        if isinstance(plan, Final):
            status, output, error = plan.status, plan.output, plan.error
        elif isinstance(plan, Ask):
            entries.append(
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
            final.append(status)
        rows.append(
            (record_id, record.position, record.line, book.dump(storable(record.values)),
             book.dump(storable(record.originals) or None), status, book.dump(output), book.dump(storable(error)),
             status != RecordStatus.FAILED and run.status != RunStatus.CANCELLED
             and record.position not in suppressed)
        )  # fmt: skip
    with engine_cursor(APP_ALIAS) as cursor:
        _insert_records(cursor, run, rows)
        woken = book.insert_queue(cursor, run.tenant_id, entries)
        _count(cursor, run, len(records), final, counted_before)
    ring_after_commit(woken)
    return sum(1 for row in rows if row[-1])


def _suppressed(run: Run, records: Sequence[NewRecord]) -> set[int]:
    """The positions of the records that are about somebody on the tenant's suppression list."""
    sound = [record for record in records if not record.faults]
    with connections[APP_ALIAS].cursor() as cursor:
        subdomains = covers_subdomains(cursor, run.tenant_id)
        if subdomains is None or not sound:
            return set()
        values = [record.values for record in sound]
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


def _new_run(
    workflow: Workflow,
    actor: str,
    source: str,
    livemode: bool,
    priority: int,
    credit_limit: int | None,
    callback_url: str,
    metadata: Mapping[str, Any] | None,
    name: str,
    *,
    total: int,
) -> Run:
    if not workflow.enabled:
        raise WorkflowDisabled(f"The workflow “{workflow.name}” is switched off. Switch it on to start runs.")
    if not 0 <= priority <= 9:
        raise InvalidInput(
            "Priority is a whole number from 0 to 9.", errors=[{"field": "priority", "message": "0-9"}]
        )
    if credit_limit is not None and not 0 <= credit_limit <= MAX_CREDIT_LIMIT:
        raise InvalidInput(
            "A credit limit is a number of credits from 0 to 1,000,000,000.",
            errors=[{"field": "credit_limit", "message": "0 to 1,000,000,000"}],
        )
    template = TEMPLATES[workflow.template]
    config, _ = template.clean_config(workflow.config)
    pairs = template.providers(config)
    lanes = _lanes_for({provider for _, provider in pairs}, livemode=livemode)
    return Run(
        id=uuid7(),
        workflow=workflow,
        template=workflow.template,
        config=config,
        lanes=lanes,
        source=source,
        livemode=livemode,
        priority=priority,
        credit_limit=credit_limit,
        credits_estimated=most_credits(workflow.template, config) * total,
        callback_url=callback_url,
        metadata=storable(dict(metadata or {})),
        name=storable(name)[:200],
        created_by=actor,
        total=total,
    )


def _lanes_for(providers: Iterable[str], *, livemode: bool) -> dict[str, str]:
    wanted = sorted(set(providers))
    chosen = usable_connections(wanted, livemode=livemode)
    missing = [registry.get(provider).title for provider in wanted if provider not in chosen]
    if missing:
        mode = "" if livemode else "sandbox "
        raise MissingConnection(
            f"{' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} no {mode}connection. Add the vendor's "
            "key under Vendors (or POST /connections), or take the vendor out of the workflow.",
            errors=[
                {"field": "workflow", "message": f"No {mode}connection for {title}."} for title in missing
            ],
        )
    by_connection = dict(
        Lane.objects.filter(connection_id__in=[c.pk for c in chosen.values()]).values_list(
            "connection_id", "id"
        )
    )
    return {provider: str(by_connection[connection.pk]) for provider, connection in chosen.items()}


def _created(run: Run, actor: str) -> None:
    RunEvent.objects.create(run=run, kind="run.accepted", actor=actor, detail={"records": run.total})
    audit.record(actor=actor, verb="run.accepted", subject=run, records=run.total, livemode=run.livemode)


def _insert_records(cursor: Any, run: Run, rows: Sequence[tuple[Any, ...]]) -> None:
    cursor.execute(
        """WITH fresh AS (
               INSERT INTO record (id, tenant_id, run_id, position, line, input, original, status, output, error,
                                   credits, finished_at)
               SELECT id, %s, %s, position, line, input::jsonb, original::jsonb, status, output::jsonb, error::jsonb, 0,
                      CASE WHEN status <> 'queued' THEN now() END
               FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
                    t(id, position, line, input, original, status, output, error))
           INSERT INTO billing_usageevent (id, tenant_id, key, kind, quantity, credits, provider, run_id, period,
                                           livemode)
           SELECT event_id, %s, 'record:' || record_id, 'record', 1, 0, '', %s, %s, true
           FROM unnest(%s::uuid[], %s::uuid[]) e(event_id, record_id)""",
        [
            run.tenant_id,
            run.pk,
            *([row[column] for row in rows] for column in range(8)),
            run.tenant_id,
            run.pk,
            first_of_month(),
            *_metered(run, rows),
        ],
    )


def _metered(run: Run, rows: Sequence[tuple[Any, ...]]) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """(event ids, record ids) of what is billed: sound records of live runs."""
    ids = [row[0] for row in rows if row[-1]] if run.livemode else []
    return [uuid7() for _ in ids], ids


def first_of_month() -> date:
    """The period that usage counts in now: the first day of the calendar month, UTC."""
    return timezone.now().date().replace(day=1)


def _count(cursor: Any, run: Run, written: int, final: Sequence[str], counted_before: bool) -> None:
    """Move the run's counts for records just written, and complete a run in which nothing is left to do."""
    change: Counter[str] = Counter(final)
    if counted_before:
        change["queued"] = -len(final)
        change["ended"] = len(final)
    else:
        change["queued"] = written - len(final)
        change["ended"] = -(written - len(final))
    book.count_runs(cursor, run.tenant_id, {run.pk: change})
