"""Celery envelopes: what is to be done is in the database, so that losing or repeating one does no harm."""

import uuid

import structlog
from celery import shared_task

from billing import stripe_gateway
from billing.operations import metering, notices, stripe_events, subscriptions
from tenants.errors import WeirError
from tenants.task_base import TenantTask

LONG_S = 3_600.0
_log = structlog.get_logger(__name__)


@shared_task(name=stripe_events.HANDLE, ignore_result=True)
def handle_stripe_event(event_id: str) -> None:
    stripe_events.handle(uuid.UUID(event_id))


@shared_task(name=subscriptions.SYNC, base=TenantTask, in_scope=False, ignore_result=True)
def sync_subscription(tenant_id: str) -> None:
    """Ask Stripe what a tenant has, because somebody waits for it."""
    subscriptions.sync(uuid.UUID(tenant_id))


@shared_task(name=notices.TASK, ignore_result=True)
def mail_notices() -> None:
    notices.mail_due()


@shared_task(name="billing.tasks.sweep", ignore_result=True)
def sweep() -> None:
    """Whatever is due and nobody told of: events, mails, the ends of graces."""
    notices.mail_due()
    if not stripe_gateway.enabled():
        return
    subscriptions.end_graces()
    for event_id in stripe_events.due():
        stripe_events.handle(event_id)


@shared_task(name="billing.tasks.meter", ignore_result=True)
def meter() -> None:
    """Tell Stripe's meter what the ledger has; say aloud when it has to wait for long."""
    if not stripe_gateway.enabled():
        return
    for tenant_id in metering.metered_tenants():
        metering.collect(tenant_id)
    metering.send_due()
    waited = metering.waiting_s()
    if waited > LONG_S:
        _log.error("usage_waits_for_stripe", seconds=int(waited))


@shared_task(name="billing.tasks.catch_up", ignore_result=True)
def catch_up() -> None:
    """Find what no event told: events that Stripe could not deliver, and tenants it was not asked about for long."""
    if not stripe_gateway.enabled():
        return
    stripe_events.forget_old()
    stripe_events.fetch_undelivered()
    for tenant_id in subscriptions.stale():
        try:
            subscriptions.sync(tenant_id)
        except WeirError as error:
            _log.warning("stripe_not_asked", tenant_id=str(tenant_id), error=type(error).__name__)
