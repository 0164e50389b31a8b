"""Turning the rows of an upload into records, in chunks, each with its first steps, usage and counts in one transaction.

May be started any number of times and stopped anywhere: a run knows how many rows it has taken.
"""

import uuid
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, cast

import structlog
from django.core.files.storage import default_storage
from django.db import connections
from django.db.models.functions import Now

from tenants.failpoints import reach
from tenants.scope import APP_ALIAS, tenant_scope
from workflows import telling
from workflows.csv_in import Dialect, RowIn, read_rows
from workflows.models import LaneRun, Run, RunEvent
from workflows.operations.records_in import NewRecord, write_records
from workflows.states import LaneRunState, RunStatus

FIRST_CHUNK, CHUNK = 100, 1_000

log = structlog.get_logger(__name__)


def fill_run(tenant_id: uuid.UUID, run_id: uuid.UUID) -> None:
    """Write the rows that are not records yet. Nothing to do is not an error."""
    with tenant_scope(tenant_id):
        run = Run.objects.select_related("upload").filter(pk=run_id).first()
    if run is None or run.upload is None or run.filled >= run.total or run.status == RunStatus.FAILED:
        return
    dialect = Dialect.from_dict(run.upload.dialect)
    try:
        with default_storage.open(run.upload.stored_as) as stream:
            rows = read_rows(cast(BinaryIO, stream), dialect, run.mapping, template=run.template)
            taken = _fill(tenant_id, run, islice(rows, run.filled, None))
    except FileNotFoundError:
        _fail(
            tenant_id, run_id, "The uploaded file is gone from the storage. Upload it again, start a new run."
        )
        return
    if taken is not None and taken < run.total:
        _fail(
            tenant_id, run_id, f"The stored file ends after {taken:,} of {run.total:,} rows. Upload it again."
        )


def _fill(tenant_id: uuid.UUID, run: Run, rows: Iterator[RowIn]) -> int | None:
    """Take rows to the end of the file; returns how many the run has then, None when somebody else is taking them."""
    taken, size = run.filled, FIRST_CHUNK if run.filled == 0 else CHUNK
    while chunk := [_record(row) for row in islice(rows, size)]:
        with tenant_scope(tenant_id):
            # Whoever comes second finds the rows taken and leaves them to the first. Not a lock on the run: the engine
            # takes that last, and would wait for us with everything else in its hands.
            with connections[APP_ALIAS].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [str(run.pk)])
            locked = Run.objects.get(pk=run.pk)
            if locked.filled != taken or locked.status == RunStatus.FAILED:
                return None
            write_records(locked, chunk)
            taken += len(chunk)
            Run.objects.filter(pk=run.pk).update(filled=taken, filled_at=Now())
            reach("fill.written")
        reach("fill.committed")
        size = CHUNK
    return taken


def _record(row: RowIn) -> NewRecord:
    """A row as a record; `read_rows` has cleaned it already and counts from 0."""
    faults = [(fault.code, fault.message) for fault in row.faults]
    return NewRecord(row.position + 1, dict(row.values), faults, row.line, row.originals)


def _fail(tenant_id: uuid.UUID, run_id: uuid.UUID, reason: str) -> None:
    log.error("run_failed", run_id=str(run_id), reason=reason)
    with tenant_scope(tenant_id):
        run = Run.objects.select_for_update(of=("self",)).get(pk=run_id)
        Run.objects.filter(pk=run_id).update(status=RunStatus.FAILED, error=reason, finished_at=Now())
        LaneRun.objects.filter(run_id=run_id).update(state=LaneRunState.CANCELLED)
        RunEvent.objects.create(run=run, kind="run.failed", actor="system:engine", detail={"reason": reason})
        with connections[APP_ALIAS].cursor() as cursor:
            telling.runs_ended(cursor, tenant_id, [run_id])
