"""Whoever has no valid credential is counted by address, whatever it says of itself, with Redis or without."""

import pytest
from django.core.cache import caches
from django.test import Client

from config.cache import SteadyRedisCache
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import PASSWORD, make_key

pytestmark = pytest.mark.django_db
LIMIT = 30


@pytest.fixture(autouse=True)
def _as_in_production(settings):
    settings.UNKNOWN_CALLERS_PER_MINUTE = LIMIT


def statuses(ask, times=LIMIT + 2) -> list[int]:
    return [ask(number).status_code for number in range(times)]


def test_1000_requests_from_one_peer_are_limited_as_one_whatever_they_say_they_were_sent_by():
    peer = Client(REMOTE_ADDR="192.0.2.1")

    def ask(number):
        forwarded = f"198.51.{number // 250}.{number % 250}"
        return peer.get(
            "/api/v1/runs",
            headers={
                "X-Forwarded-For": forwarded, "X-Real-IP": forwarded, "Forwarded": f"for={forwarded}",
                "CF-Connecting-IP": forwarded, "True-Client-IP": forwarded,
            },
        )  # fmt: skip

    # A minute may begin in between: the window is the clock's.
    found = statuses(ask, 1_000)
    assert set(found) == {401, 429}
    assert LIMIT <= found.count(401) <= 2 * LIMIT


def test_behind_a_proxy_of_ours_each_caller_is_counted_by_itself(settings):
    settings.TRUSTED_PROXIES = 1
    proxy = Client()

    def ask(said):
        return proxy.get("/api/v1/runs", headers={"X-Forwarded-For": said})

    assert {ask(f"198.51.100.{number}").status_code for number in range(LIMIT + 5)} == {401}
    # What stands before our proxy's own word is hearsay.
    assert 429 in statuses(lambda number: ask(f"198.51.100.{number}, 203.0.113.7"), 2 * LIMIT + 2)


def test_addresses_of_one_ipv6_network_are_one_caller():
    found = statuses(lambda n: Client(REMOTE_ADDR=f"2001:db8:1:2::{n:x}").get("/api/v1/runs"), 2 * LIMIT + 2)
    assert 429 in found


@pytest.mark.parametrize(
    "key", ["", "wk_live_short", "wk_live_" + "x" * 48], ids=["no key", "no shape", "nobody's"]
)
def test_without_a_valid_key_the_api_says_which_limit_and_when_to_come_back(key):
    api = Api(key)
    answers = [api.get("/runs") for _ in range(2 * LIMIT + 2)]
    refused = next(answer for answer in answers if answer.status_code == 429)
    problem = assert_problem(refused, 429, "too_many_unknown")
    assert "“address”" in problem["detail"]
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused["RateLimit-Policy"] == '"address";q=30;w=60'


def test_a_revoked_key_is_no_credential(tenant, api_key):
    from tenants.models import ApiKey
    from tenants.operations.keys import revoke_api_key
    from tenants.scope import tenant_scope

    with tenant_scope(tenant):
        revoke_api_key(key_id=ApiKey.objects.get().pk, actor="system:tests")
    assert 429 in statuses(lambda _: Api(api_key).get("/runs"), 2 * LIMIT + 2)


@pytest.mark.parametrize("path", ["/runs", "/nothing/here"])
def test_with_a_valid_key_nobody_is_counted_even_where_others_of_the_address_are_refused(tenant, path):
    statuses(lambda _: Api("").get("/runs"), 2 * LIMIT + 2)
    api = Api(make_key(tenant))
    assert 429 not in statuses(lambda _: api.get(path))


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/login/",
        "/accounts/signup/",
        "/admin/",
        "/admin/login/",
        "/app/billing",
        "/api/schema/?x",
        "/api/docs/",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "junk"}, {"Authorization": "Bearer junk"}])
def test_pages_are_limited_too_and_say_what_to_do_whatever_headers_come(path, headers):
    found = [Client().get(path, headers=headers) for _ in range(LIMIT * 2 + 2)]
    refused = next(answer for answer in found if answer.status_code == 429)
    assert "Retry-After" in refused
    if not path.startswith("/api/"):
        assert "Wait a few minutes" in refused.content.decode()


def test_each_area_is_counted_by_itself():
    statuses(lambda _: Client().get("/accounts/login/"), 2 * LIMIT + 2)
    assert Client().get("/admin/").status_code == 302
    assert Client().get("/api/v1/runs").status_code == 401


def test_who_is_signed_in_is_not_counted(owner):
    browser = Client()
    assert browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD}).status_code == 302
    assert 429 not in statuses(lambda _: browser.get("/accounts/email/"))


def test_it_does_not_open_when_redis_is_away(monkeypatch):
    cache = caches["default"]
    assert isinstance(cache, SteadyRedisCache)
    monkeypatch.setattr(SteadyRedisCache, "_rest_until", float("inf"))
    assert 429 in statuses(lambda _: Client().get("/api/v1/runs"), 2 * LIMIT + 2)
