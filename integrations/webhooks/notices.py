"""Telling a tenant's admins by mail that an endpoint fails, or was switched off: at least once, once that is written."""

import uuid
from collections import defaultdict
from collections.abc import Callable

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from integrations.models import WebhookEndpoint
from integrations.webhooks.operations import told
from tenants import mails
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, OPS_ALIAS, is_away, ops_scope, tenant_scope
from tenants.team_queries import addresses_of_admins

MOST_ENDPOINTS = 100
log = structlog.get_logger(__name__)


def tell(*, enough: Callable[[], bool] = lambda: False) -> int:
    """Send what is to be told, until there is `enough`; returns how many mails' worth of notices the mail server took.

    A mail server that is away takes ten seconds over each.
    """
    count = 0
    for tenant_id, endpoint_ids in _due().items():
        if enough():
            break
        try:
            count += _tell(tenant_id, endpoint_ids, enough)
        except Exception as error:  # one tenant's trouble is nobody else's; it is told the next time
            log.exception("webhook_notice_not_sent", tenant=str(tenant_id))
            if isinstance(error, DatabaseError | InterfaceError) and is_away(APP_ALIAS):
                raise
    return count


def _tell(tenant_id: uuid.UUID, endpoint_ids: list[uuid.UUID], enough: Callable[[], bool]) -> int:
    with tenant_scope(tenant_id):
        endpoints = list(WebhookEndpoint.objects.filter(pk__in=endpoint_ids).exclude(notice=""))
        admins = addresses_of_admins()
        name = Tenant.objects.values_list("name", flat=True).filter(pk=tenant_id).first()
    if name is None:
        return 0  # erased since
    count = 0
    for endpoint in endpoints:
        if enough():
            break
        sent = mails.send_webhook_trouble(
            admins,
            tenant_name=name,
            url=endpoint.url,
            kind=endpoint.notice,
            why=endpoint.get_reason_display() if endpoint.notice == WebhookEndpoint.Notice.DISABLED else "",
            since=endpoint.failing_since,
            link=f"{settings.BASE_URL.rstrip('/')}/app/developers/webhooks/{endpoint.pk}/",
        )
        if sent:
            with tenant_scope(tenant_id):
                told([endpoint.pk], endpoint.notice)
            count += 1
    return count


def _due() -> dict[uuid.UUID, list[uuid.UUID]]:
    with ops_scope("webhooks"), connections[OPS_ALIAS].cursor() as cursor:
        # At random: those that no mail server takes are there each time, and must not be all that is tried.
        cursor.execute(
            "SELECT tenant_id, id FROM integrations_webhookendpoint WHERE notice <> '' ORDER BY random() LIMIT %s",
            [MOST_ENDPOINTS],
        )
        found: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
        for tenant_id, endpoint_id in cursor.fetchall():
            found[tenant_id].append(endpoint_id)
    return found
