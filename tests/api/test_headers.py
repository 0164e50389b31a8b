"""What answers say to browsers, caches and clients of other days."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from django.test import Client, override_settings

from config.deploy_check import production_values
from config.env import BASE_DIR
from config.variables import origins
from integrations.webhooks.operations import create_endpoint
from tenants.api.deprecation import Going
from tenants.api.views import TenantView
from tenants.scope import tenant_scope
from tests.factories import ACTOR, PASSWORD

CORS = ["corsheaders.middleware.CorsMiddleware"]
ORIGIN = "https://crm.example"
PREFLIGHT = {
    "Origin": ORIGIN, "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,idempotency-key",
}  # fmt: skip


def test_no_other_origin_is_let_in_while_none_is_named(api):
    answer = api.get("/tenant", Origin=ORIGIN)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    asked = Client().options("/api/v1/runs", headers=PREFLIGHT)
    assert asked.status_code in (401, 405)
    assert "Access-Control-Allow-Origin" not in asked


def test_a_named_origin_may_call_the_api_and_nothing_else(api, settings):
    with override_settings(MIDDLEWARE=[*CORS, *settings.MIDDLEWARE], CORS_ALLOWED_ORIGINS=[ORIGIN]):
        answer = api.get("/tenant", Origin=ORIGIN)
        assert answer["Access-Control-Allow-Origin"] == ORIGIN
        assert "X-Request-Id" in answer["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer
        asked = Client().options("/api/v1/runs", headers=PREFLIGHT)
        assert (asked.status_code, asked["Access-Control-Allow-Origin"]) == (200, ORIGIN)
        assert "idempotency-key" in asked["Access-Control-Allow-Headers"]
        for origin in ("https://evil.example", "null", f"{ORIGIN}.evil.example", "http://crm.example"):
            assert "Access-Control-Allow-Origin" not in api.get("/tenant", Origin=origin)
        page = Client().get("/accounts/login/", headers={"Origin": ORIGIN})
        assert "Access-Control-Allow-Origin" not in page


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "https://*.example.com",
        "crm.example",
        "https://a.example/path",
        "ftp://a.example",
        "https://u@a.example",
    ],
)
def test_what_is_no_origin_stops_the_start(value):
    with pytest.raises(ValueError, match=r"origin"):
        origins(value, "production")


def test_origins_are_https_where_it_counts():
    assert origins("https://a.example, https://b.example:8443", "production") == [
        "https://a.example", "https://b.example:8443",
    ]  # fmt: skip
    assert origins("http://localhost:3000", "local") == ["http://localhost:3000"]
    with pytest.raises(ValueError, match="origin"):
        origins("http://a.example", "production")


@pytest.mark.parametrize("path", ["/tenant", "/runs", "/nope", "/runs/1"])
def test_nobody_stores_what_the_api_answers_or_takes_it_for_something_else(api, path):
    answer = api.get(path)
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer["X-Frame-Options"] == "DENY"
    assert not answer.cookies


def test_a_route_that_is_to_go_says_so(api, monkeypatch):
    assert "Deprecation" not in api.get("/tenant")
    going = Going(
        since=datetime(2026, 3, 1, tzinfo=UTC),
        gone=datetime(2027, 3, 1, tzinfo=UTC),
        instead="/api/v2/tenant",
    )
    monkeypatch.setattr(TenantView, "going", going)
    answer = api.get("/tenant")
    assert answer["Deprecation"] == "@1772323200"
    assert answer["Sunset"] == "Mon, 01 Mar 2027 00:00:00 GMT"
    assert '</api/docs/changelog/>; rel="deprecation"' in answer["Link"]
    assert '</api/v2/tenant>; rel="successor-version"' in answer["Link"]


ASK = """
import json
from django.conf import settings
import django; django.setup()
from django.test import RequestFactory
from django.http import HttpResponse
from django.middleware.security import SecurityMiddleware
from django.middleware.csrf import CsrfViewMiddleware, get_token

secure = SecurityMiddleware(lambda request: HttpResponse())
over = secure(RequestFactory(SERVER_NAME="weir.invalid").get("/api/v1/tenant", secure=True))
plain = secure(RequestFactory(SERVER_NAME="weir.invalid").get("/api/v1/tenant"))
def view(request):
    get_token(request)
    return HttpResponse()
cookies = CsrfViewMiddleware(view)(RequestFactory(SERVER_NAME="weir.invalid").get("/", secure=True)).cookies
print(json.dumps({
    "hsts": over["Strict-Transport-Security"], "plain": [plain.status_code, plain.get("Location")],
    "cookies": {name: {"secure": bool(c["secure"]), "domain": c["domain"], "path": c["path"]}
                for name, c in cookies.items()},
    "session": [settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_HTTPONLY,
                settings.SESSION_COOKIE_SAMESITE, settings.SESSION_COOKIE_DOMAIN, settings.SESSION_COOKIE_PATH],
    "cors": [m for m in settings.MIDDLEWARE if "cors" in m], "origins": settings.CORS_ALLOWED_ORIGINS,
}))
"""


def in_production(**environment):
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    values = keep | production_values() | environment | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=BASE_DIR, env=values, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_production_is_https_alone_with_cookies_of_its_own_host():
    found = in_production()
    assert found["hsts"] == "max-age=31536000; includeSubDomains; preload"
    assert found["plain"][0] == 301
    assert found["plain"][1].startswith("https://")
    assert found["cookies"] == {"__Host-weir_csrf": {"secure": True, "domain": "", "path": "/"}}
    assert found["session"] == ["__Host-weir_session", True, True, "Lax", None, "/"]
    assert (found["cors"], found["origins"]) == ([], [])


def test_pages_set_no_cookie_but_those_that_bear_the_hosts_prefix(tenant, owner, api_key, settings):
    browser, key = Client(), settings.SESSION_COOKIE_NAME
    seen = set(browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD}).cookies)
    with tenant_scope(tenant):
        endpoint, _ = create_endpoint(url="https://8.8.8.8/weir", actor=ACTOR)
    changed = {"url": endpoint.url, "description": "CRM", "events": endpoint.events}
    said = browser.post(f"/app/developers/webhooks/{endpoint.pk}/", changed)
    assert said.status_code == 302
    seen |= set(said.cookies)
    assert "Saved." in browser.get(said["Location"]).content.decode()
    for path, data in (
        ("/app/suppressions/", {"values": "x@y.example", "value": "x@y.example"}), ("/accounts/email/", {}),
        ("/accounts/logout/", {}), ("/accounts/login/", {"login": "nobody@x.example", "password": "x"}),
    ):  # fmt: skip
        seen |= set(browser.post(path, data).cookies) | set(browser.get(path).cookies)
    assert seen == {key, settings.CSRF_COOKIE_NAME}


def test_production_lets_in_the_origins_that_it_names():
    found = in_production(WEIR_CORS_ORIGINS=ORIGIN)
    assert (found["cors"], found["origins"]) == (CORS, [ORIGIN])
