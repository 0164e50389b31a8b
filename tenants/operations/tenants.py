"""Creating, suspending and reading a tenant."""

import uuid

from tenants import audit, signals
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.ids import uuid7
from tenants.models import Membership, Tenant, User
from tenants.scope import require_tenant_id, tenant_scope

MAX_NAME = 120


def create_tenant(*, name: str, plan: str, owner: User, actor: str) -> Tenant:
    """Create a tenant with its first administrator, and let the other apps add what a new tenant has.

    Raises InvalidInput for a bad name.
    """
    name = clean_name(name)
    tenant = Tenant(id=uuid7(), name=name, plan=plan)
    with tenant_scope(tenant.pk):
        tenant.save(force_insert=True)
        Membership.objects.create(user=owner, role=Membership.Role.ADMIN, is_owner=True)
        audit.record(actor=actor, verb="tenant.created", subject=tenant, plan=plan)
        signals.tenant_created.send(sender=Tenant, tenant=tenant, actor=actor)
    return tenant


def clean_name(name: str) -> str:
    """A tenant's name on one line. Raises InvalidInput where it is empty, over-long, or not what it looks like."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        message = f"A tenant's name has 1 to {MAX_NAME} printable characters."
        raise InvalidInput(message, errors=[{"field": "name", "message": message}])
    return name


def suspend_tenant(*, actor: str) -> Tenant:
    """Close the open tenant's API and pages. Raises Conflict when it is suspended already."""
    return _set_status(Tenant.Status.SUSPENDED, actor=actor)


def activate_tenant(*, actor: str) -> Tenant:
    """Open a suspended tenant again. Raises Conflict when it is active already."""
    return _set_status(Tenant.Status.ACTIVE, actor=actor)


def _set_status(status: Tenant.Status, *, actor: str) -> Tenant:
    with tenant_scope(require_tenant_id()) as tenant_id:
        tenant = Tenant.objects.select_for_update().get(pk=tenant_id)
        if tenant.status == Tenant.Status.CLOSING:
            raise Conflict("This tenant is being deleted; that cannot be undone.")
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
