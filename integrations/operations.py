"""Every write of this app."""

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from integrations import signals, vault
from integrations.connectors import registry
from integrations.models import Connection, DataKey
from tenants import audit
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.ids import uuid7
from tenants.scope import require_tenant_id, tenant_scope
from tenants.secret import SHORTEST, Secret

MAX_SECRET = 4_000


def clean_windows(windows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Check rate windows: `rate` starts (1 to 1,000,000) per `period` seconds (0.1 to 31 days), at most 8 of them.

    Raises InvalidInput naming the faulty one.
    """
    cleaned = []
    for number, window in enumerate(windows, 1):
        rate, period = window.get("rate"), window.get("period")
        rate_fits = isinstance(rate, int) and not isinstance(rate, bool) and 1 <= rate <= 1_000_000
        period_fits = (
            isinstance(period, int | float) and not isinstance(period, bool) and 0.1 <= period <= 2_678_400
        )
        group = window.get("group", "")
        if not rate_fits or not period_fits or group not in ("", "find", "verify"):
            raise InvalidInput(
                f"Window {number} needs a whole `rate` of 1 to 1,000,000 and a `period` of 0.1 to 2,678,400 seconds.",
                errors=[{"field": "windows", "message": f"Window {number} is not usable."}],
            )
        cleaned.append({"rate": rate, "period": float(period or 0), **({"group": group} if group else {})})
    if len(cleaned) > 8:
        raise InvalidInput(
            "A lane has at most 8 windows.", errors=[{"field": "windows", "message": "At most 8."}]
        )
    return cleaned


def create_connection(
    *,
    provider: str,
    secret: Secret,
    actor: str,
    mode: str = Connection.Mode.LIVE,
    name: str = "",
    windows: Sequence[Mapping[str, Any]] | None = None,
    parallelism: int | None = None,
    price_per_credit: Decimal | None = None,
    currency: str = "USD",
    on_ambiguous: str = Connection.OnAmbiguous.REPEAT,
) -> Connection:
    """Connect the open tenant to a vendor with its own key; limits default to what the vendor documents.

    Raises InvalidInput for an unknown provider or unusable limits, Conflict when this key is connected already,
    and what a receiver of `connection_to_be_made` raises.
    """
    tenant_id = require_tenant_id()
    if provider not in registry.CONNECTORS:
        known = ", ".join(sorted(connector.provider for connector in registry.offered()))
        raise InvalidInput(
            f"There is no provider “{provider[:40]}”. Known: {known}.",
            errors=[{"field": "provider", "message": f"Known: {known}."}],
        )
    secret = _clean_secret(secret, mode)
    connector = registry.get(provider)
    if connector.sandbox_only and mode != Connection.Mode.SANDBOX:
        raise InvalidInput(
            f"{connector.title} is in the sandbox alone.",
            errors=[{"field": "mode", "message": "Only sandbox is possible."}],
        )
    if windows is None:
        windows = [
            {"rate": w.rate, "period": w.period, **({"group": w.group} if w.group else {})}
            for w in connector.windows
        ]
    parallelism = connector.parallelism if parallelism is None else parallelism
    if not 1 <= parallelism <= 1_000:
        raise InvalidInput(
            "Parallelism is the number of calls in flight: 1 to 1,000.",
            errors=[{"field": "parallelism", "message": "1 to 1,000."}],
        )
    with tenant_scope(tenant_id):
        hashed = vault.key_hash(provider, secret)
        if Connection.objects.filter(provider=provider, mode=mode, key_hash=hashed).exists():
            raise Conflict(f"This {connector.title} key is connected already.")
        signals.connection_to_be_made.send(sender=Connection, mode=mode)
        connection = Connection(
            id=uuid7(),
            provider=provider,
            name=name.strip()[:80],
            mode=mode,
            secret_hint=_hint(secret),
            key_hash=hashed,
            windows=clean_windows(windows),
            parallelism=parallelism,
            price_per_credit=price_per_credit,
            currency=currency,
            on_ambiguous=on_ambiguous,
        )
        connection.save(force_insert=True)
        vault.seal_connection_secret(connection, secret)
        audit.record(actor=actor, verb="connection.created", subject=connection, provider=provider, mode=mode)
        signals.connection_saved.send(sender=Connection, connection=connection, actor=actor)
    return connection


def replace_connection_secret(*, connection_id: uuid.UUID, secret: Secret, actor: str) -> Connection:
    """Give a connection of the open tenant another key, or the same one again where the stored one cannot be opened.

    Its lane takes the new key within 2 s, whatever calls are under way, and goes on where the old one was refused. Raises
    InvalidInput for what cannot be a key, NotFound, and Conflict when another connection has this key.
    """
    with tenant_scope(require_tenant_id()):
        connection = Connection.objects.filter(pk=connection_id, removed_at=None).first()
        if connection is None:
            raise NotFound("There is no such connection.")
        secret = _clean_secret(secret, connection.mode)
        hashed = vault.key_hash(connection.provider, secret)
        others = Connection.objects.filter(
            provider=connection.provider, mode=connection.mode, key_hash=hashed
        )
        if others.exclude(pk=connection.pk).exists():
            raise Conflict(f"This {registry.get(connection.provider).title} key is connected already.")
        connection.key_hash, connection.secret_hint = hashed, _hint(secret)
        connection.status, connection.last_error, connection.balance = Connection.Status.OK, "", None
        connection.save(update_fields=["key_hash", "secret_hint", "status", "last_error", "balance"])
        vault.seal_connection_secret(connection, secret)
        audit.record(
            actor=actor,
            verb="connection.secret_replaced",
            subject=connection,
            provider=connection.provider,
            hint=connection.secret_hint,
        )
        signals.secret_replaced.send(sender=Connection, connection=connection, actor=actor)
    return connection


def rewrap_data_key(*, actor: str) -> bool:
    """Wrap the open tenant's data key by the newest master key; False when nothing had to be done.

    In the transaction of the open scope: a rotation does this ten thousand times. Raises VaultError when the data key
    does not open, MasterKeyMissing when its master key is not at hand.
    """
    row = vault.rewrap()
    if row is not None:
        _record_key(row, actor, "vault.rewrapped")
    return row is not None


def renew_data_key(*, actor: str) -> vault.Renewal | None:
    """Give the open tenant a new data key and seal its secrets again; None when it has none. Raises as above."""
    renewal = vault.renew()
    if renewal is not None:
        row = DataKey.objects.get()
        _record_key(row, actor, "vault.renewed", sealed=renewal.sealed, unreadable=renewal.unreadable)
    return renewal


def shred_secrets(*, actor: str) -> bool:
    """Destroy the open tenant's data key, and with it every secret that it sealed; False when there was none."""
    with tenant_scope(require_tenant_id()):
        row = DataKey.objects.first()
        if row is None or not vault.shred():
            return False
        audit.record(actor=actor, verb="vault.shredded", subject=row)
    return True


def _record_key(row: DataKey, actor: str, verb: str, **detail: Any) -> None:
    audit.record(actor=actor, verb=verb, subject=row, master_key=row.master_key_id, **detail)


def _clean_secret(secret: Secret, mode: str) -> Secret:
    """Without white space around it. Raises InvalidInput for what no vendor gives out as a key.

    What is too short to be masked in logs is none, but in the sandbox, whose keys open nothing.
    """
    secret = secret.strip()
    plain = secret.reveal()
    if not plain or len(plain) > MAX_SECRET or " " in plain or not plain.isascii() or not plain.isprintable():
        raise InvalidInput(
            "The secret must be the vendor's API key: printable characters, without spaces around it.",
            errors=[{"field": "secret", "message": "Not a usable key."}],
        )
    if mode != Connection.Mode.SANDBOX and len(plain) < SHORTEST:
        raise InvalidInput(
            f"A vendor's API key has at least {SHORTEST} characters.",
            errors=[{"field": "secret", "message": f"At least {SHORTEST} characters."}],
        )
    return secret


def _hint(secret: Secret) -> str:
    """The last four characters, as long as that leaves most of the secret untold."""
    plain = secret.reveal()
    return plain[-4:] if len(plain) >= SHORTEST else "****"
