"""What becomes of a tenant's subscription when the tenant is erased: what it used is billed, and then it ends."""

import uuid
from datetime import timedelta

import structlog
from django.utils import timezone

from billing import entitlement, stripe_gateway
from billing.errors import StripeAway, StripeRefused
from billing.models import MeterBatch, Subscription
from billing.operations import checkout, metering, stripe_events, telling
from tenants.scope import tenant_scope

PATIENCE = timedelta(days=3)
"""For so long a tenant's data waits for Stripe to take its last usage."""
SECOND = timedelta(seconds=1)
"""Stripe counts in seconds: what is told of the one in which a subscription ends comes after it."""
_log = structlog.stdlib.get_logger("weir.billing")


def halt(tenant_id: uuid.UUID) -> bool:
    """Tell the last usage, cancel the subscription, delete what events said; False while Stripe does not take it all.

    What cannot be told or ended is an error in the log, with the customer's id: nothing else of the tenant is left then.
    """
    with tenant_scope(tenant_id):
        row = Subscription.objects.first()
    if row is None:
        stripe_events.forget_tenant(tenant_id)
        return True
    live = row.status in entitlement.LIVE
    if stripe_gateway.enabled():
        if not _told(tenant_id, row.customer_id, live=live):
            return False
        try:
            checkout.end_for_good(row)
        except StripeAway as error:
            _log.warning("subscription_end_waits", customer_id=row.customer_id, error=error.detail)
            return False
        except StripeRefused as error:
            # Nobody's data waits for that: an operator finds the customer at Stripe by this line.
            _log.error("subscription_not_ended", customer_id=row.customer_id, error=error.detail)
    elif live:
        _log.error("subscription_not_ended", customer_id=row.customer_id, error="no keys of Stripe are set")
    stripe_events.forget_tenant(tenant_id, row.customer_id)
    return True


def _told(tenant_id: uuid.UUID, customer_id: str, *, live: bool) -> bool:
    """Whether nothing is left that the subscription could still bill, or it was waited for long enough."""
    metering.collect(tenant_id, at_the_end=True)
    telling.send_all(tenant_id)
    if live and metering.untold_of(tenant_id):
        return False  # no minute was free; one will be
    with tenant_scope(tenant_id):
        if (
            live
            and MeterBatch.objects.filter(state__in=metering.COUNTED, at__gt=timezone.now() - SECOND).exists()
        ):
            return False  # told of a coming minute, which Stripe would not bill any more
        waiting = list(MeterBatch.objects.filter(state__in=metering.WAITING))
        lost = list(MeterBatch.objects.filter(state__in=metering.LOST))
    oldest = min((batch.created_at for batch in waiting), default=None)
    if live and oldest is not None and timezone.now() - oldest < PATIENCE:
        return False
    for batch in [*waiting, *lost]:
        _log.error(
            "usage_not_billed", customer_id=customer_id, batch=batch.identifier, period=f"{batch.period:%Y-%m}",
            quantity=batch.quantity, state=str(batch.state),
        )  # fmt: skip
    return True
