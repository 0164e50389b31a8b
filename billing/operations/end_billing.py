"""What becomes of a tenant's subscription when the tenant is erased: what it used is billed, and then it ends."""

import uuid

import structlog

from billing import stripe_gateway
from billing.errors import StripeAway, StripeRefused
from billing.operations import checkout, metering, stripe_events

_log = structlog.stdlib.get_logger("weir.billing")


def halt(tenant_id: uuid.UUID) -> bool:
    """Tell the last usage, cancel the subscription, delete what events said; False while Stripe does not answer."""
    if stripe_gateway.enabled():
        metering.collect(tenant_id, at_the_end=True)
        metering.send_all(tenant_id)
        try:
            checkout.end_for_good(tenant_id)
        except StripeAway:
            return False
        except StripeRefused as error:
            # Nobody's data waits for that: an operator finds the customer at Stripe by this line.
            _log.error("subscription_not_ended", tenant_id=str(tenant_id), error=error.detail)
    stripe_events.forget_tenant(tenant_id)
    return True
