"""Envelope encryption: a master key wraps one data key per tenant, which seals each of its secrets (AES-256-GCM).

Tenant, provider and row are bound as associated data, so a ciphertext moved elsewhere does not open. Deleting a
tenant's data key shreds its secrets. How keys are made, changed and lost: docs/vault.md.

Everything here works in the open tenant's scope. Who writes (seals, rewraps, renews, shreds) locks the tenant's data
key first; who reads takes secret and data key in one statement, and so never sees one from before and the other from
after a change.
"""

import hashlib
import hmac
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Now

from integrations.errors import VaultError
from integrations.models import Connection, ConnectionSecret, DataKey, WebhookEndpoint, WebhookSecret
from integrations.vault.masters import ring
from integrations.vault.sealing import new_key, seal, unseal
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, require_tenant_id
from tenants.secret import Secret

BATCH = 500
GONE = "The keys of this tenant were destroyed. Enter the key again."


@dataclass(frozen=True, slots=True)
class _Keys:
    """A tenant's data key, and the key that names vendor keys, which stays the same when the other is renewed."""

    row: DataKey
    data: bytes
    naming: bytes


@dataclass(frozen=True, slots=True)
class Renewal:
    """What renewing a data key came to: secrets sealed again, and those that did not open and were left alone."""

    sealed: int = 0
    unreadable: int = 0


def seal_connection_secret(connection: Connection, secret: Secret) -> ConnectionSecret:
    """Store the secret of a connection of the open tenant, replacing an earlier one. Raises MasterKeyMissing."""
    sealed = seal(_keys().data, secret.reveal().encode(), _secret_binding(connection.provider, connection.pk))
    row, _ = ConnectionSecret.objects.update_or_create(connection=connection, defaults={"sealed": sealed})
    return row


def open_connection_secret(connection: Connection) -> Secret:
    """The secret of a connection of the open tenant.

    Raises VaultError when it has to be entered again, MasterKeyMissing when the operator has to act.
    """
    row = _with_data_key(ConnectionSecret.objects.filter(connection=connection)).first()
    if row is None:
        raise VaultError("This connection has no secret. Enter the key again.")
    sealed, master_key_id, wrapped = row
    if wrapped is None:
        raise VaultError(GONE)
    data_key = _unwrap(master_key_id, wrapped)
    plain = unseal(data_key, bytes(sealed), _secret_binding(connection.provider, connection.pk))
    return Secret(plain.decode())


def seal_webhook_secret(endpoint: WebhookEndpoint, secret: Secret) -> WebhookSecret:
    """Store another signing secret of an endpoint of the open tenant, beside earlier ones. Raises MasterKeyMissing."""
    row = WebhookSecret(id=uuid7(), endpoint=endpoint)
    row.sealed = seal(_keys().data, secret.reveal().encode(), _webhook_binding(row.pk))
    row.save(force_insert=True)
    return row


def open_webhook_secrets() -> dict[uuid.UUID, list[Secret]]:
    """The signing secrets of the open tenant that are valid now, by endpoint, the present one first. One that does not open
    is left out, and takes no other along; its endpoint stays.

    Raises VaultError when the tenant's keys are gone, MasterKeyMissing when the operator has to act.
    """
    found: dict[uuid.UUID, list[Secret]] = {}
    data: bytes | None = None
    valid = WebhookSecret.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()))
    rows = _with_data_key(valid.order_by("-id"), "id", "endpoint_id")
    for sealed, master_key_id, wrapped, secret_id, endpoint_id in rows:
        if wrapped is None:
            raise VaultError(GONE)
        data = data or _unwrap(master_key_id, wrapped)
        several = found.setdefault(endpoint_id, [])
        with suppress(VaultError):
            several.append(Secret(unseal(data, bytes(sealed), _webhook_binding(secret_id)).decode()))
    return found


def key_hash(provider: str, secret: Secret) -> str:
    """Names a vendor's key of the open tenant without telling anything about it: 16 hex digits.

    The same for as long as the tenant's keys are not destroyed, whatever is rewrapped or renewed meanwhile.
    """
    return _hash(_keys().naming, provider, secret.reveal())


def rewrap() -> DataKey | None:
    """Wrap the open tenant's data key by the newest master key; None when it is, or there is none.

    Raises VaultError when it does not open, MasterKeyMissing when its master key is not at hand.
    """
    row = _locked()
    newest = ring().newest
    if row is None or row.master_key_id == newest.id:
        return None
    data_key = _unwrap(row.master_key_id, row.wrapped)
    row.master_key_id, row.wrapped = newest.id, newest.wrap(data_key, _data_key_binding())
    row.save(update_fields=["master_key_id", "wrapped"])
    return row


