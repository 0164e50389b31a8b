"""Telling Stripe's meter what batches have: tried until there is a definite answer, and looked for where there is none.

A batch is marked as tried before it is sent, and sent again under the same identifier while Stripe is sure to know it;
after that nothing is sent before the meter was read. What is to be taken back goes the same way. Decision 0021.
"""

import uuid
from datetime import timedelta
from typing import Any

import structlog
from django.utils import timezone

from billing import stripe_gateway
from billing.errors import StripeAway, StripeRefused
from billing.models import MeterBatch, Subscription
from billing.operations.metering import MINUTE, WAITING, WHY, State
from billing.periods import bounds
from tenants import audit
from tenants.errors import Conflict
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope

SURE_FOR = timedelta(hours=20)
"""For how long after the first try the same identifier is sent again: Stripe promises to know it for 24 hours."""
METER_TAKES = timedelta(days=34, hours=23)
"""How old what the meter is told may be: Stripe takes 35 days."""
DRAFT = timedelta(hours=1)
"""For how long after its end Stripe keeps a month's invoice open for late usage."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=15)
AT_ONCE = 500
SETTLED = timedelta(hours=1)
"""After so long Stripe's meter shows what became of an event."""
_log = structlog.stdlib.get_logger("weir.metering")


def send_due(most: int = AT_ONCE) -> int:
    """Try the batches whose time has come, until Stripe falls silent; returns how many. Any number of processes may do so
    at once."""
    with ops_scope(WHY):
        found = list(
            MeterBatch.objects.using(OPS_ALIAS)
            .filter(state__in=WAITING, due_at__lte=timezone.now())
            .order_by("due_at")
            .values_list("tenant_id", "pk")[:most]
        )
    for number, (tenant_id, batch_id) in enumerate(found):
        if stripe_gateway.USAGE_SILENCE:
            return number
        try:
            send(tenant_id, batch_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("usage_broke", tenant_id=str(tenant_id), batch_id=str(batch_id), exc_info=error)
    return len(found)


def send_all(tenant_id: uuid.UUID) -> None:
    """Try a tenant's batches now, due or not."""
    with tenant_scope(tenant_id):
        MeterBatch.objects.filter(state__in=WAITING).update(due_at=timezone.now())
        found = list(MeterBatch.objects.filter(state__in=WAITING).values_list("pk", flat=True))
    for batch_id in found:
        if stripe_gateway.USAGE_SILENCE:
            return
        send(tenant_id, batch_id)


def send(tenant_id: uuid.UUID, batch_id: uuid.UUID) -> None:
    """Try one batch: send it, or take it back, or look whether it arrived. Call it outside any scope."""
    found = _claim(tenant_id, batch_id)
    if found is None:
        return
    batch, customer_id = found
    now = timezone.now()
    try:
        if batch.state == State.RETRACT:
            changes = _cancel(batch, customer_id)
        elif batch.first_tried_at is not None and now - batch.first_tried_at > SURE_FOR:
            changes = _look(batch, customer_id)
        elif now - batch.at > METER_TAKES and batch.tries <= 1:
            changes = {"state": State.TOO_LATE, "answer": "older than Stripe's meter takes"}
        else:
            changes = _tell(batch, customer_id)
    except (
        StripeAway,
        StripeRefused,
    ) as error:  # refused: to say what arrived; the batch waits, and is told of
        changes = {"answer": error.detail[:300]}
    if changes.get("state") in (State.REFUSED, State.TOO_LATE):
        _log.error(
            "usage_not_told", tenant_id=str(tenant_id), batch=batch.identifier, quantity=batch.quantity,
            state=str(changes["state"]),
        )  # fmt: skip
    with tenant_scope(tenant_id):
        MeterBatch.objects.filter(pk=batch.pk, tries=batch.tries).update(**changes)


def send_again(*, row: MeterBatch, actor: str) -> None:
    """Have a batch that was refused tried again, once what it was refused for is put right. The meter is read first: what
    did arrive is not sent. Expects the tenant's scope."""
    now = timezone.now()
    batch = MeterBatch.objects.select_for_update().filter(pk=row.pk, state=State.REFUSED).first()
    if batch is None:
        raise Conflict("This batch is not refused any more.")
    batch.state, batch.tries, batch.due_at = State.UNSURE, 0, now
    batch.first_tried_at = now - SURE_FOR - MINUTE
    batch.save(update_fields=["state", "tries", "due_at", "first_tried_at"])
    audit.record(actor=actor, verb="billing.usage_sent_again", subject=batch, records=batch.quantity)


def _claim(tenant_id: uuid.UUID, batch_id: uuid.UUID) -> tuple[MeterBatch, str] | None:
    """Mark a batch as tried, so that whatever happens now, it is known that it may have arrived."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        customer_id = Subscription.objects.values_list("customer_id", flat=True).first()
        batch = (
            MeterBatch.objects.select_for_update(skip_locked=True)
            .filter(pk=batch_id, state__in=WAITING, due_at__lte=now)
            .first()
        )
        if batch is None or customer_id is None:
            return None
        batch.tries += 1
        batch.due_at = now + min(FIRST_WAIT * 2 ** min(batch.tries - 1, 10), LONGEST_WAIT)
        batch.first_tried_at = batch.first_tried_at or now
        if batch.state != State.RETRACT:
            batch.state = State.UNSURE
        batch.save(update_fields=["tries", "due_at", "state", "first_tried_at"])
    return batch, customer_id


def _tell(batch: MeterBatch, customer_id: str) -> dict[str, Any]:
    try:
        stripe_gateway.send_usage(
            customer_id, quantity=batch.quantity, at=batch.at, identifier=batch.identifier,
            key=f"{batch.identifier}:{batch.tries}",
        )  # fmt: skip
    except stripe_gateway.Duplicate:
        return _arrived(batch, "arrived before")
    except StripeRefused as error:
        if batch.tries > 1:  # what was tried before may have arrived
            return _look(batch, customer_id)
        return {"state": State.REFUSED, "answer": error.detail[:300]}
    return _arrived(batch, "")


def _look(batch: MeterBatch, customer_id: str) -> dict[str, Any]:
    """What the meter has in the batch's own minute: all of it, or nothing, and then it may be sent again."""
    counted = stripe_gateway.usage_between(customer_id, batch.at, batch.at + MINUTE)
    if counted == batch.quantity:
        return _arrived(batch, "found in the meter")
    if counted == 0:
        return {
            "state": State.DUE,
            "first_tried_at": None,
            "tries": 0,
            "due_at": timezone.now(),
            "answer": "never arrived",
        }
    return {"state": State.REFUSED, "answer": f"the meter has {counted} in its minute"}


def _cancel(batch: MeterBatch, customer_id: str) -> dict[str, Any]:
    """Take it back. A refusal may be of what an earlier try did, or of an event that Stripe has not worked off yet: the
    meter says which, once it has had time."""
    try:
        stripe_gateway.take_back_usage(batch.identifier)
    except StripeRefused as error:
        if timezone.now() - (batch.first_tried_at or batch.created_at) < SETTLED:
            return {"answer": f"not taken back yet: {error.detail}"[:300]}
        if stripe_gateway.usage_between(customer_id, batch.at, batch.at + MINUTE) != 0:
            return {"state": State.SENT, "answer": f"not taken back: {error.detail}"[:300]}
    return {"state": State.RETRACTED, "answer": "taken back"}


def _arrived(batch: MeterBatch, answer: str) -> dict[str, Any]:
    now = timezone.now()
    if now > bounds(batch.period)[1] + DRAFT:
        # In the meter, and not on its invoice: `late_usage` charges it with the next one.
        answer = f"after its month's invoice was final; {answer}".rstrip("; ")
        _log.warning(
            "usage_after_invoice", batch=batch.identifier, quantity=batch.quantity, period=str(batch.period)
        )
    return {"state": State.SENT, "sent_at": now, "answer": answer}


def waiting_s() -> float:
    """For how many seconds the oldest batch has waited for a definite answer; 0 when none does."""
    with ops_scope(WHY):
        oldest = (
            MeterBatch.objects.using(OPS_ALIAS)
            .filter(state__in=WAITING)
            .order_by("created_at")
            .values_list("created_at", flat=True)
            .first()
        )
    return (timezone.now() - oldest).total_seconds() if oldest else 0.0
