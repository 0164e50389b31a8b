"""What keys have left: asks the vendors now and then, lets lanes without credits go on, and tells of low balances.

A vendor is asked every 5 minutes where a lane stands still for want of credits, every 15 where its lane was in use, and
every 6 hours otherwise; soon after much was spent. Never inside a transaction; a refused key is not tried.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from integrations.connectors import registry
from integrations.connectors.base import Balance, Connector
from integrations.errors import VaultError
from integrations.models import Connection
from integrations.queries import base_url
from integrations.vault import open_connection_secret
from tenants import audit
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope
from tenants.secret import Secret
from workflows.lanes import ring
from workflows.lanes.book import rows
from workflows.models import Lane
from workflows.operations.control_lane import resume_lane
from workflows.operations.note_lane import ENGINE

ASK_EVERY_S = 300.0
USED_EVERY_S, IDLE_EVERY_S, SPENT_EVERY_S = 900.0, 6 * 3600.0, 60.0
AT_ONCE = 20
MUCH = 100_000  # thousandths: after so much a balance is worth asking for again
MOST_COUNTED = 100_000
# A balance has to recover by so much before the next notice: one incident, one mail.
RECOVERED = 1.2


@dataclass(frozen=True, slots=True)
class Asked:
    """A lane whose vendor is to be asked, and what with."""

    tenant_id: uuid.UUID
    lane_id: uuid.UUID
    connector: Connector
    secret: Secret
    base_url: str


def due(spent: Collection[uuid.UUID] = ()) -> list[Asked]:
    """The lanes whose vendors nobody asked for a while; they are this caller's for that long. `spent`: lanes that have
    cost much since they were asked about."""
    with ops_scope("balance"), connections[OPS_ALIAS].cursor() as cursor:
        found = rows(
            cursor,
            """UPDATE lane_state s SET balance_asked_at = clock_timestamp()
               FROM (SELECT s.id FROM lane l JOIN lane_state s ON s.tenant_id = l.tenant_id AND s.lane_id = l.id
                     JOIN integrations_connection c ON c.id = l.connection_id
                     JOIN tenants_tenant t ON t.id = l.tenant_id AND t.status = 'active'
                     WHERE coalesce(s.balance_asked_at, '2000-01-01') < clock_timestamp() - interval '1 second' * CASE
                         WHEN l.paused AND l.pause_reason = 'no_credits' THEN %s
                         WHEN c.status <> 'ok' THEN 1e9
                         WHEN l.id = ANY(%s::uuid[]) THEN %s
                         WHEN s.seen_at > s.balance_asked_at THEN %s
                         ELSE %s END
                     LIMIT %s FOR UPDATE OF s SKIP LOCKED) due
               WHERE s.id = due.id RETURNING s.tenant_id, s.lane_id""",
            [ASK_EVERY_S, list(spent), SPENT_EVERY_S, USED_EVERY_S, IDLE_EVERY_S, AT_ONCE],
        )
    asked = (_asked(tenant_id, lane_id) for tenant_id, lane_id in found)
    return [entry for entry in asked if entry is not None]


def _asked(tenant_id: uuid.UUID, lane_id: uuid.UUID) -> Asked | None:
    with tenant_scope(tenant_id):
        connection = Connection.objects.filter(
            pk__in=Lane.objects.filter(pk=lane_id).values("connection")
        ).first()
        if connection is None:
            return None
        try:
            secret = open_connection_secret(connection)
        except VaultError:
            return None
        return Asked(tenant_id, lane_id, registry.get(connection.provider), secret, base_url(connection))


def answered(asked: Asked, balance: Balance) -> bool:
    """Note what the vendor said, and let the lane go on where there are credits again. Whether it goes on."""
    if balance.credits is None or (not balance.ok and balance.kind != "no_credits"):
        return False
    with tenant_scope(asked.tenant_id):
        lane = Lane.objects.filter(pk=asked.lane_id).first()
        if lane is None:
            return False
        _note(lane, balance.credits)
        if not (lane.paused and lane.pause_reason == "no_credits") or not balance.ok:
            return False
        if balance.credits < max(asked.connector.worst_credits(op) for op in asked.connector.operations):
            return False
        resume_lane(lane_id=lane.pk, actor=ENGINE)
    ring.ring([(asked.tenant_id, asked.lane_id)])
    return True


def low_since(asked: Asked) -> bool:
    """Whether the admins are to be told now that this balance is low: once until it has recovered."""
    with tenant_scope(asked.tenant_id):
        lane = Lane.objects.filter(pk=asked.lane_id).first()
        row = lane and Connection.objects.select_for_update().filter(pk=lane.connection_id).first()
        if lane is None or row is None or row.balance is None or row.mode != Connection.Mode.LIVE:
            return False
        least = least_of(row, lane)
        if row.balance >= least * RECOVERED and row.low_balance_told_at is not None:
            row.low_balance_told_at = None
            row.save(update_fields=["low_balance_told_at"])
        if row.balance >= least or row.low_balance_told_at is not None:
            return False
        row.low_balance_told_at = _database_now()
        row.save(update_fields=["low_balance_told_at"])
        audit.record(
            actor=ENGINE, verb="connection.low_balance", subject=row, provider=row.provider,
            balance=row.balance / 1000, least=least / 1000,
        )  # fmt: skip
    return True


def least_of(connection: Connection, lane: Lane) -> int:
    """Below which the balance is low, in thousandths: what its owner said, else what waiting work may cost."""
    if connection.low_balance is not None:
        return int(connection.low_balance)
    with connections[APP_ALIAS].cursor() as cursor:
        [(waiting,)] = rows(
            cursor,
            """SELECT count(*) FROM (SELECT 1 FROM step_queue WHERE lane_id = %s AND not_before IS NULL LIMIT %s) q""",
            [lane.pk, MOST_COUNTED],
        )
    connector = registry.get(connection.provider)
    return int(waiting) * max(connector.worst_credits(operation) for operation in connector.operations)


def _database_now() -> datetime:
    with connections[APP_ALIAS].cursor() as cursor:
        [(now,)] = rows(cursor, "SELECT clock_timestamp()", [])
    assert isinstance(now, datetime)
    return now


def _note(lane: Lane, credits: int) -> None:
    """Keep what the vendor told, and how fast it falls: the mean of the last fall and what was known of it."""
    row = Connection.objects.select_for_update().get(pk=lane.connection_id)
    now = _database_now()
    if row.balance is not None and row.balance_at is not None and credits < row.balance:
        hours = max((now - row.balance_at).total_seconds(), 1.0) / 3600
        fall = round((row.balance - credits) / hours)
        row.balance_per_hour = fall if not row.balance_per_hour else (row.balance_per_hour + fall) // 2
    row.balance, row.balance_at = credits, now
    row.save(update_fields=["balance", "balance_at", "balance_per_hour"])
