"""Who belongs to the open tenant, and as what: roles, leaving, removal, and the owner.

All of these, and the invitations, take turns per tenant (`take_turn`). What must hold whatever code runs is in the
database as well: a person belongs once, a tenant has one owner, an owner is an admin.
"""

import uuid
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from tenants import audit, mails
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.models import Invitation, Membership, Tenant
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope


def take_turn() -> Tenant:
    """Lock the open tenant's row until the transaction ends: one change of its people at a time.

    Rows that refer to the tenant can be written meanwhile.
    """
    tenant: Tenant = Tenant.objects.select_for_update(no_key=True).get(pk=require_tenant_id())
    return tenant


def change_role(*, member_id: uuid.UUID, role: str, actor: str) -> Membership:
    """Give a member another role; the same one again changes nothing. An owner is made by `transfer_ownership` alone.

    Raises NotFound, InvalidInput for no such role, Conflict for the owner.
    """
    with tenant_scope(require_tenant_id()):
        take_turn()
        membership = _member(member_id)
        if role not in Membership.Role.values:
            raise InvalidInput(
                "A role is admin, editor or viewer.", errors=[{"field": "role", "message": "Choose a role."}]
            )
        if membership.is_owner:
            raise Conflict("The owner is always an admin. Hand the tenant over first, then change the role.")
        if membership.role != role:
            former, membership.role = membership.role, role
            membership.save(update_fields=["role"])
            was_admin = former == Membership.Role.ADMIN
            revoked = revoke_invitations_of(membership.user_id) if was_admin else {}
            audit.record(
                actor=actor, verb="member.changed", subject=membership,
                user=membership.user.email, role=role, former_role=former, **revoked,
            )  # fmt: skip
    return membership


def remove_member(*, member_id: uuid.UUID, actor: str) -> Membership:
    """End a membership: the person's next request finds the tenant closed to them. Their API keys stay the tenant's.

    Raises NotFound, Conflict for the owner.
    """
    with tenant_scope(require_tenant_id()):
        take_turn()
        return _end(_member(member_id), verb="member.removed", actor=actor)


def leave_tenant(*, user_id: uuid.UUID, actor: str) -> Membership:
    """End one's own membership. Raises NotFound for who does not belong, Conflict for the owner."""
    with tenant_scope(require_tenant_id()):
        take_turn()
        membership = Membership.objects.select_related("user").filter(user_id=user_id).first()
        if membership is None:
            raise NotFound("You do not belong to this tenant.")
        return _end(membership, verb="member.left", actor=actor)


def transfer_ownership(*, member_id: uuid.UUID, by: uuid.UUID | None, actor: str) -> Membership:
    """Make another admin the owner; who was it stays admin. Both are told by mail once it is done.

    `by` is the person who hands it over and must be the owner still; None: staff. Raises NotFound, Conflict.
    """
    with tenant_scope(require_tenant_id()):
        tenant = take_turn()
        former = Membership.objects.select_related("user").filter(is_owner=True).first()
        if by is not None and (former is None or former.user_id != by):
            raise Conflict("You are not the owner any more; somebody handed the tenant over meanwhile.")
        owner = _member(member_id)
        if owner.is_owner:
            raise Conflict(f"{owner.user.email} is the owner already.")
        if owner.role != Membership.Role.ADMIN or not owner.user.is_active:
            raise Conflict(
                f"{owner.user.email} is no admin. Make them one first; an owner has to be an admin."
            )
        if former is not None:
            former.is_owner = False
            former.save(update_fields=["is_owner"])
        owner.is_owner = True
        owner.save(update_fields=["is_owner"])
        before = former.user.email if former else ""
        audit.record(
            actor=actor, verb="tenant.transferred", subject=owner, owner=owner.user.email, former_owner=before
        )
        names = {"tenant_name": tenant.name, "former": before, "owner": owner.user.email}
        told = partial(mails.send_ownership_moved, **names, by=_name_of(actor))
        transaction.on_commit(told, using=APP_ALIAS, robust=True)
    return owner


def revoke_invitations_of(user_id: uuid.UUID) -> dict[str, Any]:
    """Take back what a person who may invite no more has sent, which could lead back to themselves.

    In the open tenant, or in all within an ops scope. Returns what the trail says of it: nothing, or the addresses.
    """
    sent = Invitation.objects.filter(invited_by_id=user_id, accepted_at=None, revoked_at=None)
    addresses = sorted(sent.values_list("email", flat=True))
    sent.update(revoked_at=timezone.now())
    return {"revoked_invitations": addresses} if addresses else {}


def _member(member_id: uuid.UUID) -> Membership:
    membership: Membership | None = (
        Membership.objects.select_related("user").filter(pk=member_id).first()
    )  # fmt: skip
    if membership is None:
        raise NotFound("There is no such member.")
    return membership


def _end(membership: Membership, *, verb: str, actor: str) -> Membership:
    if membership.is_owner:
        raise Conflict("The owner cannot go. Hand the tenant over to another admin first.")
    email, role = membership.user.email, membership.role
    revoked = revoke_invitations_of(membership.user_id)
    audit.record(actor=actor, verb=verb, subject=membership, user=email, role=role, **revoked)
    Membership.objects.filter(pk=membership.pk).delete()
    return membership


def _name_of(actor: str) -> str:
    """ "user:ada@acme.example" -> "ada@acme.example"; staff are not named to tenants."""
    kind, _, name = actor.partition(":")
    return name if kind == "user" else "whoever runs Weir for you"
