"""What happens to a connection after it was made: other settings, what its vendor says of its key, its end."""

import uuid
from typing import Any

from django.db.models.functions import Now

from integrations import signals
from integrations.connectors.base import Balance
from integrations.models import Connection, ConnectionSecret
from integrations.operations import clean_windows, replace_connection_secret
from tenants import audit
from tenants.errors import InvalidInput, NotFound
from tenants.scope import require_tenant_id, tenant_scope

CHANGEABLE = (
    "name",
    "windows",
    "parallelism",
    "price_per_credit",
    "currency",
    "on_ambiguous",
    "low_balance",
)
"""What a connection's owner may change; another key goes through `replace_connection_secret`."""


def find_connection(connection_id: uuid.UUID, *, lock: bool = False) -> Connection:
    """A connection of the open tenant. Raises NotFound, also for one that was removed."""
    rows = Connection.objects.filter(removed_at=None)
    found = (rows.select_for_update() if lock else rows).filter(pk=connection_id).first()
    if found is None:
        raise NotFound("There is no such connection.")
    return found


def change_connection(*, connection_id: uuid.UUID, actor: str, **changes: Any) -> Connection:
    """Give a connection of the open tenant other settings (CHANGEABLE), another key (`secret`), or both.

    Credits are in thousandths. Its lane follows the limits within 2 s unless others are pinned. Raises InvalidInput,
    NotFound, and Conflict when another connection has this key.
    """
    secret = changes.pop("secret", None)
    unknown = changes.keys() - set(CHANGEABLE)
    if unknown:
        raise TypeError(f"a connection's {', '.join(sorted(unknown))} cannot be changed")
    if "windows" in changes:
        changes["windows"] = clean_windows(changes["windows"])
    if not 1 <= changes.get("parallelism", 1) <= 1_000:
        raise InvalidInput(
            "Parallelism is the number of calls in flight: 1 to 1,000.",
            errors=[{"field": "parallelism", "message": "1 to 1,000"}],
        )
    with tenant_scope(require_tenant_id()):
        connection = find_connection(connection_id, lock=True)
        before = {name: getattr(connection, name) for name in changes}
        if secret is not None:
            connection = replace_connection_secret(connection_id=connection_id, secret=secret, actor=actor)
        changed = [name for name, value in changes.items() if value != before[name]]
        if changed:
            for name in changed:
                setattr(connection, name, changes[name])
            connection.save(update_fields=changed)
            audit.record(
                actor=actor, verb="connection.changed", subject=connection, provider=connection.provider,
                changed=sorted(changed),
            )  # fmt: skip
            signals.connection_saved.send(sender=Connection, connection=connection, actor=actor)
    return connection


def note_test(*, connection_id: uuid.UUID, balance: Balance, actor: str) -> Connection:
    """Keep what the vendor said when its key was tried. Raises NotFound where it was removed meanwhile.

    A key that works clears an earlier fault; one that is refused or is out of credits is marked so. A vendor that could
    not be reached says nothing about the key.
    """
    with tenant_scope(require_tenant_id()):
        connection = find_connection(connection_id, lock=True)
        if balance.credits is not None:
            connection.balance, connection.balance_at = balance.credits, Now()
        if balance.ok:
            connection.status, connection.last_error = Connection.Status.OK, ""
            connection.last_ok_at = Now()
        elif balance.kind in (Connection.Status.AUTH_FAILED, Connection.Status.NO_CREDITS):
            connection.status, connection.last_error = balance.kind, balance.reason[:300]
        connection.save(update_fields=["balance", "balance_at", "status", "last_error", "last_ok_at"])
        audit.record(
            actor=actor,
            verb="connection.tested",
            subject=connection,
            provider=connection.provider,
            ok=balance.ok,
        )
        connection.refresh_from_db()
    return connection


def remove_connection(*, connection_id: uuid.UUID, actor: str) -> None:
    """Destroy the key of a connection of the open tenant and take the connection out of everything that is listed.

    Its row stays for the history of what it was asked. Raises NotFound, and what receivers of `connection_removed` raise
    where there is a reason against it.
    """
    with tenant_scope(require_tenant_id()):
        connection = find_connection(connection_id, lock=True)
        signals.connection_removed.send(sender=Connection, connection=connection, actor=actor)
        ConnectionSecret.objects.filter(connection=connection).delete()
        # The same key may be connected again: this row's name of it must not be in the way.
        connection.key_hash = connection.pk.hex[-16:]
        connection.status, connection.last_error, connection.balance = Connection.Status.OK, "", None
        connection.removed_at = Now()
        connection.save(update_fields=["key_hash", "status", "last_error", "balance", "removed_at"])
        audit.record(
            actor=actor, verb="connection.removed", subject=connection, provider=connection.provider,
            hint=connection.secret_hint,
        )  # fmt: skip
