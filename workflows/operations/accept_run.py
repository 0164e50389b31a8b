"""Accepting work: one transaction, whatever the number of records; nothing accepted is ever lost after it.

Records that come with the request are written here, with everything that belongs to them, by one statement. The rows of
an upload become records in chunks afterwards (`fill_run`), so that the first calls of a large run start at once.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from billing import quota
from tenants import audit
from tenants.errors import InvalidInput
from tenants.failpoints import reach
from tenants.ids import moment_of, uuid7
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.catalog import TEMPLATES
from workflows.csv_in import check_mapping
from workflows.errors import MappingRefused, TooManyRecords, WorkflowDisabled
from workflows.lanes import book
from workflows.lanes.ring import ring_after_commit, ring_fill_after_commit
from workflows.lanes.wire import engine_cursor
from workflows.models import Run, RunEvent, Upload, Workflow
from workflows.operations.records_in import (
    INSERT_RECORDS,
    INSERT_USAGE,
    NewRecord,
    RecordsIn,
    storable,
    suppressed_among,
    work_out,
)
from workflows.operations.setup import Setup, find_setup, setup_of
from workflows.worst_case import most_credits

MAX_RECORDS = 1_000
MAX_CREDIT_LIMIT = 10**12

_FIELDS = [
    field for field in Run._meta.concrete_fields if field.name == "created_at" or not field.has_db_default()
]
_COLUMNS = ", ".join(str(field.column) for field in _FIELDS)
# The run comes as one value: a statement with more than fifty is taken apart anew each time that it is sent.
_ACCEPT = f"""
    WITH accepted AS (
        INSERT INTO run ({_COLUMNS}) SELECT {_COLUMNS} FROM jsonb_populate_record(NULL::run, %(row)s)),
    event AS (
        INSERT INTO run_event (id, tenant_id, run_id, kind, detail, actor)
        VALUES (%(event_id)s, %(tenant)s, %(run)s, 'run.accepted', %(detail)s, %(actor)s)),
    trail AS ({audit.INSERT}),
    records AS ({INSERT_RECORDS}),
    usage AS ({INSERT_USAGE}),
    counted AS ({quota.COUNT}),
    queue AS ({book.INSERT_QUEUE}),
    lanes AS ({book.NEW_IN_LANES})
    SELECT"""  # noqa: S608 - names and text of ours alone


def find_workflow(ref: str) -> Workflow:
    """The open tenant's workflow with this id or slug. Raises UnknownWorkflow."""
    return find_setup(ref).workflow


def accept_run(
    *,
    workflow: Workflow | Setup,
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

    Part of the caller's transaction, which is to end when this raises. A faulty record becomes a failed record with a
    named error and does not stop the others. Raises TooManyRecords, InvalidInput, WorkflowDisabled, QuotaExceeded, and
    MissingConnection when a vendor of the workflow is not connected; nothing is written then.
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
    setup = workflow if isinstance(workflow, Setup) else setup_of(workflow)
    run = _new_run(
        setup, actor, source, livemode, priority, credit_limit, callback_url, metadata, name,
        total=len(records),
    )  # fmt: skip
    new = [_new_record(run, position, raw) for position, raw in enumerate(records, 1)]
    into = work_out(run, new, suppressed_among(run, new, setup.covers_subdomains))
    run.filled = len(new)
    run.queued = run.pending = len(new) - len(into.final)
    for status in into.final:
        setattr(run, status, getattr(run, status) + 1)
    _write(run, into, actor)
    if not run.pending:
        with engine_cursor(APP_ALIAS) as cursor:
            book.complete_runs(cursor, run.tenant_id, [run.pk])
        run.refresh_from_db()
    reach("accept.written")
    ring_after_commit({(run.tenant_id, entry.lane_id) for entry in into.entries})
    return run


def _new_record(run: Run, position: int, raw: Mapping[str, Any]) -> NewRecord:
    values, faults = TEMPLATES[run.template].clean_record(raw)
    originals = {
        key: value for key, value in raw.items() if isinstance(value, str) and value != values.get(key, "")
    }
    return NewRecord(position, values, [(fault.code, fault.message) for fault in faults], originals=originals)


def _write(run: Run, into: RecordsIn, actor: str) -> None:
    """Write the run with its records, first steps, usage, event and entry in the trail. Raises QuotaExceeded."""
    row = {field.column: getattr(run, field.attname) for field in _FIELDS}
    row |= {name: str(value) for name, value in row.items() if isinstance(value, uuid.UUID | datetime)}
    trail = audit.parameters(
        actor=actor, verb="run.accepted", subject=run, records=run.total, livemode=run.livemode
    )
    parameters = {
        **trail,
        **into.parameters(run),
        **book.queue_parameters(into.entries),
        "row": book.dump(row),
        "event_id": uuid7(),
        "detail": book.dump({"records": run.total}),
        "actor": actor,
        "priority": run.priority,
    }
    with engine_cursor(APP_ALIAS, prepared=True) as cursor:
        parameters["counted"] = quota.take_ahead(cursor, run.tenant_id, len(into.used) if run.livemode else 0)
        cursor.execute(_ACCEPT, parameters)
    run._state.adding, run._state.db = False, APP_ALIAS


def accept_upload(
    *,
    workflow: Workflow | Setup,
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
    setup = workflow if isinstance(workflow, Setup) else setup_of(workflow)
    faults = check_mapping(upload.columns, mapping, template=setup.workflow.template)
    if faults:
        raise MappingRefused([(fault.code, fault.message) for fault in faults])
    with tenant_scope(require_tenant_id()):
        run = _new_run(
            setup, actor, source, livemode, priority, credit_limit, callback_url, metadata,
            name or upload.filename, total=upload.rows,
        )  # fmt: skip
        if livemode:
            with engine_cursor(APP_ALIAS) as cursor:
                quota.require_room(cursor, run.tenant_id, upload.rows)
        run.upload, run.mapping = upload, mapping
        run.queued = run.pending = upload.rows
        run.save(force_insert=True)
        _created(run, actor)
        ring_fill_after_commit(run.tenant_id, run.pk)
    return run


def _new_run(
    setup: Setup,
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
    workflow = setup.workflow
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
    lanes = setup.lanes_for({provider for _, provider in pairs}, livemode=livemode)
    run_id = uuid7()
    return Run(
        id=run_id,
        created_at=moment_of(run_id),  # runs are found by it through their ids (workflows/queries.py)
        tenant_id=require_tenant_id(),
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


def _created(run: Run, actor: str) -> None:
    RunEvent.objects.create(run=run, kind="run.accepted", actor=actor, detail={"records": run.total})
    audit.record(actor=actor, verb="run.accepted", subject=run, records=run.total, livemode=run.livemode)
