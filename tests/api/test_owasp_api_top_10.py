"""OWASP API Security Top 10 (2023): at least one test for each item, named after it; where the rest of it is tried."""

import json
import secrets
import time

import pytest
from django.test import Client

from config.api_urls import urlpatterns
from integrations.connectors import registry
from tenants import api_keys
from tenants.models import ApiKey
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import connect_all, contact, make_connection, make_key, make_run, make_tenant
from tests.integrations.receiver import receiving
from tests.invariants.routes import PUBLIC, every_route
from workflows.models import LaneState, Run


def test_api1_broken_object_level_authorization(api, other_api, tenant, other_tenant):
    """Somebody else's object is not there. Every route and id: tests/invariants/test_routes_foreign_ids.py."""
    connect_all(other_tenant)
    theirs = make_run(other_tenant, [contact(1)])
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/records"), ("GET", "/results.csv"),
    ):  # fmt: skip
        answer = api.send(method, f"/runs/{theirs.pk}{path}", {"priority": 1} if method == "PATCH" else {})
        assert answer.status_code == 404, path
        assert answer.json()["code"] == "not_found"
    assert other_api.get(f"/runs/{theirs.pk}").json()["status"] == "queued"


def test_api2_broken_authentication(api, tenant, django_assert_num_queries):
    """Mutated keys are refused without a query. Revocation, overlap, expiry: tests/api/test_keys_checked.py."""
    good = make_key(tenant)
    for place in range(len(good)):
        bad = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        assert not api_keys.well_formed(bad), place
    with django_assert_num_queries(0):
        for key in (
            good[:-1],
            f"{good}x",
            good.upper(),
            "wk_live_" + secrets.token_urlsafe(40),
            "' OR 1=1 --",
        ):
            assert Client().get("/api/v1/runs", headers={"X-API-Key": key}).status_code == 401
    with tenant_scope(tenant):
        kept = {bytes(row) for row in ApiKey.objects.values_list("digest", flat=True)}
    assert good.encode() not in kept
    assert all(len(digest) == 32 for digest in kept)


def test_api3_broken_object_property_level_authorization(api, tenant):
    """Neither more is written than is declared, nor more shown. All fields: tests/api/test_mass_assignment.py."""
    connect_all(tenant)
    body = {"workflow": "email-waterfall", "records": [contact(1)]}
    for field in ("tenant_id", "livemode", "status", "credits_spent", "created_by"):
        answer = api.post("/runs", {**body, field: "x"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    with tenant_scope(tenant):
        assert not Run.objects.exists()
    shown = str(api.get("/connections").json()) + str(api.get("/keys").json())
    assert not any(name in shown for name in ("key_hash", "digest", "sealed", "'secret':"))


def test_api4_unrestricted_resource_consumption(api, tenant):
    """Everything has a most. Bombs: tests/api/test_bombs.py; requests a second: tests of billing's limits."""
    connect_all(tenant)
    many = {"workflow": "email-waterfall", "records": [{}] * 1_001}
    assert api.post("/runs", many).json()["code"] == "too_many_records"
    for limit in (0, -1, 201, 10**9, "x"):
        assert api.get(f"/runs?limit={limit}").status_code == 422
    assert api.send("POST", "/runs", b"[" * 100_000, Content_Type="application/json").status_code in (
        400,
        413,
    )
    deep = {"workflow": "email-waterfall", "records": [contact(1)], "metadata": {"x": "y" * 20_000}}
    assert api.post("/runs", deep).status_code == 422
    assert api.get("/tenant")["X-RateLimit-Limit"]
    free = Api(make_key(make_tenant(plan="free").tenant))
    refused = next(
        answer for answer in (free.get("/tenant") for _ in range(101)) if answer.status_code != 200
    )
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert int(refused["Retry-After"]) >= 1


def test_api5_broken_function_level_authorization(tenant):
    """A key does what its scopes say. Every route, role and scope: tests/invariants/test_routes_permissions.py."""
    reader = Api(make_key(tenant, scopes=["read"]))
    for method, path in (
        ("POST", "/runs"), ("POST", "/keys"), ("POST", "/connections"), ("PATCH", "/tenant"), ("GET", "/audit"),
        ("POST", "/suppressions"), ("POST", "/workflows"),
    ):  # fmt: skip
        answer = reader.send(method, path, {})
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), path
    writer = Api(make_key(tenant, scopes=["read", "write"]))
    assert writer.post("/keys", {"name": "more", "scopes": ["admin"]}).json()["code"] == "missing_scope"
    admin = Api(make_key(tenant, scopes=["admin"]))
    wider = admin.post("/keys", {"name": "more", "scopes": ["write", "admin"]})
    assert wider.status_code in (403, 422)
    assert Client(headers={"X-API-Key": make_key(tenant)}).get("/admin/").status_code in (302, 403, 404)


def test_api6_unrestricted_access_to_sensitive_business_flows(api, tenant):
    """Spending has a limit that a run cannot pass, a list of people nobody looks up, and happens once.

    The caps under concurrency: tests/workflows/money; twins at the same time: tests/api/test_idempotency.py.
    """
    connect_all(tenant)
    api.post("/suppressions", {"value": "engines.example"})
    body = {
        "workflow": "email-waterfall",
        "records": [contact(1), contact(2, domain="b.example")],
        "credit_limit": 1,
    }
    first = api.post("/runs", body, Idempotency_Key="once")
    assert first.json()["records"]["skipped"] == 1
    assert first.json()["credits"]["limit"] == 1.0
    assert api.post("/runs", body, Idempotency_Key="once").content == first.content
    with tenant_scope(tenant):
        assert Run.objects.count() == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/", "https://[::ffff:127.0.0.1]/", "https://127.0.0.1/", "https://10.0.0.1/",
        "https://2130706433/", "https://0x7f.1/", "https://[64:ff9b::7f00:1]/", "https://localhost/", "file:///etc/passwd",
        "https://user@127.0.0.1/", "gopher://127.0.0.1:6379/_FLUSHALL",
    ],
)  # fmt: skip
def test_api7_server_side_request_forgery(api, settings, url):
    """No address of ours is called for a tenant. Over eighty: tests/integrations/test_webhook_addresses.py."""
    settings.WEBHOOKS_TO_LOOPBACK = False
    answer = api.post("/webhook-endpoints", {"url": url})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"][0]["field"] == "url"