def renew() -> Renewal | None:
    """Give the open tenant a new data key and seal its secrets again, all or nothing; None when it has no key.

    Raises as `rewrap` does.
    """
    if not DataKey.objects.exists():
        return None
    old, fresh, newest = _keys(), new_key(), ring().newest
    row = old.row
    row.master_key_id, row.wrapped = newest.id, newest.wrap(fresh, _data_key_binding())
    row.naming, row.created_at = seal(fresh, old.naming, _naming_binding()), Now()
    row.save(update_fields=["master_key_id", "wrapped", "naming", "created_at"])
    sealed = unreadable = 0
    for table, batch in _batches():
        again: dict[Any, bytes] = {}
        for secret_id, binding, ciphertext in batch:
            try:
                again[secret_id] = seal(fresh, unseal(old.data, bytes(ciphertext), binding), binding)
            except VaultError:
                unreadable += 1
        _store(table, again)
        sealed += len(again)
    return Renewal(sealed, unreadable)


def shred() -> bool:
    """Destroy the open tenant's data key: what it sealed can never be opened again. False when there was none."""
    return bool(DataKey.objects.all().delete()[0])


def _locked() -> DataKey | None:
    return DataKey.objects.select_for_update().first()


def _keys() -> _Keys:
    """The open tenant's keys, locked until the transaction ends, and made when they are needed for the first time."""
    row = _locked()
    if row is None:
        newest, data = ring().newest, new_key()
        DataKey.objects.get_or_create(
            tenant_id=require_tenant_id(),
            defaults={
                "master_key_id": newest.id,
                "wrapped": newest.wrap(data, _data_key_binding()),
                "naming": seal(data, new_key(), _naming_binding()),
            },
        )
        row = _locked()
        assert row is not None
    data = _unwrap(row.master_key_id, row.wrapped)
    if row.naming is None:
        return _Keys(row, data, _start_naming(row, data))
    return _Keys(row, data, unseal(data, bytes(row.naming), _naming_binding()))


def _start_naming(row: DataKey, data: bytes) -> bytes:
    """Give a tenant of an earlier version, whose key names hung on a master key, a naming key and new names."""
    naming = new_key()
    row.naming = seal(data, naming, _naming_binding())
    row.save(update_fields=["naming"])
    for connection in Connection.objects.all():
        try:
            name = _hash(naming, connection.provider, open_connection_secret(connection).reveal())
        except VaultError:
            continue  # it keeps its name until its key is entered again
        Connection.objects.filter(pk=connection.pk).update(key_hash=name)
    return naming


def _with_data_key(secrets: Any, *more: str) -> Any:
    """(sealed, the data key's master key, the wrapped data key, and `more` columns) of these rows."""
    key = DataKey.objects.filter(tenant_id=OuterRef("tenant_id"))
    return secrets.annotate(
        master_key_id=Subquery(key.values("master_key_id")[:1]), wrapped=Subquery(key.values("wrapped")[:1])
    ).values_list("sealed", "master_key_id", "wrapped", *more)


def _batches() -> Iterator[tuple[str, list[tuple[Any, bytes, bytes]]]]:
    """(table, [(id, what its secret is bound to, sealed)]) of all secrets of the tenant, some hundreds at a time."""
    of_connections = ConnectionSecret.objects.values_list(
        "id", "sealed", "connection__provider", "connection_id"
    )
    for batch in _chunks(of_connections):
        yield (
            "integrations_connectionsecret",
            [(row[0], _secret_binding(row[2], row[3]), row[1]) for row in batch],
        )
    for batch in _chunks(WebhookSecret.objects.values_list("id", "sealed")):
        yield "integrations_webhooksecret", [(row[0], _webhook_binding(row[0]), row[1]) for row in batch]


def _chunks(rows: Any) -> Iterator[list[tuple[Any, ...]]]:
    batch = list(rows.order_by("id")[:BATCH])
    while batch:
        yield batch
        batch = list(rows.order_by("id").filter(id__gt=batch[-1][0])[:BATCH])


def _store(table: str, sealed: dict[Any, bytes]) -> None:
    renewed = ", updated_at = now()" if table == "integrations_connectionsecret" else ""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            f"""UPDATE {table} s SET sealed = t.sealed{renewed}
                FROM unnest(%s::uuid[], %s::bytea[]) t(id, sealed) WHERE s.id = t.id AND s.tenant_id = %s""",  # noqa: S608
            [list(sealed), list(sealed.values()), require_tenant_id()],
        )


def _unwrap(master_key_id: str, wrapped: bytes | memoryview) -> bytes:
    return ring().get(master_key_id).unwrap(bytes(wrapped), _data_key_binding())


def _hash(naming: bytes, provider: str, plain: str) -> str:
    return hmac.new(naming, f"{provider}|{plain}".encode(), hashlib.sha256).hexdigest()[:16]


def _data_key_binding() -> bytes:
    return b"datakey|" + require_tenant_id().bytes


def _naming_binding() -> bytes:
    return b"naming|" + require_tenant_id().bytes


def _secret_binding(provider: str, connection_id: Any) -> bytes:
    return b"|".join((b"connection", require_tenant_id().bytes, provider.encode(), connection_id.bytes))


def _webhook_binding(secret_id: uuid.UUID) -> bytes:
    return b"|".join((b"webhook", require_tenant_id().bytes, secret_id.bytes))
