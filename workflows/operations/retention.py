"""Deleting what is past its time: records and their steps, files, answers kept for reuse, answered requests.

Runs every hour, by beat or, without it, by whoever sweeps; twice at once does no harm, and late only keeps things longer.
A run's own row, its counts and the ledger stay.
"""

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import structlog
from django.core.files.storage import default_storage
from django.db import Error as DatabaseError
from django.db import connections, transaction

from tenants.scope import OPS_ALIAS, ops_scope
from workflows.lanes import partitions
from workflows.lanes.book import rows

log = structlog.get_logger(__name__)

CHUNK = 1_000
RUNS_AT_ONCE = 200
UPLOADS_AT_ONCE = 100
MOST_FAILURES = 100
"""Of one kind; more have one cause, and the next time tries again."""
WHY = "retention"

# Tables whose rows go by age alone; each finds up to CHUNK ids.
_BY_AGE = {
    "idempotency_key": "SELECT id FROM idempotency_key WHERE created_at < clock_timestamp() - interval '24 hours'",
    # A question that nobody has answered belongs to a step; the sweep looks after those.
    "lookup": """SELECT l.id FROM lookup l JOIN tenants_tenant t ON t.id = l.tenant_id WHERE l.outcome <> ''
                 AND l.answered_at < clock_timestamp() - t.retention_days * interval '1 day'""",
    # Its deliveries and their attempts go with it, sent or not.
    "integrations_webhookmessage": """SELECT m.id FROM integrations_webhookmessage m JOIN tenants_tenant t
                                      ON t.id = m.tenant_id WHERE m.created_at < clock_timestamp()
                                      - least(t.retention_days, 30) * interval '1 day'""",
    # One that was not read waits for its call, as long as there is a record to write to.
    "callback": """SELECT c.id FROM callback c LEFT JOIN tenants_tenant t ON t.id = c.tenant_id
                   WHERE t.id IS NULL OR c.received_at < clock_timestamp() - t.retention_days * interval '1 day'
                     AND (c.state <> 'new' OR NOT EXISTS (SELECT 1 FROM record r WHERE r.tenant_id = c.tenant_id
                                                          AND r.id = c.record_id))""",
}
_RUNS_DUE = """
    SELECT r.tenant_id, r.id FROM run r JOIN tenants_tenant t ON t.id = r.tenant_id
    WHERE r.purged_at IS NULL AND r.finished_at < clock_timestamp() - t.retention_days * interval '1 day'
      AND r.id <> ALL(%s)
    ORDER BY r.finished_at LIMIT %s
"""
# A file goes when all that was read from it has gone.
_UPLOADS_DUE = """
    SELECT u.id, u.stored_as FROM upload u JOIN tenants_tenant t ON t.id = u.tenant_id
    WHERE u.purged_at IS NULL AND u.created_at < clock_timestamp() - t.retention_days * interval '1 day'
      AND NOT EXISTS (SELECT 1 FROM run r WHERE r.tenant_id = u.tenant_id AND r.upload_id = u.id AND r.purged_at IS NULL)
      AND u.id <> ALL(%s)
    ORDER BY u.created_at LIMIT %s
"""


def purge(*, seconds: float = 240.0) -> Counter[str]:
    """Delete what is past its time, a chunk per transaction, for up to so many seconds; returns what was deleted, by kind.

    The partitions of the coming months are made first, and those dropped that no tenant needs any more.
    """
    until = time.monotonic() + seconds
    gone: Counter[str] = Counter()
    gone.update(
        partitions_made=len(
            _partitions("SELECT public.weir_make_step_partitions(%s)", [partitions.MONTHS_AHEAD])
        )
    )
    gone.update(partitions_dropped=len(_partitions("SELECT public.weir_drop_step_partitions()", [])))
    gone.update(steps_out_of_time=_out_of_time())
    for kind, count in _pieces():
        gone[kind] += count
        if time.monotonic() > until:
            break
    gone += Counter()
    if gone:
        log.info("purged", **gone)
    return gone


def _partitions(statement: str, parameters: list[int]) -> list[str]:
    """Names of partitions made or dropped; a table that is too busy to be touched is left for the next time."""
    try:
        with ops_scope(WHY), transaction.atomic(using=OPS_ALIAS), connections[OPS_ALIAS].cursor() as cursor:
            return list(rows(cursor, statement, parameters)[0][0])
    except DatabaseError as error:
        log.warning("partitions_left_alone", error=str(error)[:200])
        return []


def _out_of_time() -> int:
    """Rows that no partition is for. Somebody has to look: a clock was wrong, or an installation stood for a year."""
    try:
        with ops_scope(WHY), connections[OPS_ALIAS].cursor() as cursor:
            strays = partitions.out_of_time(cursor)
    except DatabaseError as error:
        log.warning("partitions_not_read", error=str(error)[:200])
        return 0
    if strays:
        log.error("steps_out_of_time", rows=strays)
    return strays


def _pieces() -> Iterator[tuple[str, int]]:
    """One that fails is told and left for the next time; it holds up no other, and no other tenant's."""
    for table, found in _BY_AGE.items():
        try:
            while count := _delete(f"DELETE FROM {table} WHERE id IN ({found} LIMIT {CHUNK})"):  # noqa: S608 - of ours
                yield table, count
        except DatabaseError:
            log.exception("retention_failed", table=table)
    failed: list[uuid.UUID] = []
    while len(failed) < MOST_FAILURES and (due := _ask(_RUNS_DUE, failed, RUNS_AT_ONCE)):
        for tenant_id, run_id in due:
            try:
                while count := _purge_run(tenant_id, run_id):
                    yield "records", count
            except DatabaseError:
                failed.append(run_id)
                log.exception("retention_failed", tenant_id=str(tenant_id), run_id=str(run_id))
            else:
                yield "runs", 1
    failed = []
    while len(failed) < MOST_FAILURES and (files := _ask(_UPLOADS_DUE, failed, UPLOADS_AT_ONCE)):
        for upload_id, stored_as in files:
            try:
                default_storage.delete(stored_as)
            except Exception:  # whatever a storage raises
                failed.append(upload_id)
                log.exception("retention_failed", upload_id=str(upload_id))
                continue
            _delete(
                "UPDATE upload SET purged_at = clock_timestamp(), sample = '[]', errors = '[]' WHERE id = %s",
                upload_id,
            )
            yield "uploads", 1


def _delete(statement: str, *parameters: uuid.UUID) -> int:
    with ops_scope(WHY), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(statement, list(parameters) or None)
        return int(cursor.rowcount)


def _ask(statement: str, but: list[uuid.UUID], most: int) -> list[tuple[uuid.UUID, Any]]:
    with ops_scope(WHY), connections[OPS_ALIAS].cursor() as cursor:
        return rows(cursor, statement, [but, most])


def _purge_run(tenant_id: uuid.UUID, run_id: uuid.UUID) -> int:
    with ops_scope(WHY), connections[OPS_ALIAS].cursor() as cursor:
        return int(rows(cursor, "SELECT public.weir_purge_run(%s, %s, %s)", [tenant_id, run_id, CHUNK])[0][0])
