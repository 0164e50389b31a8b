"""Taking what is due, across tenants and fairly, and reading what an attempt needs."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from django.db import DatabaseError, InterfaceError, connections, transaction

from integrations import vault
from integrations.errors import VaultError
from integrations.models import WebhookDelivery, WebhookEndpoint
from integrations.webhooks.operations import UNSEALED, ensure_secret
from tenants.failpoints import reach
from tenants.scope import APP_ALIAS, OPS_ALIAS, is_away, ops_scope, tenant_scope
from tenants.secret import Secret

log = structlog.get_logger(__name__)

PER_LANE = 10
PER_TENANT = 64
UNSEALED_AGAIN_S = 60.0

# A loose index scan over the lanes that have anything to send, then a few of each: a lane with a million deliveries costs
# what one with two costs, and holds up nobody. One that fails is asked one thing at a time, and those that fail have a part
# of the places together.
_TAKE = """
    WITH RECURSIVE lanes AS (
        (SELECT d.lane, d.endpoint_id FROM integrations_webhookdelivery d WHERE d.due_at IS NOT NULL
         ORDER BY d.lane LIMIT 1)
        UNION ALL
        SELECT n.lane, n.endpoint_id FROM lanes, LATERAL (
            SELECT d.lane, d.endpoint_id FROM integrations_webhookdelivery d
            WHERE d.due_at IS NOT NULL AND d.lane > lanes.lane ORDER BY d.lane LIMIT 1) n),
    due AS (
        SELECT d.id, d.tenant_id, f.failing,
               row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.due_at) AS place
        FROM lanes JOIN integrations_webhookendpoint e ON e.id = lanes.endpoint_id
        CROSS JOIN LATERAL (SELECT e.failures > 0 OR lanes.lane = ANY(%(failing)s::uuid[]) AS failing) f
        LEFT JOIN unnest(%(lanes)s::uuid[], %(in_lane)s::int[]) b(lane, n) ON b.lane = lanes.lane
        CROSS JOIN LATERAL (
            SELECT d.id, d.tenant_id, d.due_at FROM integrations_webhookdelivery d
            WHERE d.lane = lanes.lane AND d.due_at <= clock_timestamp() ORDER BY d.due_at
            LIMIT greatest(0, CASE WHEN f.failing THEN 1 ELSE %(per_lane)s END - coalesce(b.n, 0))
            FOR UPDATE SKIP LOCKED) d
        WHERE e.status = 'enabled' AND (e.rest_until IS NULL OR e.rest_until <= clock_timestamp())
              AND lanes.lane <> ALL(%(resting)s::uuid[])),
    allowed AS (
        SELECT due.*, row_number() OVER (PARTITION BY due.failing ORDER BY due.place, random()) AS of_kind
        FROM due LEFT JOIN unnest(%(tenants)s::uuid[], %(in_tenant)s::int[]) b(tenant_id, n)
             ON b.tenant_id = due.tenant_id
        WHERE due.place <= %(per_tenant)s - coalesce(b.n, 0)),
    chosen AS (
        SELECT id, failing FROM allowed WHERE NOT failing OR of_kind <= %(room_failing)s
        ORDER BY place, random() LIMIT %(room)s)
    UPDATE integrations_webhookdelivery d
    SET holder = %(holder)s, due_at = clock_timestamp() + %(lease)s * interval '1 second'
    FROM chosen WHERE d.id = chosen.id RETURNING d.tenant_id, d.id, chosen.failing
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
    failing: bool = False


