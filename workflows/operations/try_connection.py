"""Trying a connection's key: one free request to its vendor, with no transaction open meanwhile."""

import asyncio
import time
import uuid
from dataclasses import dataclass

from django.db import connections

from integrations.connection_changes import find_connection, note_test
from integrations.connectors import registry
from integrations.connectors.base import Balance, Connector
from integrations.errors import VaultError
from integrations.http import VendorClient
from integrations.models import Connection
from integrations.queries import base_url
from integrations.vault import open_connection_secret
from tenants.errors import Conflict, ScopeError
from tenants.scope import APP_ALIAS, open_tenant_id, tenant_scope
from tenants.secret import Secret
from workflows.operations.control_lane import go_on_with_new_key

AGAIN_S = 5.0
PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a test: whether the key works, in the vendor's words where it does not, and how long it took."""

    connection: Connection
    ok: bool
    message: str
    latency_ms: int


def try_connection(*, tenant_id: uuid.UUID, connection_id: uuid.UUID, actor: str) -> Tested:
    """Ask the vendor of a tenant's connection what its key has left; call it with no scope open. A lane that stood still
    for its key or for credits goes on where both are there again.

    Raises NotFound, and Conflict within AGAIN_S of the last question: ZeroBounce bans an address for an hour after 200
    calls with a bad key. Raises ScopeError when a scope is open.
    """
    if open_tenant_id() is not None:
        raise ScopeError("A vendor is not asked while a transaction is open: leave the scope first.")
    with tenant_scope(tenant_id):
        connection = find_connection(connection_id)
        _take_turn(connection)
        try:
            secret = open_connection_secret(connection)
        except VaultError as error:
            refused = Balance(ok=False, kind="auth_failed", reason=error.detail)
            marked = note_test(connection_id=connection_id, balance=refused, actor=actor)
            return Tested(marked, ok=False, message=error.detail, latency_ms=0)
        connector, url = registry.get(connection.provider), base_url(connection)
    began = time.monotonic()
    balance = asyncio.run(_ask(connector, secret, url))
    latency_ms = round((time.monotonic() - began) * 1000)
    with tenant_scope(tenant_id):
        connection = note_test(connection_id=connection_id, balance=balance, actor=actor)
        if balance.ok:
            go_on_with_new_key(connection=connection, actor=actor)
            connection.refresh_from_db()
    return Tested(connection, balance.ok, balance.reason, latency_ms)


def _take_turn(connection: Connection) -> None:
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """UPDATE lane_state s SET balance_asked_at = clock_timestamp() FROM lane l
               WHERE l.connection_id = %s AND s.lane_id = l.id AND s.tenant_id = l.tenant_id
               AND coalesce(s.balance_asked_at, '2000-01-01') < clock_timestamp() - %s * interval '1 second'""",
            [connection.pk, AGAIN_S],
        )
        if not cursor.rowcount:
            raise Conflict(f"This key was tried a moment ago. Try again in {AGAIN_S:g} seconds.")


async def _ask(connector: Connector, secret: Secret, url: str) -> Balance:
    async with VendorClient() as client:
        return await client.balance(connector, secret=secret, base_url=url, timeout=PATIENCE_S)
