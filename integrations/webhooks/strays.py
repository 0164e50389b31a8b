"""Deliveries that wait although their endpoint is off: their event was being written while it was switched off."""

import uuid
from collections import defaultdict

import structlog
from django.db import DatabaseError, InterfaceError, connections

from integrations.webhooks.operations import hold_strays
from tenants.scope import APP_ALIAS, OPS_ALIAS, is_away, ops_scope, tenant_scope

MOST = 100
log = structlog.get_logger(__name__)


def hold() -> int:
    """Put them by, like the rest of what waits for their endpoints; returns of how many endpoints."""
    found: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    with ops_scope("webhooks"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT e.tenant_id, e.id FROM integrations_webhookendpoint e
               WHERE e.status = 'disabled' AND EXISTS (
                   SELECT 1 FROM integrations_webhookdelivery d
                   WHERE d.lane = e.id AND d.due_at IS NOT NULL AND d.status = 'waiting')
               ORDER BY random() LIMIT %s""",
            [MOST],
        )
        for tenant_id, endpoint_id in cursor.fetchall():
            found[tenant_id].append(endpoint_id)
    count = 0
    for tenant_id, endpoint_ids in found.items():
        try:
            with tenant_scope(tenant_id):
                hold_strays(endpoint_ids)
        except Exception as error:  # one tenant's trouble is nobody else's; the next time
            log.exception("webhook_strays_not_held", tenant=str(tenant_id))
            if isinstance(error, DatabaseError | InterfaceError) and is_away(APP_ALIAS):
                raise
        else:
            count += len(endpoint_ids)
    return count
