"""Staff, signed in to the console. Models are imported late: this file is read before Django is set up."""

from typing import TYPE_CHECKING

import pytest
from django.test import Client

if TYPE_CHECKING:
    from tenants.models import User


@pytest.fixture
def staff(committed: None) -> "User":
    from tenants.models import User
    from tests.factories import PASSWORD

    return User.objects.create_superuser("ops@weir.example", PASSWORD)


@pytest.fixture
def console(staff: "User") -> Client:
    """A browser of somebody of ours who is signed in."""
    client = Client()
    client.force_login(staff)
    return client
