"""Deliveries that wait although their endpoint is off: their event was being written while it was switched off."""

import uuid
from collections import defaultdict

from django.db import connections

from integrations.webhooks.operations import hold_strays
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope

MOST = 100


def hold() -> int:
    """Put them by, like the rest of what waits for their endpoints; returns of how many endpoints."""
    found: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    with ops_scope("webhooks"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT e.tenant_id, e.id FROM integrations_webhookendpoint e
               WHERE e.status = 'disabled' AND EXISTS (
                   SELECT 1 FROM integrations_webhookdelivery d
                   WHERE d.lane = e.id AND d.due_at IS NOT NULL AND d.status = 'waiting')
               ORDER BY e.tenant_id, e.id LIMIT %s""",
            [MOST],
        )
        for tenant_id, endpoint_id in cursor.fetchall():
            found[tenant_id].append(endpoint_id)
    for tenant_id, endpoint_ids in found.items():
        with tenant_scope(tenant_id):
            hold_strays(endpoint_ids)
    return sum(map(len, found.values()))
