"""API keys: created, revoked."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone

from tenants import audit
from tenants.api_keys import new_key
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.models import ApiKey, User
from tenants.scope import require_tenant_id, tenant_scope

ALL_SCOPES = tuple(ApiKey.Scope.values)


def create_api_key(
    *,
    name: str,
    actor: str,
    livemode: bool = True,
    scopes: Sequence[str] = ALL_SCOPES,
    created_by: User | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key of the open tenant; returns it with the plain key, which is shown once."""
    tenant_id = require_tenant_id()
    unknown = set(scopes) - set(ALL_SCOPES)
    if unknown or not scopes:
        raise InvalidInput(
            "A key needs scopes out of read, write, admin.", errors=[{"field": "scopes", "message": "?"}]
        )
    minted = new_key(livemode=livemode)
    with tenant_scope(tenant_id):
        key = ApiKey.objects.create(
            name=name.strip()[:80] or "API key",
            hint=minted.hint,
            digest=minted.digest,
            livemode=livemode,
            scopes=list(scopes),
            created_by=created_by,
            expires_at=expires_at,
        )
        audit.record(actor=actor, verb="key.created", subject=key, name=key.name)
    return key, minted.plain


def revoke_api_key(*, key_id: uuid.UUID, actor: str) -> ApiKey:
    """End a key of the open tenant for good; it is refused within two seconds. Raises NotFound, Conflict."""
    with tenant_scope(require_tenant_id()):
        key = ApiKey.objects.select_for_update().filter(pk=key_id).first()
        if key is None:
            raise NotFound("There is no such key.")
        if key.revoked_at is not None:
            raise Conflict("This key has been revoked already.")
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        audit.record(actor=actor, verb="key.revoked", subject=key, name=key.name)
    return key
