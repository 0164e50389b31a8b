"""Every write of this app."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone

from tenants import audit, signals
from tenants.api_keys import new_key
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.ids import uuid7
from tenants.models import ApiKey, Membership, Tenant, User
from tenants.scope import require_tenant_id, tenant_scope

ALL_SCOPES = tuple(ApiKey.Scope.values)


def create_tenant(*, name: str, plan: str, owner: User, actor: str) -> Tenant:
    """Create a tenant with its first administrator, and let the other apps add what a new tenant has.

    Raises InvalidInput for an empty or over-long name.
    """
    name = " ".join(name.split())
    if not name or len(name) > 120 or "\0" in name:
        raise InvalidInput(
            "A tenant's name has 1 to 120 characters.", errors=[{"field": "name", "message": "1-120"}]
        )
    tenant = Tenant(id=uuid7(), name=name, plan=plan)
    with tenant_scope(tenant.pk):
        tenant.save(force_insert=True)
        Membership.objects.create(user=owner, role=Membership.Role.ADMIN, is_owner=True)
        audit.record(actor=actor, verb="tenant.created", subject=tenant, plan=plan)
        signals.tenant_created.send(sender=Tenant, tenant=tenant, actor=actor)
    return tenant


def create_user(*, email: str, password: str | None, name: str = "") -> User:
    """Create a person. Raises InvalidInput for a bad address and Conflict when the address is taken."""
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidInput(
            f"“{email[:80]}” is not an e-mail address.",
            errors=[{"field": "email", "message": "Not an e-mail address."}],
        ) from None
    if User.objects.filter(email=email.lower()).exists():
        raise Conflict("There is an account with this e-mail address already.")
    return User.objects.create_user(email, password, name=name)


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


def suspend_tenant(*, actor: str) -> Tenant:
    """Close the open tenant's API and pages. Raises Conflict when it is suspended already."""
    return _set_status(Tenant.Status.SUSPENDED, actor=actor)


def activate_tenant(*, actor: str) -> Tenant:
    """Open a suspended tenant again. Raises Conflict when it is active already."""
    return _set_status(Tenant.Status.ACTIVE, actor=actor)


def _set_status(status: Tenant.Status, *, actor: str) -> Tenant:
    with tenant_scope(require_tenant_id()) as tenant_id:
        tenant = Tenant.objects.select_for_update().get(pk=tenant_id)
        if tenant.status == status:
            raise Conflict(f"This tenant is {status} already.")
        tenant.status = status
        tenant.save(update_fields=["status"])
        audit.record(actor=actor, verb=f"tenant.{status}", subject=tenant)
    return tenant


def get_tenant(tenant_id: uuid.UUID) -> Tenant:
    """The open tenant's row. Raises NotFound."""
    try:
        return Tenant.objects.get(pk=tenant_id)
    except Tenant.DoesNotExist:
        raise NotFound("There is no such tenant.") from None
