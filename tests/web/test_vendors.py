"""The vendors' page and the API keys: what is shown, what is refused, and that no secret comes back."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.utils import timezone

from integrations import vault
from integrations.models import Connection
from tenants.models import ApiKey
from tenants.scope import tenant_scope
from tests.factories import connect_all, contact, make_connection, make_run
from workflows.models import Lane, LaneState

if TYPE_CHECKING:
    from tenants.models import Tenant

SECRET = "pk-0123456789-abcd-WXYZ"
FORM = {"provider": "prospeo", "secret": SECRET, "mode": "sandbox", "currency": "usd"}


def test_a_vendor_is_connected_with_the_limits_that_were_given(admin: Client, tenant: "Tenant"):
    limits = {"rate": "3", "period": "60", "parallelism": "2", "price_per_credit": "0.05", "name": "Team key"}
    answer = admin.post("/app/vendors/new/", FORM | limits, follow=True)
    html = answer.content.decode()
    assert "Prospeo is connected with the key ending in WXYZ" in html
    assert "3 per minute; 2 at once" in html
    with tenant_scope(tenant):
        connection = Connection.objects.get()
    assert (connection.windows, connection.parallelism) == ([{"rate": 3, "period": 60.0}], 2)
    assert (connection.currency, connection.name) == ("USD", "Team key")


def test_without_limits_the_vendors_own_are_taken(admin: Client, tenant: "Tenant"):
    admin.post("/app/vendors/new/", FORM)
    assert (
        "5 per second, 300 per minute, 2,000 per day; 30 at once"
        in admin.get("/app/vendors/").content.decode()
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": ""}, "Enter the vendor&#x27;s API key."),
        ({"secret": "two\nlines"}, "The secret must be the vendor"),
        ({"provider": "nobody"}, "Select a valid choice"),
        ({"rate": "0"}, "Give a whole number from 1 to 1,000,000"),
        ({"parallelism": "5000"}, "Give a whole number from 1 to 1,000,"),
        ({"currency": "12€"}, "three letters of a currency"),
        ({"mode": "pretend"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_used_is_named_and_the_rest_is_kept(
    admin: Client, changes: dict[str, str], words: str
):
    answer = admin.post("/app/vendors/new/", FORM | {"name": "Team key"} | changes)
    html = answer.content.decode()
    assert answer.status_code == 422
    assert words in html
    assert 'value="Team key"' in html
    assert SECRET not in html, "a secret is never sent back"


def test_the_same_key_is_not_connected_twice(admin: Client):
    admin.post("/app/vendors/new/", FORM)
    answer = admin.post("/app/vendors/new/", FORM)
    assert answer.status_code == 422
    assert "This Prospeo key is connected already" in answer.content.decode()


def test_no_page_shows_a_secret(admin: Client, tenant: "Tenant"):
    make_connection(tenant, "prospeo", secret=SECRET)
    for path in ("/app/", "/app/vendors/", "/app/runs/new/"):
        html = admin.get(path).content.decode()
        assert SECRET not in html
        assert SECRET[:8] not in html


def test_a_lane_may_ask_several_in_one_call_where_its_vendor_can(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    html = admin.get("/app/vendors/").content.decode()
    assert (html.count("Up to 50 per call"), html.count("Up to 100 per call")) == (1, 1)
    with tenant_scope(tenant):
        lanes = {lane.provider: lane for lane in Lane.objects.all()}
    path = f"/app/vendors/lanes/{lanes['prospeo'].pk}/"
    html = admin.post(f"{path}together/", follow=True).content.decode()
    assert "asks several contacts in one call" in html
    assert "up to 50 contacts in one call" in html
    html = admin.post(f"{path}alone/", follow=True).content.decode()
    assert "asks one contact in each call" in html
    assert "up to 50 contacts in one call" not in html
    refused = admin.post(f"/app/vendors/lanes/{lanes['findymail'].pk}/together/")
    assert refused.status_code == 422
    assert admin.post(f"{path}sideways/").status_code == 404


def test_a_lane_is_paused_and_resumed(admin: Client, tenant: "Tenant"):
    make_connection(tenant, "prospeo")
    with tenant_scope(tenant):
        lane = Lane.objects.get()
    html = admin.post(f"/app/vendors/lanes/{lane.pk}/pause/", follow=True).content.decode()
    assert "calls in flight end, no new ones start" in html
    assert "1 of 1 vendor key needs attention" in html
    with tenant_scope(tenant):
        assert Lane.objects.get().paused
    admin.post(f"/app/vendors/lanes/{lane.pk}/resume/")
    with tenant_scope(tenant):
        assert not Lane.objects.get().paused


def test_what_waits_in_a_paused_lane_is_shown_with_its_reason(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    make_run(tenant, [contact(1), contact(2)])
    with tenant_scope(tenant):
        Lane.objects.filter(provider="prospeo").update(paused=True)
    html = admin.get("/app/vendors/").content.decode()
    assert "2 waiting for Prospeo&#x27;s paused lane" in html


def test_a_vendor_that_refused_its_key_is_shown_with_its_words(admin: Client, tenant: "Tenant"):
    make_connection(tenant, "prospeo")
    with tenant_scope(tenant):
        Connection.objects.update(status="auth_failed", last_error="INVALID_API_KEY")
    html = admin.get("/app/vendors/").content.decode()
    assert "Key refused" in html
    assert "INVALID_API_KEY" in html


def test_sandbox_vendors_are_connected_at_once_and_marked_everywhere(admin: Client, tenant: "Tenant"):
    admin.post("/app/vendors/sandbox/")
    with tenant_scope(tenant):
        assert set(Connection.objects.values_list("provider", "mode")) == {
            ("prospeo", "sandbox"), ("findymail", "sandbox"), ("zerobounce", "sandbox"),
        }  # fmt: skip
    for path in ("/app/", "/app/runs/", "/app/settings/"):
        assert 'class="env"' in admin.get(path).content.decode()


def test_with_a_live_key_the_frame_does_not_say_sandbox(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    make_connection(tenant, "prospeo", mode="live")
    assert 'class="env"' not in admin.get("/app/").content.decode()


def test_a_new_api_key_is_shown_once(admin: Client, tenant: "Tenant"):
    answer = admin.post("/app/developers/", {"name": "CRM", "livemode": "test", "scopes": ["read"]})
    html = answer.content.decode()
    plain = html.partition('id="plain-key">')[2].partition("<")[0]
    assert plain.startswith("wk_test_")
    assert answer["Cache-Control"] == "no-store"
    assert plain not in admin.get("/app/developers/").content.decode()
    with tenant_scope(tenant):
        key = ApiKey.objects.get(name="CRM")
    assert (key.livemode, key.scopes, key.created_by is not None) == (False, ["read"], True)


@pytest.mark.parametrize(
    "form", [{"name": "", "livemode": "live", "scopes": ["read"]}, {"name": "CRM", "livemode": "live"}]
)
def test_a_key_without_a_name_or_scope_is_not_made(admin: Client, tenant: "Tenant", form: dict[str, object]):
    answer = admin.post("/app/developers/", form)
    assert answer.status_code == 422
    assert "The key was not created" in answer.content.decode()
    with tenant_scope(tenant):
        assert not ApiKey.objects.exists()


def test_a_key_that_was_refused_is_entered_again(admin: Client, tenant: "Tenant"):
    connection = make_connection(tenant, "prospeo", secret=SECRET, mode="live")
    with tenant_scope(tenant):
        Connection.objects.update(status="auth_failed", last_error="The key was refused.")
        Lane.objects.update(paused=True, pause_reason="auth_failed")
    path = f"/app/vendors/{connection.pk}/key/"
    assert path in admin.get("/app/vendors/").content.decode()
    assert "The key was refused." in admin.get(path).content.decode()
    html = admin.post(path, {"secret": "a-fresh-key-0815"}, follow=True).content.decode()
    assert "Prospeo is asked with the key ending in 0815 now." in html
    assert "a-fresh-key" not in html
    with tenant_scope(tenant):
        assert (Connection.objects.get().status, Lane.objects.get().paused) == ("ok", False)
        assert vault.open_connection_secret(connection).reveal() == "a-fresh-key-0815"


@pytest.mark.parametrize("page", ["/app/", "/app/vendors/"])
def test_what_stands_still_says_what_to_do_and_what_rests_asks_for_nothing(
    admin: Client, tenant: "Tenant", page: str
):
    make_connection(tenant, "prospeo", secret="key-that-is-refused-0815")
    make_connection(tenant, "findymail", secret="key-that-works-4711")
    make_connection(tenant, "zerobounce", secret="key-that-works-4712")
    make_run(tenant)
    with tenant_scope(tenant):
        Connection.objects.filter(provider="prospeo").update(status="no_credits")
        Lane.objects.filter(provider="prospeo").update(paused=True, pause_reason="no_credits")
        LaneState.objects.filter(lane__provider="findymail").update(
            breaker="open", trips=1, breaker_until=timezone.now() + timedelta(minutes=2)
        )
    html = admin.get(page).content.decode()
    assert "Prospeo …0815 has no credits left. Buy some at the vendor, and its records go on." in html
    assert "Findymail …4711" not in html.split("notice", 1)[1].split("</div></div>", 1)[0]
    assert "Resting" in html
    with tenant_scope(tenant):
        LaneState.objects.update(breaker_until=timezone.now() - timedelta(seconds=1))
    assert "Testing" in admin.get(page).content.decode(), "a rest that is over, though nobody holds the lane"


@pytest.mark.parametrize("secret", ["", "two words", "taken-key-4711"])
def test_a_new_key_that_cannot_be_used_is_refused_and_not_shown(admin: Client, tenant: "Tenant", secret: str):
    connection = make_connection(tenant, "prospeo", secret=SECRET)
    make_connection(tenant, "prospeo", secret="taken-key-4711")
    answer = admin.post(f"/app/vendors/{connection.pk}/key/", {"secret": secret})
    assert answer.status_code == 422
    assert not secret or f'value="{secret}"' not in answer.content.decode()
    with tenant_scope(tenant):
        assert vault.open_connection_secret(connection).reveal() == SECRET


def test_another_tenants_connection_gets_no_key(admin: Client, other_tenant: "Tenant"):
    theirs = make_connection(other_tenant, "prospeo", secret=SECRET)
    assert admin.post(f"/app/vendors/{theirs.pk}/key/", {"secret": "a-fresh-key-0815"}).status_code == 404
