"""What follows from an event of Stripe: one function for each kind that we know. Each asks Stripe for the state."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from billing import entitlement, stripe_gateway
from billing.errors import StripeRefused
from billing.models import BillingNotice, StripeEvent, Subscription
from billing.operations import notices, subscriptions
from tenants.models import Tenant
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope

WHY = "events of Stripe"
_log = structlog.stdlib.get_logger("weir.billing")


@dataclass(frozen=True, slots=True)
class Handled:
    """`known`: something may follow from an event of this kind, for a tenant that is here."""

    known: bool
    tenant_id: uuid.UUID | None = None


def handle(event: StripeEvent) -> Handled:
    """Do what an event asks for; harmless any number of times and in any order. Raises StripeAway, StripeRefused.

    Nothing follows from an event of an unknown kind, and from one about a customer of nobody here.
    """
    follow = KINDS.get(event.type)
    if event.type in OF_THE_METER:
        # Stripe took usage and dropped it later. Which, the event says when it is asked for; the comparison says how much.
        _log.error("stripe_dropped_usage", event_id=event.event_id, type=event.type)
    if follow is None:
        return Handled(known=False)
    thing = orjson.loads(event.body)["data"]["object"]
    customer_id = event.customer_id
    if not customer_id and thing.get("charge"):  # disputes name the charge alone
        customer_id = stripe_gateway.customer_of_charge(str(thing["charge"]))
    tenant_id = _tenant_of(customer_id)
    if tenant_id is None:
        _look_for_payments_of_nobody(customer_id)
        return Handled(known=False)
    follow(tenant_id, thing)
    return Handled(known=True, tenant_id=tenant_id)


def ids_of(body: str) -> str:
    """What is kept of an event from which nothing follows: enough to handle it later, and nothing about people."""
    event = orjson.loads(body)
    thing = event.get("data", {}).get("object") or {}
    kept = {
        name: thing[name]
        for name in ("id", "object", "customer", "charge")
        if isinstance(thing.get(name), str)
    }
    return orjson.dumps(
        {"id": event["id"], "type": event["type"], "created": event["created"], "data": {"object": kept}}
    ).decode()


def _tenant_of(customer_id: str) -> uuid.UUID | None:
    """Whose customer it is: by our own book, or else by what we wrote on the customer when we made it."""
    if not customer_id:
        return None
    with ops_scope(WHY):
        known = Subscription.objects.using(OPS_ALIAS).filter(customer_id=customer_id).first()
    if known is not None:
        return uuid.UUID(str(known.tenant_id))
    try:
        named = uuid.UUID(stripe_gateway.tenant_of(customer_id))
    except (ValueError, StripeRefused):
        return None
    with ops_scope(WHY):
        if (
            not Tenant.objects.using(OPS_ALIAS)
            .exclude(status=Tenant.Status.CLOSING)
            .filter(pk=named)
            .exists()
        ):
            return None
    with tenant_scope(named):
        # The customer was made, and whoever made it died before it was written down.
        row, _ = Subscription.objects.get_or_create(defaults={"customer_id": customer_id})
    return named if row.customer_id == customer_id else None


def _look_for_payments_of_nobody(customer_id: str) -> None:
    """Say so where a customer that we made goes on paying, and its tenant is not here any more."""
    if not customer_id:
        return
    try:
        named = uuid.UUID(stripe_gateway.tenant_of(customer_id))
        states = stripe_gateway.subscriptions_of(customer_id)
    except (ValueError, StripeRefused):  # somebody else's, who uses the same word for an id of theirs
        return
    live = [state.id for state in states if state.status in entitlement.LIVE]
    with ops_scope(WHY):
        closing = Tenant.objects.using(OPS_ALIAS).filter(pk=named).exists() if live else False
    if live and not closing:
        _log.error("subscription_of_nobody", customer_id=customer_id, subscriptions=live)


def _sync(tenant_id: uuid.UUID, thing: dict[str, Any]) -> None:
    subscriptions.sync(tenant_id)


def _payment_failed(tenant_id: uuid.UUID, invoice: dict[str, Any]) -> None:
    subscriptions.sync(tenant_id)
    _note(tenant_id, BillingNotice.Kind.PAYMENT_FAILED, invoice)


def _trial_ends(tenant_id: uuid.UUID, subscription: dict[str, Any]) -> None:
    subscriptions.sync(tenant_id)
    _note(tenant_id, BillingNotice.Kind.TRIAL_ENDING, subscription)


def _disputed(tenant_id: uuid.UUID, dispute: dict[str, Any]) -> None:
    subscriptions.sync(tenant_id)
    _note(tenant_id, BillingNotice.Kind.DISPUTED, dispute)


def _note(tenant_id: uuid.UUID, kind: BillingNotice.Kind, thing: dict[str, Any]) -> None:
    with tenant_scope(tenant_id):
        notices.note(kind=kind, about=str(thing["id"]))


OF_THE_METER = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
"""Thin events, from a destination of their own: there is no other word of what the meter drops."""
KINDS: dict[str, Callable[[uuid.UUID, dict[str, Any]], None]] = {
    "checkout.session.completed": _sync,
    "checkout.session.async_payment_succeeded": _sync,
    "checkout.session.async_payment_failed": _sync,
    "customer.subscription.created": _sync,
    "customer.subscription.updated": _sync,
    "customer.subscription.deleted": _sync,
    "customer.subscription.paused": _sync,
    "customer.subscription.resumed": _sync,
    "customer.subscription.trial_will_end": _trial_ends,
    "invoice.paid": _sync,
    "invoice.finalized": _sync,
    "invoice.payment_failed": _payment_failed,
    "invoice.payment_action_required": _payment_failed,
    "charge.dispute.created": _disputed,
}
"""Which events the endpoint at Stripe has to send: `stripe_setup` asks for exactly these."""
