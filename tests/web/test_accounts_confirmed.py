"""What asks again who one is: who just signed in is not asked, who sits at an old session is."""

import time
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from tenants.web import confirmed
from tenants.web.confirmed import recently_confirmed
from tests.factories import PASSWORD

if TYPE_CHECKING:
    from tenants.models import User


def go(client: Client, user: "User", method: str = "GET", *, htmx: bool = False, **options: Any) -> Any:
    """What a guarded page answers to the person at this client."""

    @recently_confirmed(**options)
    def page(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        """A guarded page."""
        return HttpResponse(f"done {args} {named}")

    assert (page.__name__, page.__doc__, page.wants_confirmation) == ("page", "A guarded page.", True)
    request = RequestFactory().generic(method, "/app/settings/?tab=2")
    request.user, request.session, request.htmx = user, client.session, htmx
    return page(request, 7, word="x")


DONE = b"done (7,) {'word': 'x'}"


def an_old_session(client: Client, user: "User", age: float = 15 * 60 + 1) -> None:
    """A session of somebody who proved that many seconds ago who they are."""
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    session = client.session
    session["account_authentication_methods"][0]["at"] = time.time() - age
    session.save()


def test_who_just_signed_in_is_not_asked(client: Client, owner: "User"):
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    assert go(client, owner).content == DONE


def test_an_old_session_is_asked_and_comes_back(client: Client, owner: "User"):
    an_old_session(client, owner)
    answer = go(client, owner)
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/reauthenticate/?next=%2Fapp%2Fsettings%2F%3Ftab%3D2"
    assert go(client, owner, "POST", back="vendors")["Location"].endswith("?next=%2Fapp%2Fvendors%2F")
    back = client.post(answer["Location"], {"password": PASSWORD})
    assert back["Location"] == "/app/settings/?tab=2"
    assert go(client, owner).content == DONE


def test_the_proof_of_somebody_else_does_not_count(client: Client, owner: "User"):
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    session = client.session
    session["account_authentication_methods_user"] = "018f0000-0000-7000-8000-000000000000"
    session.save()
    assert go(client, owner).status_code == 302


def test_a_fragment_makes_the_whole_page_ask(client: Client, owner: "User"):
    an_old_session(client, owner)
    answer = go(client, owner, "POST", htmx=True, back="vendors")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["HX-Redirect"] == "/accounts/reauthenticate/?next=%2Fapp%2Fvendors%2F"


def test_the_proof_lasts_for_less_than_so_long(
    client: Client, owner: "User", settings: Any, monkeypatch: pytest.MonkeyPatch
):
    an_old_session(client, owner, age=0)
    at = client.session["account_authentication_methods"][0]["at"]
    monkeypatch.setattr(confirmed.time, "time", lambda: at + 899.9)
    assert go(client, owner).content == DONE
    monkeypatch.setattr(confirmed.time, "time", lambda: at + 900)
    assert go(client, owner).status_code == 302
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 901
    assert go(client, owner).content == DONE


def test_the_latest_proof_counts(client: Client, owner: "User"):
    an_old_session(client, owner)
    session = client.session
    session["account_authentication_methods"].append({"method": "password", "at": time.time(), "email": "x"})
    session.save()
    assert go(client, owner).content == DONE


def test_who_has_no_way_to_prove_it_is_told_to_get_one(client: Client, owner: "User"):
    an_old_session(client, owner)
    owner.set_unusable_password()
    with pytest.raises(PermissionDenied) as told:
        go(client, owner)
    assert str(told.value) == "Set a password first (“Forgot your password?”): this step asks for it."


@pytest.mark.django_db
def test_a_stranger_is_not_confirmed(client: Client):
    request = RequestFactory().get("/")
    request.user, request.session = AnonymousUser(), client.session
    assert not confirmed.is_confirmed(request)
