"""Accounts of people."""

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from tenants.errors import Conflict, InvalidInput
from tenants.models import User


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
