"""What asks again who one is: who just signed in is not asked, who sits at an old session is."""

import time
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from tenants.web.confirmed import recently_confirmed
from tests.factories import PASSWORD

if TYPE_CHECKING:
    from tenants.models import User


def go(client: Client, user: "User", method: str = "GET", **options: Any) -> Any:
    """What a guarded page answers to the person at this client."""

    @recently_confirmed(**options)
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("done")

    request = RequestFactory().generic(method, "/app/settings/?tab=2")
    request.user, request.session = user, client.session
    return page(request)


def test_who_just_signed_in_is_not_asked(client: Client, owner: "User"):
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    assert go(client, owner).content == b"done"


def test_an_old_session_is_asked_and_comes_back(client: Client, owner: "User"):
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    session = client.session
    session["account_authentication_methods"][0]["at"] = time.time() - 15 * 60 - 1
    session.save()
    answer = go(client, owner)
    assert answer["Location"] == "/accounts/reauthenticate/?next=%2Fapp%2Fsettings%2F%3Ftab%3D2"
    assert go(client, owner, "POST", back="vendors")["Location"].endswith("?next=%2Fapp%2Fvendors%2F")
    back = client.post(answer["Location"], {"password": PASSWORD})
    assert back["Location"] == "/app/settings/?tab=2"
    assert go(client, owner).content == b"done"


def test_the_proof_of_somebody_else_does_not_count(client: Client, owner: "User"):
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    session = client.session
    session["account_authentication_methods_user"] = "018f0000-0000-7000-8000-000000000000"
    session.save()
    assert go(client, owner).status_code == 302


@pytest.mark.django_db
def test_a_stranger_is_not_confirmed(client: Client):
    from tenants.web.confirmed import is_confirmed

    request = RequestFactory().get("/")
    request.user, request.session = AnonymousUser(), client.session
    assert not is_confirmed(request)
