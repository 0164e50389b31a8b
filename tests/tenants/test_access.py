"""The first line of every page under /app/: who gets in, who is sent away and what they are told."""

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import timezone

from tenants.errors import Conflict
from tenants.queries import TenantOfUser
from tenants.web.access import actor, allows, tenant_page


def a_request(
    method: str = "GET",
    *,
    role: str = "viewer",
    is_owner: bool = False,
    signed_in: bool = True,
    **options: Any,
) -> Any:
    request: Any = RequestFactory().generic(method, "/app/keys/?page=2")
    request.user = SimpleNamespace(is_authenticated=signed_in, email="ada@acme.example", pk=uuid.uuid4())
    request.membership = TenantOfUser(uuid.uuid4(), "Acme", "pro", "active", role, is_owner)
    request.memberships = [request.membership]
    request.htmx = options.get("htmx", False)
    request.COOKIES.update(options.get("cookies", {}))
    return request


def keys_page() -> Any:
    @tenant_page("keys.read", post="keys.change")
    def keys(request: Any, *args: Any, **named: Any) -> HttpResponse:
        """The keys."""
        return HttpResponse(f"{args} {named}")

    return keys


def runs_page() -> Any:
    @tenant_page("runs.change")
    def runs(request: Any) -> HttpResponse:
        return HttpResponse("done")

    return runs


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_takes_what_the_page_names(method: str):
    assert keys_page()(a_request(method, role="viewer")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "STRANGE"])
def test_any_other_method_takes_what_the_form_takes(method: str):
    assert keys_page()(a_request(method, role="admin")).status_code == 200
    with pytest.raises(PermissionDenied):
        keys_page()(a_request(method, role="editor"))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_word_about_forms_they_take_what_the_page_takes(method: str):
    assert runs_page()(a_request(method, role="editor")).content == b"done"
    with pytest.raises(PermissionDenied):
        runs_page()(a_request(method, role="viewer"))


def test_who_is_refused_is_told_what_it_takes_and_whom_to_ask():
    with pytest.raises(PermissionDenied) as told:
        keys_page()(a_request("POST", role="editor"))
    assert str(told.value) == (
        "To create, rotate and revoke API keys takes the role “admin”; you are editor of Acme. Ask an admin of it."
    )


def test_the_owner_reaches_further_than_administrators():
    assert allows(a_request(role="admin", is_owner=True), "tenant.delete")
    assert not allows(a_request(role="admin"), "tenant.delete")


def test_the_view_gets_what_the_address_holds_and_says_what_it_takes():
    keys, runs = keys_page(), runs_page()
    assert keys(a_request(), 1, name="x").content == b"(1,) {'name': 'x'}"
    assert keys.permissions == {"GET": "keys.read", "POST": "keys.change"}
    assert runs.permissions == {"GET": "runs.change", "POST": "runs.change"}
    assert (keys.__name__, keys.__doc__) == ("keys", "The keys.")


@pytest.mark.parametrize(
    "names", [{"permission": "keys.fly"}, {"permission": "keys.read", "post": "keys.fly"}]
)
def test_a_permission_that_is_not_in_the_table_stops_the_start(names: dict[str, str]):
    with pytest.raises(KeyError, match=r"Not in the table of permissions: \{'keys.fly'\}"):
        tenant_page(**names)


def test_a_stranger_signs_in_and_comes_back():
    answer = keys_page()(a_request(signed_in=False))
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/app/keys/%3Fpage%3D2"


def test_a_fragment_makes_the_whole_page_ask_a_stranger():
    answer = keys_page()(a_request(signed_in=False, htmx=True))
    assert answer["HX-Refresh"] == "true"
    assert "Location" not in answer


def test_an_error_of_ours_becomes_a_page(people: Any):
    @tenant_page("keys.read")
    def failing(request: Any) -> HttpResponse:
        raise Conflict("This key has been revoked already.")

    request = a_request(cookies={"weir_theme": "dark"})
    request.user = people.owner
    answer = failing(request)
    text = answer.content.decode()
    assert 'data-theme="dark"' in text  # in the viewer's own frame
    assert answer.status_code == 409
    assert "This key has been revoked already." in text
    assert "<h1>Conflict</h1>" in text
    assert ">409<" in text


@pytest.mark.parametrize(
    ("cookie", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("Nowhere/Atall", "UTC"),
        ("Europe", "UTC"),  # a folder
        ("../../etc/passwd", "UTC"),
        ("/etc/passwd", "UTC"),
        ("", "UTC"),
        ("A" * 5000, "UTC"),
        ("Etc/GMT+5\0", "UTC"),
    ],
)
def test_a_page_is_in_the_viewers_zone_where_that_is_one(cookie: str, zone: str):
    @tenant_page("keys.read")
    def page(request: Any) -> HttpResponse:
        return HttpResponse(timezone.get_current_timezone_name())

    before = timezone.get_current_timezone_name()
    assert page(a_request(cookies={"weir_tz": cookie})).content.decode() == zone
    assert timezone.get_current_timezone_name() == before


def test_the_trail_names_people_by_their_address():
    assert actor(a_request()) == "user:ada@acme.example"
