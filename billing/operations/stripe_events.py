"""Events of Stripe: stored first, known by their id, handled from the store, tried again, and then shown to somebody."""

import uuid
from datetime import timedelta

import structlog
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone

from billing import handlers, stripe_answers, stripe_gateway
from billing.models import StripeEvent
from tenants import audit
from tenants.doorbell import send
from tenants.errors import WeirError
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import OPS_ALIAS, ops_scope

HANDLE = "billing.tasks.handle_stripe_event"
WHY = "events of Stripe"
LEASE = timedelta(seconds=90)
"""For how long a try may take until another begins: a worker may have died."""
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=6)
MOST_TRIES = 20
"""About two days; then somebody has to look."""
KEPT = timedelta(days=90)
FETCHED = timedelta(days=3)
_log = structlog.stdlib.get_logger("weir.stripe_events")


def store(event: stripe_answers.Told) -> bool:
    """Keep an event, and have it handled; whether it is new. Handled from the store alone, so a lost message costs at
    most one sweep."""
    with ops_scope(WHY), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            """INSERT INTO billing_stripeevent AS e (id, event_id, type, customer_id, object_id, api_version, body, posts,
                                                     state, tries, error, happened_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, 1, 'new', 0, '', %s)
               ON CONFLICT (event_id) DO UPDATE SET posts = e.posts + 1 RETURNING e.id, e.posts""",
            [
                uuid7(), event.id, event.type[:120], event.customer_id, event.object_id, event.api_version[:40],
                event.body, event.happened_at,
            ],
        )  # fmt: skip
        row_id, posts = cursor.fetchone()
    if posts == 1:
        send(HANDLE, str(row_id))
    return bool(posts == 1)


def fetch_undelivered() -> int:
    """Store the events of the last days that Stripe could not deliver; returns how many are new here."""
    return sum(store(event) for event in stripe_gateway.undelivered(timezone.now() - FETCHED))


def handle(row_id: uuid.UUID) -> str:
    """Try an event that is due; its state afterwards, empty where somebody else has it or it is not due."""
    event = _claim(row_id)
    if event is None:
        return ""
    try:
        handled = handlers.handle(event)
    except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
        return _put_off(event, error)
    if not handled.known:
        _finish(
            event, state=StripeEvent.State.KEPT, body=handlers.ids_of(event.body), error="", handled_at=timezone.now()
        )  # fmt: skip
        return str(StripeEvent.State.KEPT)
    _finish(
        event, state=StripeEvent.State.DONE, tenant_id=handled.tenant_id, error="", handled_at=timezone.now()
    )
    return str(StripeEvent.State.DONE)


def replay(*, row: StripeEvent, actor: str) -> None:
    """Have an event handled again, from the beginning of its tries; harmless for one that is done."""
    _log.info("stripe_event_replayed", event_id=row.event_id, actor=actor)
    with ops_scope(WHY):
        if row.tenant_id and Tenant.objects.filter(pk=row.tenant_id).exists():
            audit.record(
                actor=actor,
                verb="billing.event_replayed",
                subject=row,
                tenant_id=row.tenant_id,
                type=row.type,
            )
        StripeEvent.objects.filter(pk=row.pk).update(
            state=StripeEvent.State.NEW, tries=0, error="", due_at=timezone.now()
        )
    send(HANDLE, str(row.pk))


def due(most: int = 200) -> list[uuid.UUID]:
    """Events whose next try is due, oldest first."""
    with ops_scope(WHY):
        found = StripeEvent.objects.filter(state=StripeEvent.State.NEW, due_at__lte=timezone.now())
        return list(found.order_by("due_at").values_list("pk", flat=True)[:most])


def forget_old() -> int:
    """Delete what was handled and is older than KEPT; returns how many."""
    with ops_scope(WHY):
        old = StripeEvent.objects.exclude(state__in=[StripeEvent.State.NEW, StripeEvent.State.FAILED])
        return old.filter(received_at__lt=timezone.now() - KEPT).delete()[0]


def forget_tenant(tenant_id: uuid.UUID, customer_id: str = "") -> None:
    """Delete what was stored about a tenant that is being erased, and about its customer."""
    its_own = Q(tenant_id=tenant_id)
    if customer_id:
        its_own |= Q(customer_id=customer_id)
    with ops_scope(WHY):
        StripeEvent.objects.filter(its_own).delete()


def _claim(row_id: uuid.UUID) -> StripeEvent | None:
    """Take it for LEASE. No transaction is open while Stripe is asked."""
    now = timezone.now()
    with ops_scope(WHY), transaction.atomic(using=OPS_ALIAS):
        found = StripeEvent.objects.select_for_update(skip_locked=True).filter(
            pk=row_id, state=StripeEvent.State.NEW, due_at__lte=now
        )
        event = found.first()
        if event is not None:
            event.tries, event.due_at = event.tries + 1, now + LEASE
            event.save(update_fields=["tries", "due_at"])
    return event


def _put_off(event: StripeEvent, error: Exception) -> str:
    said = error.detail if isinstance(error, WeirError) else "see the log"
    if not isinstance(error, WeirError | DatabaseError):
        _log.error("stripe_event_broke", event_id=event.event_id, exc_info=error)
    state = StripeEvent.State.FAILED if event.tries >= MOST_TRIES else StripeEvent.State.NEW
    wait = min(FIRST_WAIT * 2 ** (event.tries - 1), LONGEST_WAIT)
    told = {"event_id": event.event_id, "type": event.type, "tries": event.tries}
    if state == StripeEvent.State.FAILED:
        _log.error("stripe_event_failed", **told)
    else:
        _log.warning("stripe_event_put_off", **told)
    _finish(
        event, state=state, error=f"{type(error).__name__}: {said}"[:300], due_at=timezone.now() + wait,
        tenant_id=event.tenant_id,
    )  # fmt: skip
    return str(state)


def _finish(event: StripeEvent, **changes: object) -> None:
    with ops_scope(WHY):
        StripeEvent.objects.filter(pk=event.pk, tries=event.tries).update(**changes)
