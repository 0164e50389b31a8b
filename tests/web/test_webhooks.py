"""The pages of webhooks: endpoints added, changed, rotated and deleted by people; deliveries read and sent again."""

from typing import Any

import pytest
from django.test import Client

from integrations.models import WebhookDelivery, WebhookEndpoint
from integrations.webhooks import operations
from integrations.webhooks.sender import send_due
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.integrations.receiver import receiving

PAGE = "/app/developers/webhooks/"
URL = "https://8.8.8.8/weir"
FORM = {"url": URL, "description": "CRM", "events": ["run.completed", "run.failed"]}


@pytest.fixture
def endpoint(tenant: Tenant) -> WebhookEndpoint:
    with tenant_scope(tenant):
        return operations.create_endpoint(url=URL, actor=ACTOR, events=["run.completed"])[0]


def shown_secret(html: str) -> str:
    return html.partition('id="plain-secret">')[2].partition("<")[0]


def test_an_endpoint_is_added_and_its_secret_shown_once(admin: Client, tenant: Tenant) -> None:
    answer = admin.post(PAGE, FORM)
    assert answer.status_code == 200
    secret = shown_secret(answer.content.decode())
    assert secret.startswith("whsec_")
    again = admin.get(PAGE).content.decode()
    assert secret not in again
    assert URL in again
    assert "1 webhook endpoint on" in again
    with tenant_scope(tenant):
        assert WebhookEndpoint.objects.get().events == ["run.completed", "run.failed"]
        assert AuditEvent.objects.filter(verb="webhook_endpoint.created", actor__startswith="user:").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "https://127.0.0.1/"}, "public internet"),
        ({"url": "http://8.8.8.8/"}, "https://"),
        ({"url": ""}, "Give the address"),
        ({"events": []}, "Choose at least one event"),
        ({"events": ["run.exploded"]}, "run.exploded"),
    ],
)
def test_what_is_refused_is_said_and_kept_in_the_form(
    admin: Client, changes: dict[str, Any], words: str
) -> None:
    answer = admin.post(PAGE, FORM | changes)
    assert answer.status_code == 422
    html = answer.content.decode()
    assert words in html
    assert "The endpoint was not added" in html
    assert 'value="CRM"' in html


def test_an_endpoint_is_changed_switched_and_deleted(
    admin: Client, tenant: Tenant, endpoint: WebhookEndpoint
) -> None:
    page = f"{PAGE}{endpoint.pk}/"
    assert admin.post(page, FORM | {"url": URL + "/2"}).status_code == 302
    assert admin.post(page + "switch/", {"on": "0"}).status_code == 302
    html = admin.get(page).content.decode()
    assert "This endpoint is off" in html
    assert "It was switched off." in html
    assert "Send test event" not in html
    admin.post(page + "switch/", {"on": "1"})
    assert "Send test event" in admin.get(page).content.decode()
    assert "Delete https://8.8.8.8/weir/2?" in admin.get(page + "delete/").content.decode()
    admin.post(page + "delete/")
    with tenant_scope(tenant):
        assert not WebhookEndpoint.objects.exists()


def test_one_secret_too_many_is_refused_beside_the_choice(
    admin: Client, endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MOST_SECRETS", 1)
    answer = admin.post(f"{PAGE}{endpoint.pk}/rotate/", {"overlap": "86400"})
    assert answer.status_code == 422
    assert "rotate without one" in answer.content.decode()
    assert admin.post(f"{PAGE}{endpoint.pk}/rotate/", {"overlap": "0"}).status_code == 200


def test_a_rotated_secret_is_shown_once(admin: Client, endpoint: WebhookEndpoint) -> None:
    page = f"{PAGE}{endpoint.pk}/rotate/"
    assert "Sign with the old secret" in admin.get(page).content.decode()
    assert admin.post(page, {"overlap": "17"}).status_code == 422
    answer = admin.post(page, {"overlap": "3600"}).content.decode()
    assert shown_secret(answer).startswith("whsec_")
    assert "both sign" in answer


def test_the_secret_of_callbacks_is_made_once(admin: Client) -> None:
    assert shown_secret(admin.post(PAGE + "callbacks/").content.decode()).startswith("whsec_")
    assert "See what was sent" in admin.get(PAGE).content.decode()
    assert admin.post(PAGE + "callbacks/", follow=True).content.decode().count("already") == 1


def test_a_test_event_is_sent_and_its_answer_shown(
    admin: Client, tenant: Tenant, settings: Any, committed: None
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with receiving() as receiver:
        receiver.always(500, b"<script>alert(1)</script>")
        with tenant_scope(tenant):
            endpoint, _ = operations.create_endpoint(url=receiver.url, actor=ACTOR)
        page = f"{PAGE}{endpoint.pk}/"
        sent = admin.post(page + "test/", {"event": "lane.paused"})
        assert sent.status_code == 302
        assert "No attempt yet" in admin.get(sent["Location"]).content.decode()
        send_due()
        html = admin.get(sent["Location"]).content.decode()
        assert "HTTP 500" in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "&quot;test&quot;: true" in html
        assert receiver.got[0].id in html
        assert "answered 500" in admin.get(page).content.decode()
        assert "answered 500" not in admin.get(page + "?status=delivered").content.decode()
        receiver.always(200)
        admin.post(sent["Location"] + "resend/")
        send_due()
        assert "Delivered" in admin.get(sent["Location"]).content.decode()


def test_a_viewer_sees_and_an_editor_sends_and_neither_changes(
    viewer: Client, editor: Client, tenant: Tenant, endpoint: WebhookEndpoint
) -> None:
    page = f"{PAGE}{endpoint.pk}/"
    for client in (viewer, editor):
        assert client.get(PAGE).status_code == client.get(page).status_code == 200
        assert "Add an endpoint</h2>" not in client.get(PAGE).content.decode()
        assert "Rotate" not in client.get(page).content.decode()
        for path in (PAGE, page, page + "rotate/", page + "delete/", page + "switch/"):
            assert client.post(path, FORM).status_code == 403, path
    assert viewer.post(page + "test/").status_code == 403
    assert "Send test event" not in viewer.get(page).content.decode()
    assert editor.post(page + "test/").status_code == 302
    with tenant_scope(tenant):
        assert WebhookDelivery.objects.count() == 1
