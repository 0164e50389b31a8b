"""Turning the rows of an upload into records, in chunks, each with its first steps, usage and counts in one transaction.

May be started any number of times and stopped anywhere: a run knows how many rows it has taken.
"""

import uuid
from collections.abc import Iterator
from itertools import islice

import structlog
from django.core.files.storage import default_storage
from django.utils import timezone

from tenants.scope import tenant_scope
from workflows.catalog import TEMPLATES
from workflows.csv_in import Dialect, RowIn, read_rows
from workflows.models import Run, RunEvent
from workflows.operations.accept_run import NewRecord, write_records
from workflows.states import RunStatus

FIRST_CHUNK, CHUNK = 100, 1_000

log = structlog.get_logger(__name__)


def fill_run(tenant_id: uuid.UUID, run_id: uuid.UUID) -> int:
    """Write the rows that are not records yet; returns how many. Nothing to do is not an error."""
    with tenant_scope(tenant_id):
        run = Run.objects.select_related("upload").filter(pk=run_id).first()
    if run is None or run.upload is None or run.filled >= run.total:
        return 0
    try:
        with default_storage.open(run.upload.stored_as) as stream:
            rows = read_rows(
                stream, Dialect.from_dict(run.upload.dialect), run.mapping, template=run.template
            )
            return _fill(tenant_id, run, islice(rows, run.filled, None))
    except FileNotFoundError:
        _fail(
            tenant_id,
            run_id,
            "The uploaded file is gone from the storage. Upload it again and start a new run.",
        )
        return 0


def _fill(tenant_id: uuid.UUID, run: Run, rows: Iterator[RowIn]) -> int:
    written, size = 0, FIRST_CHUNK if run.filled == 0 else CHUNK
    while chunk := [_record(run, row) for row in islice(rows, size)]:
        with tenant_scope(tenant_id):
            # Whoever comes second finds the rows taken and leaves them to the first.
            locked = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
            if locked.filled != chunk[0].position - 1 or locked.status == RunStatus.FAILED:
                return written
            write_records(locked, chunk)
            Run.objects.filter(pk=run.pk).update(filled=chunk[-1].position, filled_at=timezone.now())
        written += len(chunk)
        size = CHUNK
    return written


def _record(run: Run, row: RowIn) -> NewRecord:
    values, faults = TEMPLATES[run.template].clean_record(row.values)
    named = [(fault.code, fault.message) for fault in (*row.faults, *faults)]
    return NewRecord(row.position, values, named, row.line)


def _fail(tenant_id: uuid.UUID, run_id: uuid.UUID, reason: str) -> None:
    log.error("run_failed", run_id=str(run_id), reason=reason)
    with tenant_scope(tenant_id):
        run = Run.objects.select_for_update(of=("self",)).get(pk=run_id)
        run.status, run.error, run.finished_at = RunStatus.FAILED, reason, timezone.now()
        run.save(update_fields=["status", "error", "finished_at"])
        RunEvent.objects.create(run=run, kind="run.failed", actor="system:engine", detail={"reason": reason})
