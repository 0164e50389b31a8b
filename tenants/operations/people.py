"""Accounts of people, their sessions, and the tenant that somebody starts for themselves."""

import structlog
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from tenants import audit
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.models import Tenant, User
from tenants.operations.tenants import create_tenant
from tenants.queries import tenants_of
from tenants.scope import tenant_scope

_log = structlog.stdlib.get_logger("weir.accounts")


def create_user(*, email: str, password: str | None, name: str = "") -> User:
    """Create a person whose address an operator vouches for: it counts as verified.

    Raises InvalidInput for a bad address and Conflict when the address is taken.
    """
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidInput(
            f"“{email[:80]}” is not an e-mail address.",
            errors=[{"field": "email", "message": "Not an e-mail address."}],
        ) from None
    if User.objects.filter(email=email.lower()).exists():
        raise Conflict("There is an account with this e-mail address already.")
    with transaction.atomic():
        user = User.objects.create_user(email, password, name=name)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def start_tenant(*, name: str, owner: User, actor: str) -> Tenant:
    """Create the first tenant of somebody who signed up, on the plan `free`.

    Raises InvalidInput for a bad name, and Conflict when they belong to a tenant already (a button pressed twice, say).
    """
    with transaction.atomic():
        # An account is deleted under the same lock.
        if not User.objects.select_for_update().filter(pk=owner.pk).exists():
            raise Conflict("This account has been deleted.")
        if tenants_of(owner.pk):
            raise Conflict("You belong to a tenant already.")
        return create_tenant(name=name, plan="free", owner=owner, actor=actor)


def end_session(*, session_id: int, user: User) -> None:
    """Sign one browser of a person out, at once. Raises NotFound when it is not theirs or has ended."""
    session = UserSession.objects.filter(pk=session_id, user=user).first()
    if session is None:
        raise NotFound("This session has ended already.")
    session.end()


def end_sessions(*, user: User) -> int:
    """Sign a person out everywhere, at once; returns in how many browsers."""
    sessions = UserSession.objects.filter(user=user)
    keys = list(sessions.values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    sessions.delete()
    return len(keys)


def remove_second_factors(*, user: User, actor: str) -> int:
    """For somebody who lost them all: remove every second factor, and sign the person out everywhere.

    The next sign-in takes the password alone, so whoever asks has to be known to be that person. Returns how many there
    were. Raises NotFound when there are none.
    """
    with transaction.atomic():
        removed, _ = Authenticator.objects.filter(user=user).delete()
        if not removed:
            raise NotFound("There is no second factor to remove.")
        for session in UserSession.objects.filter(user=user):
            session.end()
        for tenant in tenants_of(user.pk):
            with tenant_scope(tenant.tenant_id):
                audit.record(actor=actor, verb="member.second_factors_removed", subject=user, user=user.email)
    _log.warning("second_factors_removed", actor=actor, user_id=str(user.pk), removed=removed)
    return removed
