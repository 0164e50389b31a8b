"""Accounts of people, their sessions, and the tenant that somebody starts for themselves."""

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.models import Tenant, User
from tenants.operations.tenants import create_tenant
from tenants.queries import tenants_of


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
        User.objects.select_for_update().get(pk=owner.pk)
        if tenants_of(owner.pk):
            raise Conflict("You belong to a tenant already.")
        return create_tenant(name=name, plan="free", owner=owner, actor=actor)


def end_session(*, session_id: int, user: User) -> None:
    """Sign one browser of a person out, at once. Raises NotFound when it is not theirs or has ended."""
    session = UserSession.objects.filter(pk=session_id, user=user).first()
    if session is None:
        raise NotFound("This session has ended already.")
    session.end()
