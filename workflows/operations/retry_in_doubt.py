"""Asking again where nobody knows whether the vendor has done it already, and doing it twice would do harm."""

import uuid
from collections.abc import Sequence
from typing import Any

from integrations.connectors import registry
from workflows.catalog import Ask
from workflows.lanes import book
from workflows.lanes.work import LOOK_UP, Job


def in_doubt(plan: Any, steps: Sequence[Any]) -> bool:
    """Whether the question that a record would ask again may have been done already, and must not be done twice."""
    if not isinstance(plan, Ask) or registry.get(plan.provider).repeat_is_harmless:
        return False
    asked = [s for s in steps if (s.operation, s.provider) == (plan.operation, plan.provider)]
    return bool(asked) and asked[-1].status == "ambiguous"


def can_be_looked_up(plan: Ask) -> bool:
    return plan.operation in registry.get(plan.provider).can_look_up


def look_up_first(cursor: Any, tenant_id: uuid.UUID, asks: Sequence[tuple[uuid.UUID, Ask]]) -> None:
    """Let the entries that were just queued for these records begin with a look at what became of the earlier call."""
    if not asks:
        return
    cursor.execute(
        """UPDATE step_queue q SET job = t.job::jsonb, job_until = now() + t.lasts * interval '1 second'
           FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::float[]) t(record_id, name, job, lasts)
           WHERE q.tenant_id = %s AND q.record_id = t.record_id AND q.name = t.name AND q.sent_at IS NULL""",
        [
            [record_id for record_id, _ in asks],
            [ask.name for _, ask in asks],
            [book.dump(Job(LOOK_UP, counted=True).to_json()) for _ in asks],
            [registry.get(ask.provider).job_seconds for _, ask in asks],
            tenant_id,
        ],
    )
