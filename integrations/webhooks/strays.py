"""Deliveries that wait although their endpoint is off, or are put by although it is on: their event was being written while
it was switched, or there were too many to be put right with it."""

import uuid
from collections import defaultdict
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError, connections

from integrations.webhooks import pieces
from tenants.scope import APP_ALIAS, OPS_ALIAS, is_away, ops_scope, tenant_scope

MOST = 100
log = structlog.get_logger(__name__)


def put_right(*, enough: Callable[[], bool] = lambda: False) -> int:
    """Have them as the rest of what their endpoints have, until there is `enough`; returns of how many endpoints."""
    found: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    with ops_scope("webhooks"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT e.tenant_id, e.id FROM integrations_webhookendpoint e
               WHERE e.kind = 'endpoint' AND EXISTS (
                   SELECT 1 FROM integrations_webhookdelivery d
                   WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id
                         AND d.status = CASE e.status WHEN 'disabled' THEN 'waiting' ELSE 'held' END)
               ORDER BY random() LIMIT %s""",
            [MOST],
        )
        for tenant_id, endpoint_id in cursor.fetchall():
            found[tenant_id].append(endpoint_id)
    count = 0
    for tenant_id, endpoint_ids in found.items():
        try:
            more = True
            while more and not enough():
                with tenant_scope(tenant_id):
                    more = pieces.put_right(endpoint_ids)
        except Exception as error:  # one tenant's trouble is nobody else's; the next time
            log.exception("webhook_strays_not_put_right", tenant=str(tenant_id))
            if isinstance(error, DatabaseError | InterfaceError) and is_away(APP_ALIAS):
                raise
        else:
            count += len(endpoint_ids)
    return count