def take(
    holder: uuid.UUID,
    *,
    lanes: Mapping[uuid.UUID, int],
    tenants: Mapping[uuid.UUID, int],
    room: int,
    lease_s: float,
    failing: Sequence[uuid.UUID] = (),
    resting: Sequence[uuid.UUID] = (),
    room_failing: int | None = None,
) -> list[Job]:
    """Up to `room` deliveries that are due, held under the name `holder` for `lease_s`; `lanes` and `tenants` say what
    this process has under way. `failing` and `resting` are lanes of callbacks, beside the endpoints that their rows say it
    of; those that fail get up to `room_failing`. Secrets are opened, so the jobs are not to be kept."""
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
                "holder": holder, "lease": lease_s, "failing": list(failing), "resting": list(resting),
                "room_failing": room if room_failing is None else room_failing,
            },
        )  # fmt: skip
        found: dict[uuid.UUID, dict[uuid.UUID, bool]] = defaultdict(dict)
        for tenant_id, delivery_id, is_failing in cursor.fetchall():
            found[tenant_id][delivery_id] = is_failing
    reach("webhook.claimed")
    jobs = []
    for tenant_id in sorted(found):
        try:
            jobs += _read(tenant_id, found[tenant_id], holder)
        except (
            Exception
        ) as error:  # one tenant's trouble is nobody else's; it is due again when its lease ends
            log.exception("webhooks_not_read", tenant=str(tenant_id))
            if isinstance(error, DatabaseError | InterfaceError) and is_away(APP_ALIAS):
                raise
    return jobs


def _read(tenant_id: uuid.UUID, found: Mapping[uuid.UUID, bool], holder: uuid.UUID) -> list[Job]:
    with tenant_scope(tenant_id):
        rows = WebhookDelivery.objects.filter(pk__in=list(found), holder=holder, status="waiting")
        jobs = [
            Job(
                tenant_id, row.pk, row.message_id, row.endpoint_id, row.endpoint.kind == WebhookEndpoint.Kind.CALLBACK,
                row.lane, holder, row.url or row.endpoint.url, row.message.body.encode(), row.tries, row.attempts,
                failing=found[row.pk],
            )
            for row in rows.select_related("message", "endpoint").order_by("due_at", "id")
        ]  # fmt: skip
        _give_keys(jobs)
        unsealed = [job.delivery_id for job in jobs if not job.keys]
        if unsealed:  # our own affair, or the tenant's: nobody was asked, and no receiver failed
            log.warning("webhook_secrets_unreadable", tenant=str(tenant_id), deliveries=len(unsealed))
            put_back(tenant_id, unsealed, [holder] * len(unsealed), after_s=UNSEALED_AGAIN_S, why=UNSEALED)
    return [job for job in jobs if job.keys]


def _give_keys(jobs: list[Job]) -> None:
    keys = _keys(jobs)
    for job in jobs:
        own = keys.get(job.endpoint_id, [])
        # Who has the secret of an endpoint of this tenant can verify its callbacks as well.
        others = [
            key for endpoint_id, several in keys.items() if endpoint_id != job.endpoint_id for key in several
        ]
        job.keys = own + others if job.callback else own


def _keys(jobs: list[Job]) -> dict[uuid.UUID, list[Secret]]:
    """The secrets of the open tenant's endpoints; none where they cannot be opened."""
    try:
        keys: dict[uuid.UUID, list[Secret]] = vault.open_webhook_secrets()
        for endpoint_id in {job.endpoint_id for job in jobs if job.callback} - keys.keys():
            keys[endpoint_id] = [ensure_secret(endpoint_id)]
    except VaultError as error:
        log.warning("webhook_vault_unavailable", error=type(error).__name__)
        return {}
    return keys


def put_back(
    tenant_id: uuid.UUID,
    delivery_ids: Sequence[uuid.UUID],
    holders: Sequence[uuid.UUID],
    *,
    after_s: float,
    why: str,
) -> None:
    """Give back what was not tried, each to be due again after a while; it uses up no attempt."""
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """UPDATE integrations_webhookdelivery d SET holder = NULL, last_error = %s, due_at =
                   CASE WHEN d.status = 'waiting' THEN clock_timestamp() + %s * interval '1 second' END
               FROM unnest(%s::uuid[], %s::uuid[]) t(id, holder)
               WHERE d.tenant_id = %s AND d.id = t.id AND d.holder = t.holder""",
            [why, after_s, list(delivery_ids), list(holders), tenant_id],
        )
