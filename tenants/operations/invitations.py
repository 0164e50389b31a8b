"""Invitations: one open per address, each with a link that works once, for seven days, for that address alone.

Every mail is a row: inviting again or sending again ends the row before and makes a new one, so that the rows of the
last hour are exactly the mails of the last hour, and the limit needs no Redis.
"""

import hashlib
import math
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from allauth.account.models import EmailAddress
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from tenants import audit, mails, signals
from tenants.errors import Conflict, InvalidInput, NotAllowed, NotFound
from tenants.models import Invitation, Membership, Tenant, User
from tenants.operations.team import take_turn
from tenants.queries import OpenInvitation, open_invitation
from tenants.scope import require_tenant_id, tenant_scope

LASTS = timedelta(days=7)
MOST_OPEN = 50
MOST_PER_HOUR = 30
_PROOF = "tenants.invitation.mailed"


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation just made. `token` is the secret of its link: shown once, mailed once, kept nowhere."""

    invitation: Invitation
    tenant_name: str
    invited_by: str
    token: str = field(repr=False)

    @property
    def mailed_token(self) -> str:
        """The token as it goes out by mail: with a mark that who invited has not seen.

        Only the link with the mark shows that whoever opens it reads that mailbox. Without it, somebody could invite
        an address that is not theirs, open the link themselves, and have an account with another's verified address.
        """
        return f"{self.token}.{_mark(self.token)}"


def invite(*, email: str, role: str, invited_by: User, actor: str) -> Invited:
    """Invite an address to the open tenant, in place of an invitation that it has already.

    Raises InvalidInput (address, role), Conflict (a member already, too many open, too many within an hour), and what a
    receiver of `seat_to_be_taken` raises.
    """
    address = _address(email)
    if role not in Membership.Role.values:
        raise _invalid("role", "Choose a role: viewer, editor or admin.")
    with tenant_scope(require_tenant_id()):
        return _make(take_turn(), address, role, invited_by=invited_by, actor=actor, verb="invitation.sent")


def resend(*, invitation_id: uuid.UUID, invited_by: User, actor: str) -> Invited:
    """A new link for an invitation, lasting from now; the link before stops working. Raises NotFound, Conflict."""
    with tenant_scope(require_tenant_id()):
        tenant = take_turn()
        old = _unanswered(invitation_id)
        return _make(
            tenant, old.email, old.role, invited_by=invited_by, actor=actor, verb="invitation.resent"
        )


def revoke_invitation(*, invitation_id: uuid.UUID, actor: str) -> Invitation:
    """Take an invitation back: its link stops working at once. Raises NotFound, Conflict when it was answered."""
    with tenant_scope(require_tenant_id()):
        take_turn()
        invitation = _unanswered(invitation_id)
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        audit.record(actor=actor, verb="invitation.revoked", subject=invitation, email=invitation.email)
    return invitation


def deliver(invited: Invited, *, link: str) -> bool:
    """Mail the link; False when the mail server did not take it. Call it when no transaction is open."""
    invitation = invited.invitation
    taken = mails.send_invitation(
        invitation, tenant_name=invited.tenant_name, invited_by=invited.invited_by, link=link
    )
    if taken:
        with tenant_scope(invitation.tenant_id):
            Invitation.objects.filter(pk=invitation.pk).update(mailed_at=timezone.now())
    return taken


def find_open(token: str) -> OpenInvitation | None:
    """The invitation that this token, mailed or not, opens; None when there is none or it is over."""
    return open_invitation(digest_of(token))


def digest_of(token: str) -> bytes:
    """What is kept of a token, mailed or not: enough to find the invitation, not to follow the link."""
    return _digest(_secret_of(token))


def came_by_mail(token: str) -> bool:
    """Whether this token is the one that went out by mail: whoever has it reads the invited mailbox."""
    secret, _, mark = token.partition(".")
    return bool(mark) and constant_time_compare(mark, _mark(secret))


def belongs_to(email: str, user: User) -> bool:
    """Whether a person has proved that this address is theirs."""
    return EmailAddress.objects.filter(user_id=user.pk, email=email, verified=True).exists()


def accept_invitation(*, token: str, user: User) -> Membership:
    """Make a person a member of the tenant that invited their address. Opens that tenant's scope itself.

    Twice is as good as once. Raises NotFound when the invitation is over, NotAllowed when it is for somebody else or
    the address is not verified. Who is a member already keeps their role.
    """
    return accept_by_digest(digest=digest_of(token), user=user)


def accept_by_digest(*, digest: bytes, user: User) -> Membership:
    """`accept_invitation` for a browser that has followed the link before (`digest_of`)."""
    found = open_invitation(digest)
    if found is None:
        raise NotFound("This invitation is over: it was used, taken back, or is older than seven days.")
    if found.email != user.email or not belongs_to(found.email, user):
        raise NotAllowed(f"This invitation is for {found.email}. Sign in as {found.email} to accept it.")
    with tenant_scope(found.tenant_id):
        tenant = take_turn()
        invitation = Invitation.objects.get(pk=found.invitation_id)
        member = Membership.objects.filter(user=user).first()
        if invitation.accepted_at is not None and member is not None:
            return member
        if _is_over(invitation, timezone.now()) or tenant.status != Tenant.Status.ACTIVE:
            raise NotFound("This invitation was taken back a moment ago. Ask for a new one.")
        member = member or Membership.objects.create(user=user, role=invitation.role)
        invitation.accepted_at = timezone.now()
        invitation.save(update_fields=["accepted_at"])
        audit.record(
            actor=f"user:{user.email}", verb="invitation.accepted", subject=invitation,
            user=user.email, role=member.role,
        )  # fmt: skip
    return member


def _make(tenant: Tenant, email: str, role: str, *, invited_by: User, actor: str, verb: str) -> Invited:
    now = timezone.now()
    if Membership.objects.filter(user__email=email).exists():
        raise Conflict(f"{email} belongs to {tenant.name} already. Change the role in the list of members.")
    mine = Invitation.objects.filter(email=email, accepted_at=None, revoked_at=None)
    _within_limits(email, now)
    mine.update(revoked_at=now)
    open_ones = Invitation.objects.filter(accepted_at=None, revoked_at=None, expires_at__gt=now)
    taken = Membership.objects.count() + open_ones.count()
    signals.seat_to_be_taken.send(sender=Invitation, taken=taken)
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        email=email, role=role, digest=_digest(token), invited_by=invited_by, created_at=now,
        expires_at=now + LASTS,
    )  # fmt: skip
    audit.record(actor=actor, verb=verb, subject=invitation, email=email, role=role)
    return Invited(invitation, tenant.name, invited_by.email, token)


def _within_limits(email: str, now: datetime) -> None:
    hour_ago = now - timedelta(hours=1)
    recent = list(
        Invitation.objects.filter(created_at__gt=hour_ago)
        .order_by("-created_at")
        .values_list("created_at", flat=True)[:MOST_PER_HOUR]
    )
    if len(recent) == MOST_PER_HOUR:
        minutes = max(1, math.ceil((recent[-1] - hour_ago).total_seconds() / 60))
        raise Conflict(
            f"{MOST_PER_HOUR} invitations went out within the last hour, the most that may. "
            f"Try again in {minutes} minute{'' if minutes == 1 else 's'}."
        )
    others = Invitation.objects.filter(accepted_at=None, revoked_at=None, expires_at__gt=now)
    if others.exclude(email=email).count() >= MOST_OPEN:
        raise Conflict(f"{MOST_OPEN} invitations are open, the most that may be. Revoke one first.")


def _unanswered(invitation_id: uuid.UUID) -> Invitation:
    """An invitation of the open tenant, expired or not, that nobody has accepted or revoked."""
    invitation: Invitation | None = Invitation.objects.filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound("There is no such invitation.")
    if invitation.accepted_at is not None:
        raise Conflict(f"{invitation.email} has accepted already.")
    if invitation.revoked_at is not None:
        raise Conflict("This invitation has been taken back or replaced already.")
    return invitation


def _is_over(invitation: Invitation, now: datetime) -> bool:
    answered = invitation.accepted_at is not None or invitation.revoked_at is not None
    return answered or invitation.expires_at <= now


def _address(email: str) -> str:
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError:
        raise _invalid("email", "Give one e-mail address, as in ada@acme.example.") from None
    if len(address) > 254:
        raise _invalid("email", "An address has at most 254 characters.")
    return address


def _invalid(name: str, message: str) -> InvalidInput:
    return InvalidInput(message, errors=[{"field": name, "message": message}])


def _secret_of(token: str) -> str:
    return token.partition(".")[0]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _mark(secret: str) -> str:
    return signing.Signer(salt=_PROOF).signature(secret)
