"""Reads that are needed before a tenant is known; each goes through one SECURITY DEFINER function."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from tenants.scope import APP_ALIAS


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """An API key and whose it is."""

    key_id: uuid.UUID
    tenant_id: uuid.UUID
    tenant_name: str
    plan: str
    tenant_status: str
    livemode: bool
    scopes: tuple[str, ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    hint: str


@dataclass(frozen=True, slots=True)
class TenantOfUser:
    """A tenant that a person belongs to, and as what."""

    tenant_id: uuid.UUID
    tenant_name: str
    plan: str
    tenant_status: str
    role: str
    is_owner: bool


@dataclass(frozen=True, slots=True)
class OpenInvitation:
    """An invitation that can still be accepted, and to which tenant."""

    invitation_id: uuid.UUID
    tenant_id: uuid.UUID
    tenant_name: str
    email: str
    role: str
    invited_by: str
    expires_at: datetime


def key_owners(digests: Sequence[bytes]) -> dict[bytes, KeyOwner | None]:
    """The keys with these digests, whatever their state; those that there are."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute("SELECT * FROM lookup.api_keys(%s::bytea[])", (list(digests),))
        rows = cursor.fetchall()
    found: dict[bytes, KeyOwner | None] = {}
    for digest, *values in rows:
        values[6] = tuple(values[6])
        found[bytes(digest)] = KeyOwner(*values)
    return found


def tenants_of(user_id: uuid.UUID) -> list[TenantOfUser]:
    """The tenants that a person belongs to, by name."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute("SELECT * FROM lookup.tenants_of(%s)", (user_id,))
        return [TenantOfUser(*row) for row in cursor.fetchall()]


def open_invitation(digest: bytes) -> OpenInvitation | None:
    """The invitation with this digest while it is open: not expired, accepted or revoked, its tenant active."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute("SELECT * FROM lookup.invitation(%s)", (digest,))
        row = cursor.fetchone()
    return OpenInvitation(*row) if row else None
