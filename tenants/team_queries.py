"""Who belongs to the open tenant, and who was asked to."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from allauth.mfa.models import Authenticator
from django.db.models import Exists, OuterRef
from django.utils import timezone

from tenants.models import ApiKey, Invitation, Membership

MOST_SHOWN = 500
KEEP_EXPIRED = timedelta(days=30)
"""How long an invitation that nobody answered is still shown, to be sent again."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person of the tenant. `second_factor`: whether their account asks for more than the password."""

    pk: uuid.UUID
    user_id: uuid.UUID
    email: str
    name: str
    role: str
    is_owner: bool
    is_active: bool
    since: datetime
    last_sign_in: datetime | None
    second_factor: bool

    @property
    def standing(self) -> str:
        """The role, or owner."""
        return "owner" if self.is_owner else self.role


@dataclass(frozen=True, slots=True)
class Pending:
    """An invitation that nobody has answered. `mailed`: whether the mail server took it."""

    pk: uuid.UUID
    email: str
    role: str
    invited_by: str
    sent_at: datetime
    expires_at: datetime
    expired: bool
    mailed: bool


def members() -> list[Member]:
    """The people of the open tenant: the owner, then by address; at most MOST_SHOWN."""
    factors = Authenticator.objects.filter(user_id=OuterRef("user_id")).exclude(
        type=Authenticator.Type.RECOVERY_CODES
    )
    rows = (
        Membership.objects.select_related("user")
        .annotate(second_factor=Exists(factors))
        .order_by("-is_owner", "user__email")[:MOST_SHOWN]
    )
    return [_member(row) for row in rows]


def find_member(member_id: uuid.UUID) -> Member | None:
    """One of the open tenant's people, by membership; None where there is no such."""
    row = Membership.objects.select_related("user").filter(pk=member_id).first()
    return _member(row) if row else None


def count_members() -> int:
    return int(Membership.objects.count())


def open_invitations() -> list[Pending]:
    """What was sent and not answered, the newest first, with those that expired within KEEP_EXPIRED."""
    now = timezone.now()
    rows = (
        Invitation.objects.select_related("invited_by")
        .filter(accepted_at=None, revoked_at=None, expires_at__gt=now - KEEP_EXPIRED)
        .order_by("-created_at")[:MOST_SHOWN]
    )
    return [
        Pending(
            pk=row.pk,
            email=row.email,
            role=row.role,
            invited_by=row.invited_by.email if row.invited_by else "",
            sent_at=row.created_at,
            expires_at=row.expires_at,
            expired=row.expires_at <= now,
            mailed=row.mailed_at is not None,
        )
        for row in rows
    ]


def keys_made_by(user_id: uuid.UUID) -> list[str]:
    """The names of the open tenant's keys that a person created and that still work."""
    now = timezone.now()
    keys = ApiKey.objects.filter(created_by_id=user_id, revoked_at=None).order_by("name")
    return [key.name for key in keys if key.expires_at is None or key.expires_at > now]


def _member(row: Membership) -> Member:
    return Member(
        pk=row.pk,
        user_id=row.user_id,
        email=row.user.email,
        name=row.user.name,
        role=row.role,
        is_owner=row.is_owner,
        is_active=row.user.is_active,
        since=row.created_at,
        last_sign_in=row.user.last_login,
        second_factor=bool(getattr(row, "second_factor", False)),
    )


def addresses_of_admins() -> list[str]:
    """Where the open tenant's administrators get mail, those whose accounts are switched on."""
    people = Membership.objects.filter(role=Membership.Role.ADMIN, user__is_active=True)
    return list(people.order_by("user__email").values_list("user__email", flat=True))
