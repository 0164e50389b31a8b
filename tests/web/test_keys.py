"""The pages of API keys: made, rotated and revoked by people."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.utils import timezone

from tenants.models import ApiKey, AuditEvent
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import make_key

if TYPE_CHECKING:
    from tenants.models import Tenant

PAGE = "/app/developers/"
FORM = {"name": "CRM", "livemode": "live", "scopes": ["read"], "life": ""}


def only(tenant: "Tenant", **wanted: object) -> ApiKey:
    with tenant_scope(tenant):
        return ApiKey.objects.get(**wanted)


def shown_key(html: str) -> str:
    return html.partition('id="plain-key">')[2].partition("<")[0]


@pytest.fixture
def key(tenant: "Tenant") -> ApiKey:
    make_key(tenant, name="CRM")
    return only(tenant)


def test_a_key_can_be_given_a_life(admin: Client, tenant: "Tenant"):
    admin.post(PAGE, FORM | {"life": "30"})
    expires = only(tenant).expires_at
    assert expires
    assert timedelta(days=29) < expires - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize(
    "changes", [{"life": "4000"}, {"name": "a\u202eb"}, {"name": "x" * 81}, {"scopes": ["root"]}]
)
def test_what_cannot_be_made_is_said_beside_its_field(
    admin: Client, tenant: "Tenant", changes: dict[str, object]
):
    answer = admin.post(PAGE, FORM | changes)
    assert answer.status_code == 422
    assert "The key was not created" in answer.content.decode()
    with tenant_scope(tenant):
        assert not ApiKey.objects.exists()


def test_a_rotated_key_is_shown_once_and_both_work(admin: Client, tenant: "Tenant", api_key: str):
    old = only(tenant)
    url = f"{PAGE}keys/{old.pk}/rotate/"
    assert "Keep the old key valid for" in admin.get(url).content.decode()
    html = admin.post(url, {"overlap": "3600"}).content.decode()
    plain = shown_key(html)
    assert "works until" in html
    assert Api(plain).get("/tenant").status_code == Api(api_key).get("/tenant").status_code == 200
    again = admin.get(PAGE).content.decode()
    assert plain not in again
    assert "replaced" in again
    with tenant_scope(tenant):
        event = AuditEvent.objects.get(verb="key.rotated")
    assert event.actor == "user:owner@acme.example"


def test_a_key_that_was_rotated_or_ended_is_not_rotated_again(admin: Client, tenant: "Tenant", key: ApiKey):
    url = f"{PAGE}keys/{key.pk}/rotate/"
    assert admin.post(url, {"overlap": "0"}).status_code == 200
    answer = admin.post(url, {"overlap": "0"})
    assert answer.status_code == 422
    assert "The key was not rotated" in answer.content.decode()
    assert admin.post(url, {"overlap": "17"}).status_code == 422


def test_revoking_asks_first_and_says_when_the_key_was_used(admin: Client, tenant: "Tenant", key: ApiKey):
    url = f"{PAGE}keys/{key.pk}/revoke/"
    assert "It was never used." in admin.get(url).content.decode()
    assert only(tenant).revoked_at is None
    answer = admin.post(url, follow=True).content.decode()
    assert "“CRM” is revoked" in answer
    assert "1 ended key" in answer
    assert only(tenant).revoked_at is not None
    assert "revoked already" in admin.post(url, follow=True).content.decode()


def test_a_viewer_sees_keys_and_no_way_to_change_them(viewer: Client, key: ApiKey):
    html = viewer.get(PAGE).content.decode()
    assert key.hint in html
    for words in ("Rotate", "Revoke<", "Create key"):
        assert words not in html


def test_no_page_shows_a_key_or_its_digest(admin: Client, tenant: "Tenant", api_key: str):
    key = only(tenant)
    for end in ("", f"keys/{key.pk}/rotate/", f"keys/{key.pk}/revoke/"):
        html = admin.get(PAGE + end).content.decode()
        assert api_key not in html
        assert bytes(key.digest).hex() not in html
