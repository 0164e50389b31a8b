"""Celery envelopes: what is to be done is in the database, so that losing or repeating one does no harm."""

import uuid

import structlog
from celery import shared_task

from billing import reconcile as stripe_meter
from billing import stripe_gateway
from billing.operations import (
    late_usage,
    metering,
    notices,
    quota_notices,
    reconcile,
    stripe_events,
    subscriptions,
    telling,
)
from billing.periods import month_before
from billing.queries import current_period
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
    _collect(metering.untold())
    telling.send_due()
    waited = telling.waiting_s()
    if waited > LONG_S:
        _log.error("usage_waits_for_stripe", seconds=int(waited))


def _collect(tenants: list[uuid.UUID]) -> None:
    for tenant_id in tenants:
        try:
            metering.collect(tenant_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("usage_not_collected", tenant_id=str(tenant_id), exc_info=error)


@shared_task(name="billing.tasks.catch_up", ignore_result=True)
def catch_up() -> None:
    """Find what no event told: events that Stripe could not deliver, and tenants it was not asked about for long."""
    if not stripe_gateway.enabled():
        return
    _collect(metering.metered_tenants())  # whatever the counters say
    stripe_events.forget_old()
    try:
        stripe_events.fetch_undelivered()
    except WeirError as error:
        _log.warning("stripe_events_not_fetched", error=type(error).__name__)
    for tenant_id in subscriptions.stale():
        try:
            subscriptions.sync(tenant_id)
        except WeirError as error:
            _log.warning("stripe_not_asked", tenant_id=str(tenant_id), error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("subscription_broke", tenant_id=str(tenant_id), exc_info=error)


@shared_task(name="billing.tasks.tell_quotas", ignore_result=True)
def tell_quotas() -> None:
    """Tell whoever came to 80 % or 100 % of the month's records."""
    if quota_notices.tell_quotas():
        notices.mail_due()


@shared_task(name="billing.tasks.compare_usage", ignore_result=True)
def compare_usage() -> None:
    """Compare this and the last month's counters with the ledger, and with Stripe's meter; what differs is an error for
    operators. What ended months differ in from their invoices is charged with the next."""
    for month in (month_before(current_period()), current_period()):
        for one in reconcile.compare(month).differences:
            _log.error(
                "usage_differs", tenant_id=str(one.tenant_id), period=f"{one.period:%Y-%m}", counted=one.counted,
                ledger=one.ledger,
            )  # fmt: skip
    if not stripe_gateway.enabled():
        return
    for tenant_id in metering.metered_tenants():
        try:
            late_usage.settle(tenant_id)
        except WeirError as error:
            _log.warning("late_usage_waits", tenant_id=str(tenant_id), error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("late_usage_broke", tenant_id=str(tenant_id), exc_info=error)
    _compare_with_stripe()


def _compare_with_stripe() -> None:
    """What Stripe's meter has otherwise than what it was told, once it has had time to count."""
    try:
        found = stripe_meter.differences()
    except WeirError as error:
        _log.warning("stripe_not_compared", error=type(error).__name__)
        return
    for one in found:
        if one.told != one.metered and one.quiet:
            _log.error(
                "usage_differs_from_stripe", tenant_id=str(one.tenant_id), period=f"{one.period:%Y-%m}",
                told=one.told, metered=one.metered, ledger=one.ledger,
            )  # fmt: skip
