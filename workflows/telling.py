"""What tenants' endpoints are told about runs, records and lanes, as the API would show them.

Called in the transaction in which it happens, also by the engine's flushes: where nobody listens it costs no statement.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from integrations.webhooks import outbox
from integrations.webhooks.outbox import Event
from tenants.events import emit
from workflows.models import Lane
from workflows.states import RECORD_COUNTS

ABOUT_RUNS = f"(run.callback_url <> '' OR {outbox.LISTENED.format(tenant='run.tenant_id', more='')})"
"""Whether anybody may want to be told about a run: for the statement that ends it."""
ABOUT_RECORDS = outbox.LISTENED.format(tenant="t.id", more=""" AND e.events ? 'record.completed'""")
"""Whether a tenant `t` has an endpoint that asks for its records."""


def runs_ended(cursor: Any, tenant_id: uuid.UUID, run_ids: Sequence[uuid.UUID]) -> int:
    """Tell that these runs have ended, completed or failed; one that was cancelled is not told. Returns the deliveries."""
    if not run_ids:
        return 0
    counts = ", ".join(f"r.{name}" for name in ("total", *RECORD_COUNTS))
    cursor.execute(
        f"""SELECT r.id, w.slug, r.name, r.status, r.livemode, r.source, r.priority, r.error, r.metadata::text,
                   r.created_at, r.started_at, r.finished_at, r.credits_estimated, r.credits_reserved, r.credits_spent,
                   r.credit_limit, r.callback_url, {counts}
            FROM run r JOIN workflow w ON w.id = r.workflow_id AND w.tenant_id = r.tenant_id
            WHERE r.tenant_id = %s AND r.id = ANY(%s) AND r.status IN ('completed', 'failed') ORDER BY r.id""",  # noqa: S608
        [tenant_id, list(run_ids)],
    )
    return outbox.write(cursor, tenant_id, [_run(row) for row in cursor.fetchall()])


def records_ended(cursor: Any, tenant_id: uuid.UUID, record_ids: Sequence[uuid.UUID]) -> int:
    """Tell that these records have come to an end; for tenants that ABOUT_RECORDS is true of."""
    if not record_ids:
        return 0
    cursor.execute(
        """SELECT r.id, r.run_id, r.position, r.status, u.livemode, r.input::text, r.output::text, r.error::text, r.credits
           FROM record r JOIN run u ON u.id = r.run_id AND u.tenant_id = r.tenant_id
           WHERE r.tenant_id = %s AND r.id = ANY(%s) ORDER BY r.id""",
        [tenant_id, list(record_ids)],
    )
    return outbox.write(
        cursor, tenant_id, [Event("record.completed", _record(row)) for row in cursor.fetchall()]
    )


def lane_paused(lane: Lane, *, reason: str) -> None:
    """Tell that a lane stands still. In the open tenant's scope."""
    emit(
        "lane.paused",
        {
            "id": str(lane.pk), "connection": str(lane.connection_id), "provider": lane.provider,
            "key_hint": lane.key_hint, "reason": reason,
        },
    )  # fmt: skip


def _run(row: Sequence[Any]) -> Event:
    (
        run_id, slug, name, status, livemode, source, priority, error, metadata, created, started, finished,
        estimated, reserved, spent, limit, callback_url, *counts,
    ) = row  # fmt: skip
    data = {
        "id": str(run_id),
        "workflow": slug,
        "name": name,
        "status": status,
        "livemode": livemode,
        "source": source,
        "priority": priority,
        "records": dict(zip(("total", *RECORD_COUNTS), counts, strict=True)),
        "credits": {
            "estimated": _credits(estimated), "reserved": _credits(reserved), "spent": _credits(spent),
            "limit": None if limit is None else _credits(limit),
        },
        "error": error or None,
        "estimated_finish": None,
        "created_at": _time(created),
        "started_at": _time(started),
        "finished_at": _time(finished),
        "metadata": orjson.loads(metadata),
    }  # fmt: skip
    return Event(f"run.{status}", data, callback_url=callback_url)


def _record(row: Sequence[Any]) -> dict[str, Any]:
    record_id, run_id, position, status, livemode, given, output, error, spent = row
    return {
        "id": str(record_id), "run": str(run_id), "position": position, "status": status, "livemode": livemode,
        "input": orjson.loads(given), "output": output and orjson.loads(output), "error": error and orjson.loads(error),
        "credits": _credits(spent),
    }  # fmt: skip


def _credits(thousandths: int) -> float:
    return round(thousandths / 1000, 3)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
