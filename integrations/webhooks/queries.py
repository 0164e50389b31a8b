"""Reads of endpoints and deliveries. All of them need the tenant's scope."""

import uuid
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from integrations.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from tenants.errors import NotFound


def get_endpoint(endpoint_id: uuid.UUID) -> WebhookEndpoint:
    """Raises NotFound."""
    endpoint: WebhookEndpoint | None = WebhookEndpoint.objects.filter(pk=endpoint_id).first()
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    return endpoint


def deliveries(endpoint_id: uuid.UUID, *, status: str | None = None) -> Any:
    """An endpoint's deliveries with their events and the endpoint, as a queryset. Raises NotFound."""
    get_endpoint(endpoint_id)
    rows = WebhookDelivery.objects.filter(endpoint_id=endpoint_id).select_related("message", "endpoint")
    return rows.filter(status=status) if status else rows


def get_delivery(endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Raises NotFound."""
    delivery: WebhookDelivery | None = deliveries(endpoint_id).filter(pk=delivery_id).first()
    if delivery is None:
        raise NotFound("There is no such delivery.")
    return delivery


def attempts_of(
    delivery_ids: Collection[uuid.UUID], *, with_answers: bool = True
) -> dict[uuid.UUID, list[WebhookAttempt]]:
    """The attempts at these deliveries, the first one first."""
    found: dict[uuid.UUID, list[WebhookAttempt]] = defaultdict(list)
    rows = WebhookAttempt.objects.filter(delivery_id__in=list(delivery_ids)).order_by("id")
    for row in rows if with_answers else rows.defer("answer"):
        found[row.delivery_id].append(row)
    return found
