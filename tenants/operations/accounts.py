"""Deleting a person's account."""

import uuid

import structlog
from allauth.usersessions.models import UserSession
from django.db import transaction

from tenants.errors import Conflict, NotFound
from tenants.models import User
from tenants.operations import team
from tenants.queries import tenants_of
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope

log = structlog.get_logger(__name__)


def delete_account(*, user_id: uuid.UUID) -> None:
    """Let a person leave their tenants and delete their account, second factors and sessions; call it outside any scope.

    What they did stays in the trails of those tenants, under the address that it was done with. Raises Conflict for
    who owns a tenant that is not being deleted, and for staff, whose accounts the ops console ends; NotFound.
    """
    user = User.objects.filter(pk=user_id).first()
    if user is None:
        raise NotFound("There is no such account.")
    if user.is_staff:
        raise Conflict("Accounts of staff are ended in the ops console.")
    belongs = tenants_of(user_id)
    owned = [
        tenant.tenant_name for tenant in belongs if tenant.is_owner and tenant.tenant_status != "closing"
    ]
    if owned:
        raise Conflict(f"You own {', '.join(owned)}. Hand it over or delete it first.")
    for tenant in belongs:
        if not tenant.is_owner:
            with tenant_scope(tenant.tenant_id):
                team.leave_tenant(user_id=user_id, actor=f"user:{user.email}")
    for session in UserSession.objects.filter(user=user):
        session.end()
    # Across tenants: keys and invitations that the person made stay, and no longer say by whom.
    with ops_scope("a person deletes their account"), transaction.atomic(using=OPS_ALIAS):
        # Locked: whoever makes a tenant theirs meanwhile was before this, and is seen, or finds nobody.
        user = User.objects.select_for_update().get(pk=user_id)
        if user.memberships.filter(is_owner=True).exclude(tenant__status="closing").exists():
            raise Conflict("You own a tenant since a moment ago. Hand it over or delete it first.")
        user.delete()
    log.info("account_deleted")
