"""Which records failed, and putting them aside: the dead letters of a run."""

import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import connections

from tenants import audit
from tenants.errors import NotFound
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.errors import RecordNotRetryable
from workflows.lanes import book
from workflows.lanes.claim import load
from workflows.models import Record, Run, RunEvent
from workflows.states import RecordStatus

DISCARDED = "discarded"
CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class FailedFilter:
    """Which of a run's failed records are meant: of one error code, of one vendor that gave up, these; all where empty."""

    code: str = ""
    provider: str = ""
    ids: tuple[uuid.UUID, ...] | None = None

    def told(self) -> dict[str, Any]:
        """For the trail."""
        return {name: value for name, value in (("code", self.code), ("provider", self.provider)) if value}


@dataclass(frozen=True, slots=True)
class Failed:
    id: uuid.UUID
    position: int
    input: dict[str, str]


# Only records that a vendor was asked for, or for which there was no quota: one with a faulty input was never started.
_FAILED = """
    SELECT r.id, r.position, r.input FROM record r
    WHERE r.tenant_id = %(tenant)s AND r.run_id = %(run)s AND r.status = %(status)s AND r.position > %(after)s
      AND (r.started_at IS NOT NULL OR r.error->>'code' = 'quota_exceeded' OR %(faulty)s)
      AND (%(ids)s::uuid[] IS NULL OR r.id = ANY(%(ids)s::uuid[]))
      AND (%(code)s = '' OR r.error->>'code' = %(code)s)
      AND ((%(provider)s = '' AND %(status)s = 'failed') OR EXISTS (
          SELECT 1 FROM step s WHERE s.tenant_id = r.tenant_id AND s.record_id = r.id
          AND (s.status = 'dead' OR (s.status = 'ambiguous' AND %(status)s = 'failed'))
          AND (%(provider)s = '' OR s.provider = %(provider)s)))
    ORDER BY r.position LIMIT %(most)s FOR UPDATE OF r SKIP LOCKED
"""


def lock_failed(
    cursor: Any, run: Run, status: str, after: int, which: FailedFilter, most: int, *, faulty: bool = False
) -> list[Failed]:
    """Lock up to `most` records behind a position; whoever has one of them locked keeps it. `faulty` ones on demand."""
    parameters = {
        "tenant": run.tenant_id, "run": run.pk, "status": str(status), "after": after, "faulty": faulty,
        "code": which.code, "provider": which.provider, "most": most,
        "ids": None if which.ids is None else list(which.ids),
    }  # fmt: skip
    cursor.execute(_FAILED, parameters)
    return [Failed(row[0], row[1], load(row[2])) for row in cursor.fetchall()]


def discard_failed(
    *, tenant_id: uuid.UUID, run_id: uuid.UUID, actor: str, which: FailedFilter | None = None
) -> int:
    """Put the failed records of a run aside, faulty ones too: they count as skipped, and none is asked for again by a
    retry of the run. Returns how many. Commits a chunk at a time when called outside of any scope. Raises NotFound."""
    total, after = 0, 0
    which = which or FailedFilter()
    while True:
        with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
            run = _run(run_id)
            found = lock_failed(cursor, run, RecordStatus.FAILED, after, which, CHUNK, faulty=True)
            if found:
                _set_aside(cursor, run, [row.id for row in found])
                detail: dict[str, Any] = {"records": len(found), **which.told()}
                RunEvent.objects.create(run=run, kind="run.discarded", actor=actor, detail=detail)
                audit.record(actor=actor, verb="run.discarded", subject=run, **detail)
        total += len(found)
        if len(found) < CHUNK:
            return total
        after = found[-1].position


def discard_record(*, run_id: uuid.UUID, record_id: uuid.UUID, actor: str) -> Record:
    """Put one failed record aside. Done twice it stays as it is. Raises NotFound, RecordNotRetryable."""
    with tenant_scope(require_tenant_id()), connections[APP_ALIAS].cursor() as cursor:
        run = _run(run_id)
        record = Record.objects.select_for_update(of=("self",)).filter(run_id=run_id, pk=record_id).first()
        if record is None:
            raise NotFound("There is no such record in this run.")
        if record.status == RecordStatus.SKIPPED and (record.error or {}).get("code") == DISCARDED:
            return record
        if record.status != RecordStatus.FAILED:
            word = record.get_status_display().lower()
            raise RecordNotRetryable(f"The record is {word}: only one that failed can be discarded.")
        _set_aside(cursor, run, [record.pk])
        RunEvent.objects.create(run=run, record_id=record.pk, kind="record.discarded", actor=actor)
        audit.record(actor=actor, verb="record.discarded", subject=record, run=str(run.pk))
        record.refresh_from_db()
    return record


def _run(run_id: uuid.UUID) -> Run:
    run: Run | None = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise NotFound("There is no such run.")
    return run


def _set_aside(cursor: Any, run: Run, record_ids: list[uuid.UUID]) -> None:
    """The error stays readable behind the new code."""
    cursor.execute(
        """UPDATE record SET status = 'skipped',
                  error = jsonb_build_object('code', %s::text, 'message', 'Discarded. ' || coalesce(error->>'message', ''))
           WHERE tenant_id = %s AND id = ANY(%s)""",
        [DISCARDED, run.tenant_id, record_ids],
    )
    change: Counter[str] = Counter({"failed": -len(record_ids), "skipped": len(record_ids)})
    book.count_runs(cursor, run.tenant_id, {run.pk: change})
