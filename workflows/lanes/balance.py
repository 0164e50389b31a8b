"""Lanes that stand still because their key has no credits: asks the vendors now and then, and lets them go on."""

import uuid
from dataclasses import dataclass

from django.db import connections

from integrations.connectors import registry
from integrations.connectors.base import Balance, Connector
from integrations.errors import VaultError
from integrations.models import Connection
from integrations.queries import base_url
from integrations.vault import open_connection_secret
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tenants.secret import Secret
from workflows.lanes import ring
from workflows.lanes.book import rows
from workflows.models import Lane
from workflows.operations.control_lane import resume_lane
from workflows.operations.note_lane import ENGINE

ASK_EVERY_S = 300.0
AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A lane whose vendor is to be asked, and what with."""

    tenant_id: uuid.UUID
    lane_id: uuid.UUID
    connector: Connector
    secret: Secret
    base_url: str


def due() -> list[Asked]:
    """The lanes without credits that nobody asked about for a while; they are this caller's for that long."""
    with ops_scope("balance"), connections[OPS_ALIAS].cursor() as cursor:
        found = rows(
            cursor,
            """UPDATE lane_state s SET balance_asked_at = clock_timestamp()
               FROM (SELECT s.id FROM lane l JOIN lane_state s ON s.tenant_id = l.tenant_id AND s.lane_id = l.id
                     WHERE l.paused AND l.pause_reason = 'no_credits'
                       AND coalesce(s.balance_asked_at, '2000-01-01') < clock_timestamp() - %s * interval '1 second'
                     LIMIT %s FOR UPDATE OF s SKIP LOCKED) due
               WHERE s.id = due.id RETURNING s.tenant_id, s.lane_id""",
            [ASK_EVERY_S, AT_ONCE],
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
    if not balance.ok or balance.credits is None:
        return False
    with tenant_scope(asked.tenant_id):
        lane = Lane.objects.filter(pk=asked.lane_id, paused=True, pause_reason="no_credits").first()
        if lane is None:
            return False
        Connection.objects.filter(pk=lane.connection_id).update(balance=balance.credits)
        if balance.credits < max(asked.connector.worst_credits(op) for op in asked.connector.operations):
            return False
        resume_lane(lane_id=lane.pk, actor=ENGINE)
    ring.ring([(asked.tenant_id, asked.lane_id)])
    return True
