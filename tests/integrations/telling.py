"""What tests of outbound webhooks do and look at: a tenant listens, something happens, time passes."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connections
from django.utils import timezone

from integrations.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from integrations.webhooks import operations, outbox
from tenants.events import emit
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tenants.secret import Secret
from tests.factories import ACTOR


def listen(tenant: Tenant, url: str, **options: Any) -> tuple[WebhookEndpoint, Secret]:
    with tenant_scope(tenant):
        return operations.create_endpoint(url=url, actor=ACTOR, **options)


def tell(tenant: Tenant, number: int = 1, *, event: str = "plan.changed", key: str = "") -> None:
    with tenant_scope(tenant):
        emit(event, {"number": number}, key=key)


def call_back(tenant: Tenant, *urls: str) -> None:
    """A run ends for each of these addresses."""
    events = [outbox.Event("run.completed", {"number": n}, callback_url=url) for n, url in enumerate(urls)]
    with tenant_scope(tenant), connections[APP_ALIAS].cursor() as cursor:
        outbox.write(cursor, tenant.pk, events)


def deliveries(tenant: Tenant) -> list[WebhookDelivery]:
    with tenant_scope(tenant):
        return list(WebhookDelivery.objects.select_related("message").order_by("id"))


def log(tenant: Tenant) -> list[WebhookAttempt]:
    with tenant_scope(tenant):
        return list(WebhookAttempt.objects.order_by("id"))


def endpoint_of(tenant: Tenant) -> WebhookEndpoint:
    with tenant_scope(tenant):
        return WebhookEndpoint.objects.get()


def due_now(tenant: Tenant) -> None:
    """Let the time pass until everything that waits is due."""
    with tenant_scope(tenant):
        WebhookDelivery.objects.exclude(due_at=None).update(due_at=timezone.now() - timedelta(seconds=1))
        WebhookEndpoint.objects.update(rest_until=None)


def until(true: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
