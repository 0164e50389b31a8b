"""API keys over the API: made, listed, rotated, revoked, and what no key can get for itself."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from tenants.api import authentication
from tenants.models import ApiKey, AuditEvent
from tenants.operations import keys
from tenants.queries import key_owners
from tenants.remembered import Remembered
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import make_key

SHOWN = {
    "id", "name", "hint", "livemode", "scopes", "status", "created_at", "expires_at", "last_used_at", "revoked_at",
    "replaces",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    """Each request asks the database, as it would a second later; tests/api/test_keys_checked.py has the remembering."""
    monkeypatch.setattr(authentication, "OWNERS", Remembered(key_owners, seconds=0, nothing=None))


def only(tenant, **wanted) -> ApiKey:
    with tenant_scope(tenant):
        return ApiKey.objects.get(**wanted)


def test_a_key_is_made_shown_once_and_works(api, tenant):
    answer = api.post("/keys", {"name": "  CRM   sync ", "scopes": ["write", "read"]})
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == SHOWN | {"key"}
    assert (body["name"], body["scopes"], body["livemode"]) == ("CRM sync", ["read", "write"], True)
    assert (body["status"], body["expires_at"], body["replaces"]) == ("active", None, None)
    assert Api(body["key"]).get("/tenant").status_code == 200
    assert_problem(Api(body["key"]).get("/audit"), 403, "missing_scope")
    listed = api.get("/keys")
    assert body["key"] not in listed.content.decode()
    assert [set(row) for row in listed.json()["data"]] == [SHOWN] * 2


@pytest.mark.parametrize("expiry", [{"expires_in": 3600}, {"expires_at": "2090-01-01T00:00:00Z"}])
def test_a_key_can_be_given_an_end(api, expiry):
    made = api.post("/keys", {"name": "x", **expiry}).json()
    assert datetime.fromisoformat(made["expires_at"]) > timezone.now()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "\u202ex"}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes.0"),
        ({"name": "x", "mode": "sandbox"}, "mode"),
        ({"name": "x", "mode": "live", "livemode": False}, "mode"),
        ({"name": "x", "expires_in": 0}, "expires_in"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "expires_at": "2090-01-01T00:00:00Z", "expires_in": 60}, "expires_in"),
        ({"name": "x", "tenant": "other"}, "tenant"),
        ({"name": "x", "digest": "00"}, "digest"),
    ],
)
def test_what_cannot_be_made_is_named(api, body, field):
    refused = assert_problem(api.post("/keys", body), 422, "invalid_input")
    assert [error["field"] for error in refused["errors"]] == [field]


def test_a_key_cannot_give_what_it_does_not_have(tenant):
    admin = Api(make_key(tenant, scopes=["admin"]))
    assert_problem(admin.post("/keys", {"name": "x", "scopes": ["read", "admin"]}), 403, "not_allowed")
    assert admin.post("/keys", {"name": "x"}).json()["scopes"] == ["admin"]
    make_key(tenant, scopes=["write", "admin"], name="more")
    more = only(tenant, name="more")
    assert_problem(admin.post(f"/keys/{more.pk}/rotate", {}), 403, "not_allowed")
    assert only(tenant, pk=more.pk).expires_at is None


def test_a_test_key_makes_and_sees_test_keys_alone(tenant, api, test_key):
    test_api = Api(test_key)
    assert_problem(test_api.post("/keys", {"name": "x", "mode": "live"}), 403, "not_allowed")
    made = test_api.post("/keys", {"name": "x"}).json()
    assert made["livemode"] is False
    assert made["key"].startswith("wk_test_")
    assert [row["livemode"] for row in test_api.get("/keys").json()["data"]] == [False, False]
    assert len(api.get("/keys").json()["data"]) == 3
    live = only(tenant, livemode=True)
    assert_problem(test_api.post(f"/keys/{live.pk}/rotate", {}), 404, "not_found")
    assert_problem(test_api.delete(f"/keys/{live.pk}"), 404, "not_found")
    assert only(tenant, pk=live.pk).revoked_at is None


def test_a_revoked_key_is_refused_and_cannot_be_revoked_again(api, tenant):
    plain = make_key(tenant, name="gone")
    key = only(tenant, name="gone")
    answer = api.delete(f"/keys/{key.pk}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert_problem(Api(plain).get("/tenant"), 401, "invalid_api_key")
    assert_problem(api.delete(f"/keys/{key.pk}"), 409, "conflict")
    assert_problem(api.post(f"/keys/{key.pk}/rotate", {}), 409, "conflict")
    assert [row["status"] for row in api.get("/keys").json()["data"]] == ["active", "revoked"]


def test_an_expired_key_is_refused_and_cannot_be_rotated(api, tenant):
    plain = make_key(tenant, name="old", expires_at=timezone.now() + timedelta(hours=1))
    key = only(tenant, name="old")
    with tenant_scope(tenant):
        ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    assert_problem(Api(plain).get("/tenant"), 401, "expired_api_key")
    assert_problem(api.post(f"/keys/{key.pk}/rotate", {}), 409, "conflict")


def test_old_and_new_both_work_until_the_overlap_ends(api, tenant, api_key):
    own = only(tenant)
    answer = api.post(f"/keys/{own.pk}/rotate")
    assert answer.status_code == 201
    new = answer.json()
    assert (new["replaces"], new["name"], new["scopes"]) == (str(own.pk), own.name, own.scopes)
    assert Api(api_key).get("/tenant").status_code == Api(new["key"]).get("/tenant").status_code == 200
    end = only(tenant, pk=own.pk).expires_at
    assert end
    assert abs((end - timezone.now()).total_seconds() - 86_400) < 60
    with tenant_scope(tenant):
        ApiKey.objects.filter(pk=own.pk).update(expires_at=timezone.now())
    assert_problem(Api(api_key).get("/tenant"), 401, "expired_api_key")
    assert Api(new["key"]).get("/tenant").status_code == 200


def test_without_an_overlap_the_old_key_ends_at_once(api, tenant, api_key):
    new = api.post(f"/keys/{only(tenant).pk}/rotate", {"overlap_seconds": 0}).json()
    assert_problem(Api(api_key).get("/tenant"), 401, "expired_api_key")
    assert Api(new["key"]).get("/tenant").status_code == 200


@pytest.mark.parametrize("overlap", [-1, 30 * 86_400 + 1, "soon", None, 1.5])
def test_an_overlap_that_is_none_is_refused(api, tenant, overlap):
    assert_problem(
        api.post(f"/keys/{only(tenant).pk}/rotate", {"overlap_seconds": overlap}), 422, "invalid_input"
    )


def test_the_overlap_does_not_lengthen_a_key_s_life(api, tenant):
    soon = timezone.now() + timedelta(minutes=5)
    make_key(tenant, name="short", expires_at=soon)
    key = only(tenant, name="short")
    new = api.post(f"/keys/{key.pk}/rotate", {}).json()
    assert only(tenant, pk=key.pk).expires_at == soon
    life = datetime.fromisoformat(new["expires_at"]) - timezone.now()
    assert timedelta(minutes=4) < life <= timedelta(minutes=5)


def test_a_key_is_replaced_once_unless_its_replacement_was_lost_and_revoked(api, tenant):
    make_key(tenant, name="rotated")
    key = only(tenant, name="rotated")
    first = api.post(f"/keys/{key.pk}/rotate", {}).json()
    refused = assert_problem(api.post(f"/keys/{key.pk}/rotate", {}), 409, "conflict")
    assert first["hint"] in refused["detail"]
    api.delete(f"/keys/{first['id']}")
    second = api.post(f"/keys/{key.pk}/rotate", {}).json()
    # The rotated key ends with its overlap; what it was made for was no end at all.
    assert second["expires_at"] is None


def test_a_tenant_has_only_so_many_keys(api, monkeypatch):
    from tenants.operations import keys

    monkeypatch.setattr(keys, "MAX_ACTIVE", 2)
    made = api.post("/keys", {"name": "second"}).json()
    assert_problem(api.post("/keys", {"name": "third"}), 409, "conflict")
    api.delete(f"/keys/{made['id']}")
    assert api.post("/keys", {"name": "third"}).status_code == 201


def test_the_list_has_pages(api, tenant):
    for number in range(5):
        make_key(tenant, name=f"key {number}")
    first = api.get("/keys?limit=4").json()
    rest = api.get(first["next"]).json()
    assert [row["name"] for row in first["data"] + rest["data"]] == [
        "Test key",
        *(f"key {n}" for n in range(5)),
    ]
    assert rest["next"] is None


def test_the_trail_says_which_key_did_what_to_which_and_holds_no_key(api, tenant, api_key):
    caller = only(tenant)
    made = api.post("/keys", {"name": "x"}).json()
    new = api.post(f"/keys/{made['id']}/rotate", {"overlap_seconds": 60}, X_Request_Id="rotate-0001").json()
    api.delete(f"/keys/{new['id']}")
    with tenant_scope(tenant):
        events = list(AuditEvent.objects.filter(actor=f"key:{caller.hint}").order_by("id"))
    assert [(e.verb, e.subject_id) for e in events] == [
        ("key.created", made["id"]),
        ("key.rotated", made["id"]),
        ("key.revoked", new["id"]),
    ]
    assert events[1].detail == {
        "name": "x", "key": made["hint"], "replaced_by": new["hint"], "overlap_seconds": 60,
    }  # fmt: skip
    assert (events[1].request_id, events[1].ip) == ("rotate-0001", "127.0.0.1")
    text = repr([(e.actor, e.detail) for e in events])
    assert not any(plain in text for plain in (made["key"], new["key"], api_key))


def test_the_tenant_s_settings_are_changed_and_the_trail_says_from_what_to_what(api, tenant):
    answer = api.patch("/tenant", {"name": "Acme  Ltd", "monthly_credit_limit": "12.5", "retention_days": 30})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["name"], body["monthly_credit_limit"], body["retention_days"]) == ("Acme Ltd", 12.5, 30)
    assert api.patch("/tenant", {"monthly_credit_limit": None}).json()["monthly_credit_limit"] is None
    assert api.get("/tenant").json()["name"] == "Acme Ltd"
    with tenant_scope(tenant):
        event = AuditEvent.objects.filter(verb="tenant.changed").order_by("id").first()
    assert event.detail["changes"] == {
        "name": ["Acme", "Acme Ltd"], "monthly_credit_limit": [None, 12_500], "retention_days": [90, 30],
    }  # fmt: skip


def test_a_change_that_changes_nothing_leaves_no_trace(api, tenant):
    assert api.patch("/tenant", {"name": "Acme"}).status_code == api.patch("/tenant", {}).status_code == 200
    with tenant_scope(tenant):
        assert not AuditEvent.objects.filter(verb="tenant.changed").exists()


@pytest.mark.parametrize(
    "body",
    [
        {"name": " "}, {"name": "x" * 121}, {"name": "a\0"}, {"monthly_credit_limit": -1},
        {"monthly_credit_limit": ""}, {"retention_days": 0},
        {"monthly_credit_limit": 10**10}, {"retention_days": 4_000}, {"plan": "enterprise"}, {"status": "active"},
        {"id": "x"},
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(api, tenant, body):
    refused = assert_problem(api.patch("/tenant", body), 422, "invalid_input")
    assert [error["field"] for error in refused["errors"]] == [next(iter(body))]
    assert api.get("/tenant").json()["plan"] == "pro"


def test_a_test_key_changes_no_setting_and_reads_no_trail(test_key):
    assert_problem(Api(test_key).patch("/tenant", {"name": "x"}), 403, "live_key_needed")
    assert_problem(Api(test_key).get("/audit"), 403, "live_key_needed")


def test_a_key_that_is_replaced_again_and_again_makes_no_more_keys_than_a_tenant_may_have(
    api, tenant, monkeypatch
):
    monkeypatch.setattr(keys, "MAX_ACTIVE", 3)
    [key] = api.get("/keys").json()["data"]
    for _ in range(2):
        key = api.post(f"/keys/{key['id']}/rotate", {"overlap_seconds": 600}).json()
    assert_problem(api.post(f"/keys/{key['id']}/rotate", {"overlap_seconds": 600}), 409, "conflict")
    assert [one["status"] for one in api.get("/keys").json()["data"]] == ["active"] * 3
    # Without an overlap there are no more than before.
    assert api.post(f"/keys/{key['id']}/rotate", {"overlap_seconds": 0}).status_code == 201
