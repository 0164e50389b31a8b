"""Who may use which route: every route there is, tried with every role and every kind of key, against the one table.

Nothing here names a route. A new one is found, and fails unless it has a permission or is on the list of public ones.
"""

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone

from tenants.models import ApiKey
from tenants.operations.tenants import suspend_tenant
from tenants.permissions import PERMISSIONS, RANKS, role_allows, scopes_allow
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import ACTOR, make_key
from tests.invariants.routes import EMPTY, HTTP, PUBLIC, Route, every_route
from tests.invariants.world import CHOICES, World, browser_of, end_key

ROUTES = every_route()
PAGES = [route for route in ROUTES if route.kind == "page"]
CALLS = [route for route in ROUTES if route.kind == "api"]
SCOPES = [
    combination
    for size in (1, 2, 3)
    for combination in itertools.combinations([scope.value for scope in ApiKey.Scope], size)
]
REFUSED_BY_THE_TABLE = {"missing_scope", "live_key_needed", "people_only"}
# Pages of people's own accounts that a stranger may see.
OPEN_ACCOUNT_PAGES = {
    "/accounts/login/", "/accounts/signup/", "/accounts/logout/", "/accounts/inactive/", "/accounts/confirm-email/",
    "/accounts/password/reset/", "/accounts/password/reset/done/", "/accounts/password/reset/key/done/",
    "/accounts/deleted/", "/accounts/tenant-deleted/",
}  # fmt: skip


def tried(send: Callable[..., Any], method: str, address: str) -> Any:
    """The answer; whatever was done for it is undone."""
    block = transaction.atomic()
    block._from_testcase = True  # a request that finds another open transaction ends it
    with block:
        answer = send(method, address)
        transaction.set_rollback(True)
    return answer


@pytest.fixture
def mine(db):
    return World("Acme", "canary-a")


@pytest.fixture
def theirs(db):
    return World("Globex", "canary-b")


def unprotected(routes: list[Route]) -> list[str]:
    return [route.path for route in routes if not route.kind]


def test_every_route_has_a_permission_or_is_on_the_short_list():
    assert unprotected(ROUTES) == [], (
        "Give it a permission (tenant_page, ApiView.resource) or a line in PUBLIC."
    )
    assert len(CALLS) > 20
    assert len(PAGES) > 20
    for route in CALLS + PAGES:
        assert route.permissions, route.path
        assert set(route.permissions.values()) <= PERMISSIONS.keys(), route.path


def test_the_list_of_public_routes_names_what_there_is():
    assert set(PUBLIC) == {route.path for route in ROUTES if route.kind == "public"}


def test_a_new_route_without_a_permission_is_found():
    assert unprotected(every_route([path("app/new/<uuid:run_id>/", lambda request: HttpResponse())])) == [
        "/app/new/<uuid:run_id>/"
    ]


def test_a_page_is_open_from_its_role_on(mine: World, theirs: World):
    browsers = {role: mine.browser(role) for role in RANKS}
    stranger = browser_of(theirs.owner)
    for route in PAGES:
        address = route.at({name: mine.value_of(name, kind) for name, kind in route.parameters.items()})
        for method, permission in route.permissions.items():
            nobody = tried(Client().generic, method, address)
            if nobody.status_code == 405:
                continue  # this page is not for looking at, whoever asks
            where = f"{method} {route.path}"
            assert (nobody.status_code, nobody["Location"][:17]) == (302, "/accounts/login/?"), where
            for role, browser in browsers.items():
                status = tried(browser.generic, method, address).status_code
                least = "admin" if role == "owner" else role
                if not role_allows(least, permission, is_owner=role == "owner"):
                    assert status == 403, f"{where} as {role}: {status}"
                else:
                    shut = (401, 403) if route.path in EMPTY else (401, 403, 404)
                    assert status not in shut, f"{where} as {role}: {status}"
                    assert status < 500, f"{where} as {role}: {status}"
            refused = tried(stranger.generic, method, address)
            if set(route.parameters) - CHOICES.keys():
                assert refused.status_code == 404, where
            if not refused.streaming:
                assert mine.canary not in refused.content.decode(), where


