"""Taking what is due, across tenants and fairly, and reading what an attempt needs."""

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import connections, transaction

from integrations import vault
from integrations.errors import VaultError
from integrations.models import WebhookDelivery, WebhookEndpoint
from integrations.webhooks.operations import ensure_secret
from tenants.failpoints import reach
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope
from tenants.secret import Secret

log = structlog.get_logger(__name__)

PER_LANE = 10
PER_TENANT = 64
UNSEALED = "the signing secret cannot be opened: rotate it"

# A loose index scan over the lanes that have anything to send, then a few of each: a lane with a million deliveries costs
# what one with two costs, and holds up nobody. One that fails is asked one thing at a time.
_TAKE = """
    WITH RECURSIVE lanes AS (
        (SELECT d.lane, d.endpoint_id FROM integrations_webhookdelivery d WHERE d.due_at IS NOT NULL
         ORDER BY d.lane LIMIT 1)
        UNION ALL
        SELECT n.lane, n.endpoint_id FROM lanes, LATERAL (
            SELECT d.lane, d.endpoint_id FROM integrations_webhookdelivery d
            WHERE d.due_at IS NOT NULL AND d.lane > lanes.lane ORDER BY d.lane LIMIT 1) n),
    due AS (
        SELECT d.id, d.tenant_id, row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.due_at) AS place
        FROM lanes JOIN integrations_webhookendpoint e ON e.id = lanes.endpoint_id
        LEFT JOIN unnest(%(lanes)s::uuid[], %(in_lane)s::int[]) b(lane, n) ON b.lane = lanes.lane
        CROSS JOIN LATERAL (
            SELECT d.id, d.tenant_id, d.due_at FROM integrations_webhookdelivery d
            WHERE d.lane = lanes.lane AND d.due_at <= clock_timestamp() ORDER BY d.due_at
            LIMIT greatest(0, CASE WHEN e.failures > 0 THEN 1 ELSE %(per_lane)s END - coalesce(b.n, 0))
            FOR UPDATE SKIP LOCKED) d
        WHERE e.status = 'enabled' AND (e.rest_until IS NULL OR e.rest_until <= clock_timestamp())),
    chosen AS (
        SELECT due.id FROM due LEFT JOIN unnest(%(tenants)s::uuid[], %(in_tenant)s::int[]) b(tenant_id, n)
               ON b.tenant_id = due.tenant_id
        WHERE due.place <= %(per_tenant)s - coalesce(b.n, 0) ORDER BY due.place, random() LIMIT %(room)s)
    UPDATE integrations_webhookdelivery d
    SET holder = %(holder)s, due_at = clock_timestamp() + %(lease)s * interval '1 second'
    FROM chosen WHERE d.id = chosen.id RETURNING d.tenant_id, d.id
"""


@dataclass(slots=True)
class Job:
    """A delivery that this process has to try, until its lease ends."""

    tenant_id: uuid.UUID
    delivery_id: uuid.UUID
    message_id: uuid.UUID
    endpoint_id: uuid.UUID
    callback: bool
    lane: uuid.UUID
    holder: uuid.UUID
    url: str
    body: bytes
    tries: int
    attempts: int
    keys: list[Secret] = field(default_factory=list)


def take(
    holder: uuid.UUID,
    *,
    lanes: Mapping[uuid.UUID, int],
    tenants: Mapping[uuid.UUID, int],
    room: int,
    lease_s: float,
) -> list[Job]:
    """Up to `room` deliveries that are due, held under the name `holder` for `lease_s`; `lanes` and `tenants` say what
    this process has under way. Secrets are opened, so the jobs are not to be kept."""
    with (
        ops_scope("webhooks"),
        transaction.atomic(using=OPS_ALIAS),
        connections[OPS_ALIAS].cursor() as cursor,
    ):
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM integrations_webhookdelivery WHERE due_at IS NOT NULL)"
        )  # the rule is that nobody has anything to send
        if not cursor.fetchone()[0]:
            return []
        cursor.execute(
            _TAKE,
            {
                "lanes": list(lanes), "in_lane": list(lanes.values()), "tenants": list(tenants),
                "in_tenant": list(tenants.values()), "per_lane": PER_LANE, "per_tenant": PER_TENANT, "room": room,
                "holder": holder, "lease": lease_s,
            },
        )  # fmt: skip
        found: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
        for tenant_id, delivery_id in cursor.fetchall():
            found[tenant_id].append(delivery_id)
    reach("webhook.claimed")
    return [job for tenant_id in sorted(found) for job in _read(tenant_id, found[tenant_id], holder)]


def _read(tenant_id: uuid.UUID, delivery_ids: list[uuid.UUID], holder: uuid.UUID) -> list[Job]:
    with tenant_scope(tenant_id):
        rows = WebhookDelivery.objects.filter(pk__in=delivery_ids, holder=holder, status="waiting")
        jobs = [
            Job(
                tenant_id, row.pk, row.message_id, row.endpoint_id, row.endpoint.kind == WebhookEndpoint.Kind.CALLBACK,
                row.lane, holder, row.url or row.endpoint.url, row.message.body.encode(), row.tries, row.attempts,
            )
            for row in rows.select_related("message", "endpoint").order_by("due_at", "id")
        ]  # fmt: skip
        keys = _keys(jobs)
    for job in jobs:
        own = keys.get(job.endpoint_id, [])
        # Who has the secret of an endpoint of this tenant can verify its callbacks as well.
        others = [
            key for endpoint_id, several in keys.items() if endpoint_id != job.endpoint_id for key in several
        ]
        job.keys = own + others if job.callback else own
    return jobs


def _keys(jobs: list[Job]) -> dict[uuid.UUID, list[Secret]]:
    """The secrets of the open tenant's endpoints; none where they cannot be opened, which each attempt then says."""
    try:
        keys: dict[uuid.UUID, list[Secret]] = vault.open_webhook_secrets()
        for endpoint_id in {job.endpoint_id for job in jobs if job.callback} - keys.keys():
            keys[endpoint_id] = [ensure_secret(endpoint_id)]
    except VaultError as error:
        log.warning("webhook_secrets_unreadable", error=type(error).__name__)
        return {}
    return keys


def release(tenant_id: uuid.UUID, holder: uuid.UUID, delivery_ids: list[uuid.UUID]) -> None:
    """Give back what was not tried: it is due at once, for whoever comes."""
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        parameters: list[Any] = [tenant_id, delivery_ids, holder]
        cursor.execute(
            """UPDATE integrations_webhookdelivery SET due_at = clock_timestamp(), holder = NULL
               WHERE tenant_id = %s AND id = ANY(%s) AND holder = %s AND due_at IS NOT NULL""",
            parameters,
        )
