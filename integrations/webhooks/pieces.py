"""What is done to all deliveries of an endpoint, of which there may be a million: a piece in each transaction.

Whoever writes an event waits for who has locked its endpoint, and the engine writes events among what is other tenants'.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connections

from integrations.models import WebhookEndpoint
from integrations.webhooks import outbox
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope

AT_ONCE = 5_000
# A query of its own, which is asked once: joined as it is, PostgreSQL may ask it again for every row, and what it has
# locked and changed by then makes room for others.
_SOME = """WITH piece AS MATERIALIZED (
               SELECT id FROM integrations_webhookdelivery
               WHERE tenant_id = %(tenant)s AND endpoint_id = %(endpoint)s{only} LIMIT %(most)s FOR UPDATE)"""
# What is on its way keeps its holder, who is to say how it ended, and the end of its lease.
_HOLD = f"""
    {_SOME.format(only=" AND status = 'waiting'")}
    UPDATE integrations_webhookdelivery d
    SET status = 'held', due_at = CASE WHEN d.holder IS NULL THEN NULL ELSE d.due_at END
    FROM piece WHERE d.tenant_id = %(tenant)s AND d.id = piece.id"""  # noqa: S608 - of ours
_LET_GO = f"""
    {_SOME.format(only=" AND status = 'held'")}
    UPDATE integrations_webhookdelivery d
    SET status = 'waiting', holder = CASE WHEN d.due_at IS NULL THEN NULL ELSE d.holder END,
        due_at = coalesce(d.due_at, clock_timestamp())
    FROM piece WHERE d.tenant_id = %(tenant)s AND d.id = piece.id"""  # noqa: S608
_DELETE = f"""
    {_SOME.format(only="")}
    DELETE FROM integrations_webhookdelivery d USING piece
    WHERE d.tenant_id = %(tenant)s AND d.id = piece.id"""  # noqa: S608 - of ours


def hold(endpoint: WebhookEndpoint) -> bool:
    """Put by a piece of what waits for an endpoint that is off, locked by the caller; whether there may be more."""
    return _piece(_HOLD, endpoint.pk)


def let_go(endpoint: WebhookEndpoint) -> bool:
    """Have a piece of what was put by sent: its endpoint, locked by the caller, is on. Whether there may be more."""
    outbox.wake_after_commit()
    return _piece(_LET_GO, endpoint.pk)


def put_right(endpoint_ids: Sequence[uuid.UUID]) -> bool:
    """A piece of each of these endpoints of the open tenant, as they are on or off; whether there may be more."""
    with tenant_scope(require_tenant_id()):
        rows = WebhookEndpoint.objects.filter(pk__in=endpoint_ids, kind=WebhookEndpoint.Kind.ENDPOINT)
        more = False
        for endpoint in rows.order_by("id").select_for_update(no_key=True):
            off = endpoint.status == WebhookEndpoint.Status.DISABLED
            more |= hold(endpoint) if off else let_go(endpoint)
        return more


def delete(tenant_id: uuid.UUID, endpoint_id: uuid.UUID) -> None:
    """Delete the deliveries of an endpoint that is off, with their attempts; call it with no scope open."""
    more = True
    while more:
        with tenant_scope(tenant_id):
            more = _piece(_DELETE, endpoint_id)


def _piece(statement: str, endpoint_id: uuid.UUID) -> bool:
    values: dict[str, Any] = {"tenant": require_tenant_id(), "endpoint": endpoint_id, "most": AT_ONCE}
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount >= AT_ONCE