def test_a_call_is_open_to_keys_whose_scopes_reach_it(mine: World, theirs: World):
    keys = {
        (scopes, livemode): make_key(mine.tenant, scopes=scopes, livemode=livemode)
        for scopes in SCOPES
        for livemode in (True, False)
    }
    for route in CALLS:
        address = route.at({name: mine.value_of(name, kind) for name, kind in route.parameters.items()})
        for method, permission in route.permissions.items():
            for (scopes, livemode), plain in keys.items():
                answer = tried(Api(plain).send, method, address)
                who = f"{method} {route.path} with {'live' if livemode else 'test'} {'+'.join(scopes)}"
                assert_fits_the_table(answer, permission, scopes, livemode=livemode, who=who)
            refused = tried(Api(theirs.key).send, method, address)
            # 422 for a body that is no body, whoever asks; test_routes_foreign_ids.py sends good ones.
            assert not route.parameters or refused.status_code in (404, 422), f"{method} {route.path}"
            if not refused.streaming:
                assert mine.canary not in refused.content.decode(), f"{method} {route.path}"


def assert_fits_the_table(
    answer: Any, permission: str, scopes: tuple[str, ...], *, livemode: bool, who: str
) -> None:
    code = answer.json()["code"] if "problem" in answer.get("Content-Type", "") else ""
    if PERMISSIONS[permission].live_only and not livemode:
        assert (answer.status_code, code) == (403, "live_key_needed"), who
    elif not scopes_allow(scopes, permission):
        assert (answer.status_code, code) == (403, "missing_scope"), who
    else:
        assert answer.status_code not in (401, 405), who
        assert answer.status_code < 500, who
        assert code not in REFUSED_BY_THE_TABLE, who


def test_no_call_is_answered_without_a_key_that_is_good_now(mine: World):
    now = timezone.now()
    over = {"expired": {"expires_at": now - timedelta(seconds=1)}, "revoked": {"revoked_at": now}}
    plain = {name: make_key(mine.tenant, name=name) for name in over}
    for name, changes in over.items():
        end_key(mine.tenant, name, **changes)
    good, suspended = make_key(mine.tenant), make_key(mine.tenant)
    refused = {
        "": "missing_api_key",
        plain["expired"]: "expired_api_key",
        plain["revoked"]: "invalid_api_key",
        good[:-1] + ("A" if good[-1] != "A" else "B"): "invalid_api_key",
        "nonsense": "invalid_api_key",
    }
    asked = [
        (route.at({name: mine.value_of(name, kind) for name, kind in route.parameters.items()}), method)
        for route in CALLS
        for method in route.permissions
    ]
    for address, method in asked:
        for key, code in refused.items():
            answer = tried(Api(key).send, method, address)
            assert (answer.status_code, answer.json()["code"]) == (401, code), f"{method} {address}"
            assert answer["WWW-Authenticate"] == 'Bearer realm="weir"'
    with tenant_scope(mine.tenant):
        suspend_tenant(actor=ACTOR)
    for address, method in asked:
        answer = tried(Api(suspended).send, method, address)
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended"), f"{method} {address}"


def test_a_method_that_a_call_does_not_have_is_refused_as_such(mine: World):
    for route in CALLS:
        address = route.at({name: mine.value_of(name, kind) for name, kind in route.parameters.items()})
        for method in {name.upper() for name in HTTP} - route.permissions.keys():
            answer = tried(Api(mine.key).send, method, address)
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed"), address


def test_a_signed_in_person_is_nobody_to_the_api_and_a_key_is_nobody_to_the_pages(mine: World):
    assert mine.browser("owner").get("/api/v1/runs").status_code == 401
    answer = Client(headers={"Authorization": f"Bearer {mine.key}"}).get("/app/runs/")
    assert (answer.status_code, answer["Location"][:17]) == (302, "/accounts/login/?")


def test_what_is_beside_the_tenant_s_pages_is_shut_to_strangers(db):
    """Account pages but the ones for signing in: sent there, or not there. The console: tests/admin/test_access.py."""
    for route in ROUTES:
        if route.kind != "account" or route.parameters or "(?P" in route.path:
            continue
        if route.path in OPEN_ACCOUNT_PAGES:
            continue
        for method in ("GET", "POST"):
            answer = tried(Client().generic, method, route.path)
            where = f"{method} {route.path}: {answer.status_code}"
            if answer.status_code == 302:
                assert answer["Location"].startswith("/accounts/"), where
            else:
                assert answer.status_code in (400, 401, 403, 404, 405), where
