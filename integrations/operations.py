"""Every write of this app."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from integrations import signals, vault
from integrations.connectors import registry
from integrations.models import Connection
from tenants import audit
from tenants.errors import Conflict, InvalidInput
from tenants.ids import uuid7
from tenants.scope import require_tenant_id, tenant_scope

MAX_SECRET = 4_000
SHORT_SECRET = 8


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
                f"Window {number} needs a whole `rate` of at least 1 and a `period` of 0.1 to 2,678,400 seconds.",
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
    secret: str,
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

    Raises InvalidInput for an unknown provider or unusable limits, Conflict when this key is connected already.
    """
    tenant_id = require_tenant_id()
    if provider not in registry.CONNECTORS:
        known = ", ".join(sorted(registry.CONNECTORS))
        raise InvalidInput(
            f"There is no provider “{provider[:40]}”. Known: {known}.",
            errors=[{"field": "provider", "message": f"Known: {known}."}],
        )
    secret = secret.strip()
    if (
        not secret
        or len(secret) > MAX_SECRET
        or " " in secret
        or not secret.isascii()
        or not secret.isprintable()
    ):
        raise InvalidInput(
            "The secret must be the vendor's API key: printable characters, without spaces around it.",
            errors=[{"field": "secret", "message": "Not a usable key."}],
        )
    connector = registry.get(provider)
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
    hashed = vault.key_hash(tenant_id, provider, secret)
    with tenant_scope(tenant_id):
        if Connection.objects.filter(provider=provider, mode=mode, key_hash=hashed).exists():
            raise Conflict(f"This {connector.title} key is connected already.")
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


def _hint(secret: str) -> str:
    """The last four characters, as long as that leaves most of the secret untold."""
    return secret[-4:] if len(secret) >= SHORT_SECRET else "****"
