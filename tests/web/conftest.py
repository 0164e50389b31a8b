"""People of one tenant in a browser without a browser, and a run to look at."""

import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

if TYPE_CHECKING:
    from tenants.models import Tenant, User
    from workflows.models import Run

SignIn = Callable[..., Client]


@pytest.fixture
def sign_in() -> SignIn:
    """`sign_in(user)`: a client with that person's session. The password is not the subject here.

    `sign_in(user, confirmed=True)`: they proved a moment ago who they are (tenants/web/confirmed.py).
    """

    def signed_in(user: "User", *, confirmed: bool = False) -> Client:
        client = Client()
        client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        if confirmed:
            session = client.session
            session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
            session["account_authentication_methods_user"] = str(user.pk)
            session.save()
        return client

    return signed_in


@pytest.fixture
def admin(sign_in: SignIn, owner: "User") -> Client:
    return sign_in(owner)


@pytest.fixture
def viewer(sign_in: SignIn, tenant: "Tenant") -> Client:
    from tests.factories import make_user

    return sign_in(make_user(tenant, role="viewer"))


@pytest.fixture
def editor(sign_in: SignIn, tenant: "Tenant") -> Client:
    from tests.factories import make_user

    return sign_in(make_user(tenant, role="editor"))


@pytest.fixture
def stranger(sign_in: SignIn, other_tenant: "Tenant") -> Client:
    """Somebody of another tenant."""
    from tests.factories import make_user

    return sign_in(make_user(other_tenant, role="admin"))


@pytest.fixture
def run(tenant: "Tenant") -> "Run":
    """A run of three contacts, one of them faulty, that waits for its vendors."""
    from tests.factories import connect_all, contact, make_run

    connect_all(tenant)
    return make_run(tenant, [contact(1), contact(2), {"first_name": "Nobody"}], name="October leads.csv")


@pytest.fixture
def first_record(tenant: "Tenant", run: "Run") -> uuid.UUID:
    from tenants.scope import tenant_scope
    from workflows.models import Record

    with tenant_scope(tenant):
        record: Any = Record.objects.get(run=run, position=1)
    return record.pk