def test_api8_security_misconfiguration(api, settings):
    """Nothing is told that helps nobody. Headers, cookies and origins of production: tests/api/test_headers.py;
    what the server itself adds: tests/api/test_server.py."""
    assert not settings.DEBUG
    for path in ("/runs/nope", "/tenant", "/keys"):
        answer = api.get(path)
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Cache-Control"] == "no-store"
        assert "X-Powered-By" not in answer
        assert "Traceback" not in answer.content.decode()
    for method in ("TRACE", "CONNECT", "OPTIONS", "PUT"):
        assert api.send(method, "/runs").status_code == 405
    assert (
        Client().get("/api/v1/.env").status_code == Client().get("/api/v1/../.git/config").status_code == 404
    )


def test_api9_improper_inventory_management(db):
    """What is served is described, and nothing else is: there is one version, and no route beside the map."""
    described = json.loads(Client().get("/api/schema/?format=json").content)["paths"]
    routed = {
        "/api/v1/" + str(p.pattern).replace("<uuid:", "{").replace(">", "}")
        for p in urlpatterns
        if hasattr(p.callback, "view_class")
    }
    assert set(described) == routed
    for path in (
        "/api/",
        "/api/v0/runs",
        "/api/v2/runs",
        "/api/internal/",
        "/api/v1/admin",
        "/v1/runs",
        "/graphql",
    ):
        assert Client().get(path).status_code == 404, path
    assert all(route.kind for route in every_route()), (
        "every route has a permission or is on the list of public ones"
    )
    assert set(PUBLIC) >= {route.path for route in every_route() if route.kind == "public"}


NONSENSE = (
    b"", b"<html>Sign in</html>", b'{"error":', b"[]", b"null", b"7", b'"text"', b"\xff\xfe{", b"[" * 5_000,
    b'{"response": null, "data": [], "credits": {}, "Credits": [], "remaining_credits": "many"}',
    b'{"credits": 1e400, "Credits": -1e308, "remaining_credits": 99999999999999999999999999}',
)  # fmt: skip


@pytest.mark.parametrize("provider", sorted(connector.provider for connector in registry.offered()))
def test_api10_unsafe_consumption_of_apis(committed, api, tenant, settings, provider):
    """A vendor that answers nonsense costs a verdict, not a fault. Redirects, endless and lying bodies, drips:
    tests/integrations/test_vendor_client.py; what its words do on pages: tests/journeys/test_hostile_vendor.py."""
    secret = f"key-of-{provider}-0815"
    made = make_connection(tenant, provider, secret=secret)
    with receiving() as vendor:
        settings.SANDBOX_URL = vendor.url.removesuffix("/hook")
        for status in (200, 401, 500):
            for body in NONSENSE:
                vendor.always(status, body, Content_Type="application/json")
                with tenant_scope(tenant):
                    LaneState.objects.update(balance_asked_at=None)
                began = time.monotonic()
                answer = api.post(f"/connections/{made.pk}/test")
                assert answer.status_code == 200, (status, body)
                said = answer.json()
                assert said["ok"] is False or status == 200, (status, body)
                assert isinstance(said["connection"]["balance"], float | int | None), (status, body)
                assert secret not in answer.content.decode()
                assert time.monotonic() - began < 20
        assert len(vendor.got) >= 3 * len(NONSENSE)
