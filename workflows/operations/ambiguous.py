"""Deciding about calls that may have been paid for: ask the vendor again, or accept the loss and go on without it.

Either way what the call may have cost stays booked: nobody knows that it was not charged.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from integrations.connectors import registry
from tenants import audit
from tenants.errors import Conflict, InvalidInput, NotFound, WeirError
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.models import AmbiguousCall, Run
from workflows.operations.failed_records import FailedFilter
from workflows.operations.retry import CLOSED, retry_record, retry_run

REPEAT, ACCEPT = "repeat", "accept"
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Decided:
    """How many calls were decided, and how many are left as they were: their run is over or cannot go on, or they were
    decided."""

    calls: int
    left: int


def decide_call(*, call_id: uuid.UUID, decision: str, actor: str) -> AmbiguousCall:
    """Decide about one call of the open tenant. Raises NotFound, Conflict when it needs no decision any more, and
    MissingConnection where its vendor is to be asked again and is not connected any more."""
    tenant_id = require_tenant_id()
    with tenant_scope(tenant_id):
        call = AmbiguousCall.objects.select_for_update().filter(pk=call_id).first()
        if call is None:
            raise NotFound("There is no such call.")
        if call.status != AmbiguousCall.Status.OPEN:
            raise Conflict(f"This call needs no decision: {call.get_status_display().lower()}.")
        if not _decide(tenant_id, [call], decision, actor, alone=True):
            raise Conflict("Its run is over, so that it cannot be asked again. You can accept the loss.")
        call.refresh_from_db()
    return call


def decide_calls(
    *, tenant_id: uuid.UUID, decision: str, actor: str, provider: str = "", run_id: uuid.UUID | None = None
) -> Decided:
    """Decide about every open call that fits, a chunk a transaction when called outside of any scope."""
    done = left = 0
    after = uuid.UUID(int=0)
    while True:
        with tenant_scope(tenant_id):
            rows = AmbiguousCall.objects.filter(status=AmbiguousCall.Status.OPEN, pk__gt=after)
            if provider:
                rows = rows.filter(provider=provider)
            if run_id:
                rows = rows.filter(run_id=run_id)
            chunk = list(rows.select_for_update(skip_locked=True).order_by("pk")[:CHUNK])
            decided = _decide(tenant_id, chunk, decision, actor) if chunk else 0
        done, left = done + decided, left + len(chunk) - decided
        if len(chunk) < CHUNK:
            return Decided(done, left)
        after = chunk[-1].pk


def _decide(
    tenant_id: uuid.UUID, calls: Sequence[AmbiguousCall], decision: str, actor: str, *, alone: bool = False
) -> int:
    """Decide about locked calls, and let their records go on; returns how many it was.

    What keeps the records of one run from going on (a vendor that is not connected any more) keeps no other's, and is
    raised only where a call is decided `alone` and to be asked again. Alone is also how a call is made again whose
    repetition does harm: whoever says so has looked there.
    """
    if decision not in (REPEAT, ACCEPT):
        raise InvalidInput(
            "decision: repeat or accept.", errors=[{"field": "decision", "message": "repeat or accept."}]
        )
    by_run: dict[uuid.UUID, list[AmbiguousCall]] = defaultdict(list)
    for call in calls:
        by_run[call.run_id].append(call)
    runs = Run.objects.in_bulk(list(by_run))
    if decision == ACCEPT:
        AmbiguousCall.objects.filter(pk__in=[call.pk for call in calls]).update(
            status=AmbiguousCall.Status.ACCEPTED, decided_by=actor, decided_at=Now()
        )
    for run_id, run in sorted(runs.items()):
        mine = by_run[run_id]
        if run.status not in CLOSED:
            ids = tuple(call.record_id for call in mine)
            try:
                with transaction.atomic(using=APP_ALIAS):
                    if alone and decision == REPEAT and not registry.get(mine[0].provider).repeat_is_harmless:
                        retry_record(run_id=run_id, record_id=mine[0].record_id, actor=actor)
                    else:
                        retry_run(
                            tenant_id=tenant_id, run_id=run_id, actor=actor, which=FailedFilter(ids=ids)
                        )
            except WeirError:
                # As with a run that is closed: a loss that is accepted stays so, and its record as it is.
                if alone and decision == REPEAT:
                    raise
    still = AmbiguousCall.objects.filter(pk__in=[call.pk for call in calls], status=AmbiguousCall.Status.OPEN)
    open_ids = set(still.values_list("pk", flat=True))
    decided = [call for call in calls if call.pk not in open_ids]
    if decided:
        audit.record(
            actor=actor,
            verb=f"calls.{decision}",
            subject=Tenant(pk=tenant_id),
            calls=len(decided),
            may_have_cost=sum(call.may_cost for call in decided) / 1000,
        )
    return len(decided)
