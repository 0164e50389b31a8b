"""Envelope encryption: a master key wraps one data key per tenant, which seals each secret (AES-256-GCM).

Tenant, provider and row are bound as associated data, so a ciphertext moved elsewhere does not open. Deleting a
tenant's data key shreds its secrets. Master keys come from WEIR_VAULT_KEYS, newest first.
"""

import base64
import hashlib
import secrets
import uuid
from typing import Never

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from integrations.errors import VaultError
from integrations.models import Connection, ConnectionSecret, DataKey
from tenants.scope import require_tenant_id

VERSION = b"\x01"
NONCE_BYTES = 12


class Secret:
    """A plain secret in memory. Shows nothing of itself; `reveal()` is for the moment of the call."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __reduce__(self) -> Never:
        raise TypeError("A secret cannot be pickled.")


def seal_connection_secret(connection: Connection, plain: str) -> ConnectionSecret:
    """Store the secret of a connection of the open tenant, replacing an earlier one."""
    sealed = _seal(_data_key(), plain.encode(), _binding(connection))
    row, _ = ConnectionSecret.objects.update_or_create(connection=connection, defaults={"sealed": sealed})
    return row


def open_connection_secret(connection: Connection) -> Secret:
    """The secret of a connection of the open tenant. Raises VaultError when it cannot be opened."""
    row = ConnectionSecret.objects.filter(connection=connection).first()
    if row is None:
        raise VaultError("This connection has no secret. Enter the key again.")
    return Secret(_open(_data_key(), bytes(row.sealed), _binding(connection)).decode())


def key_hash(tenant_id: uuid.UUID, provider: str, plain: str) -> str:
    """Names a key in lane names, without telling anything about it: 16 hex digits, keyed by the master key."""
    master = _masters()[0][1]
    material = b"|".join((master, tenant_id.bytes, provider.encode(), plain.encode()))
    return hashlib.sha256(material).hexdigest()[:16]


def _binding(connection: Connection) -> bytes:
    return b"|".join(
        (b"connection", connection.tenant_id.bytes, connection.provider.encode(), connection.pk.bytes)
    )


def _masters() -> list[tuple[str, bytes]]:
    """(id, 32-byte key) of every master key, newest first."""
    keys = [base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)) for value in settings.VAULT_KEYS]
    return [(hashlib.sha256(key).hexdigest()[:16], key) for key in keys]


def _data_key() -> bytes:
    """The open tenant's data key, made when it is needed for the first time."""
    tenant_id = require_tenant_id()
    row = DataKey.objects.first()
    binding = b"datakey|" + tenant_id.bytes
    if row is None:
        master_id, master = _masters()[0]
        wrapped = _seal(master, secrets.token_bytes(32), binding)
        row, _ = DataKey.objects.get_or_create(
            tenant_id=tenant_id, defaults={"master_key_id": master_id, "wrapped": wrapped}
        )
    for master_id, master in _masters():
        if master_id == row.master_key_id:
            return _open(master, bytes(row.wrapped), binding)
    raise VaultError(f"The master key {row.master_key_id} is not in WEIR_VAULT_KEYS.")


def _seal(key: bytes, plain: bytes, binding: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return VERSION + nonce + AESGCM(key).encrypt(nonce, plain, VERSION + binding)


def _open(key: bytes, sealed: bytes, binding: bytes) -> bytes:
    if sealed[:1] != VERSION:
        raise VaultError("The secret was sealed by an unknown version.")
    nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, body, VERSION + binding)
    except InvalidTag:
        raise VaultError("The secret cannot be opened. Enter the key again.") from None
