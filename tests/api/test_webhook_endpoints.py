"""Webhook endpoints by the API: made, changed, rotated, tried out; what was sent, and sending it again."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections
from standardwebhooks import Webhook

from integrations.models import WebhookEndpoint
from integrations.webhooks import operations
from integrations.webhooks.sender import send_due
from tenants.events import EVENTS, emit
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import make_key
from tests.integrations.receiver import Receiver, receiving
from workflows.operations import answer_once

URL = "https://8.8.8.8/weir"  # an address, so that nobody is asked for a name


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with receiving() as server:
        yield server


def made(api: Api, url: str = URL, **body: Any) -> Any:
    answer = api.post("/webhook-endpoints", {"url": url, **body})
    assert answer.status_code == 201, answer.json()
    return answer.json()


def test_an_endpoint_is_made_listed_changed_and_deleted(api: Api, tenant: Tenant) -> None:
    one = made(api, description="CRM")
    assert one["secret"].startswith("whsec_")
    assert one["events"] == [name for name in EVENTS if name != "record.completed"]
    assert (one["kind"], one["url"], one["status"], one["disabled_reason"]) == (
        "endpoint",
        URL,
        "enabled",
        None,
    )
    del one["secret"]
    assert api.get("/webhook-endpoints").json()["data"] == [one]
    path = f"/webhook-endpoints/{one['id']}"
    assert api.get(path).json() == one
    changed = api.patch(path, {"events": ["record.completed"], "url": URL + "/2", "description": ""}).json()
    assert (changed["events"], changed["url"], changed["description"]) == (
        ["record.completed"],
        URL + "/2",
        "",
    )
    off = api.patch(path, {"status": "disabled"}).json()
    assert (off["status"], off["disabled_reason"]) == ("disabled", "person")
    assert api.post(path + "/test", {}).status_code == 409
    on = api.patch(path, {"status": "enabled"}).json()
    assert (on["status"], on["disabled_reason"], on["disabled_at"]) == ("enabled", None, None)
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    with tenant_scope(tenant):
        verbs = list(AuditEvent.objects.filter(subject_type="webhookendpoint").values_list("verb", flat=True))
        assert sorted(verbs) == sorted(
            f"webhook_endpoint.{verb}" for verb in ("created", "changed", "disabled", "enabled", "deleted")
        )
        for event in AuditEvent.objects.filter(subject_type="webhookendpoint"):
            assert "/weir" not in str(event.detail)  # the path may be a secret


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://8.8.8.8/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://8.8.8.8:22/"}, "url"),
        ({"url": "https://user:pass@8.8.8.8/"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["run.exploded"]}, "events.0"),
        ({"url": URL, "description": "x" * 121}, "description"),
        ({"kind": "callback", "url": URL}, "url"),
        ({"url": URL, "secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_by_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = api.post("/webhook-endpoints", body)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]


def test_an_address_twice_and_a_second_secret_for_callbacks_conflict(api: Api) -> None:
    made(api)
    assert api.post("/webhook-endpoints", {"url": URL}).status_code == 409
    first = api.post("/webhook-endpoints", {"kind": "callback"})
    assert (first.status_code, first.json()["url"], first.json()["kind"]) == (201, None, "callback")
    assert api.post("/webhook-endpoints", {"kind": "callback"}).status_code == 409
    path = f"/webhook-endpoints/{first.json()['id']}"
    assert api.post(path + "/rotate", {}).json()["secret"].startswith("whsec_")
    assert api.delete(path).status_code == 404  # runs need it
    assert api.patch(path, {"description": "x"}).status_code == 404


def test_the_secret_is_shown_once_even_to_the_same_request(api: Api) -> None:
    first = api.post("/webhook-endpoints", {"url": URL}, Idempotency_Key="one")
    again = api.post("/webhook-endpoints", {"url": URL}, Idempotency_Key="one")
    assert first.json()["secret"]
    assert again.status_code == 201
    assert again.json() == {**first.json(), "secret": None}
    assert first.json()["secret"] not in api.get("/webhook-endpoints").content.decode()


def test_a_test_event_is_sent_seen_and_sent_again(
    api: Api, tenant: Tenant, receiver: Receiver, committed: None
) -> None:
    endpoint = made(api, receiver.url)
    path = f"/webhook-endpoints/{endpoint['id']}"
    receiver.always(500, b"out of order")
    answer = api.post(path + "/test", {"event": "lane.paused"})
    assert answer.status_code == 202
    delivery = answer.json()
    assert (delivery["event"], delivery["status"], delivery["attempts"]) == ("lane.paused", "waiting", [])
    send_due()
    Webhook(endpoint["secret"]).verify(receiver.got[0].body, receiver.got[0].headers)
    (shown,) = api.get(path + "/deliveries").json()["data"]
    assert shown["webhook_id"] == receiver.got[0].id
    assert shown["next_attempt_at"]
    (attempt,) = shown["attempts"]
    assert (attempt["http_status"], attempt["error"]) == (500, "answered 500")
    assert attempt["latency_ms"] >= 0
    one = api.get(f"{path}/deliveries/{delivery['id']}").json()
    assert one["body"] == receiver.got[0].event
    assert one["attempts"][0]["answer"] == "out of order"
    assert api.get(path + "/deliveries?status=delivered").json()["data"] == []
    assert api.get(path + "/deliveries?status=lost").status_code == 422
    receiver.always(200)
    again = api.post(f"{path}/deliveries/{delivery['id']}/resend")
    assert again.status_code == 202
    send_due()
    assert api.get(f"{path}/deliveries/{delivery['id']}").json()["status"] == "delivered"
    assert [got.id for got in receiver.got] == [shown["webhook_id"]] * 2


def test_deliveries_are_listed_page_by_page_newest_first(api: Api, tenant: Tenant) -> None:
    path = f"/webhook-endpoints/{made(api)['id']}"
    with tenant_scope(tenant):
        for number in range(5):
            emit("plan.changed", {"number": number})
    first = api.get(path + "/deliveries?limit=3").json()
    second = api.get(first["next"]).json()
    ids = [row["id"] for row in (*first["data"], *second["data"])]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 5
    assert second["next"] is None


def test_another_tenant_s_endpoints_are_not_there(api: Api, other_api: Api) -> None:
    path = f"/webhook-endpoints/{made(api)['id']}"
    delivery = api.post(path + "/test").json()["id"]
    for method, where in (
        ("GET", path), ("PATCH", path), ("DELETE", path), ("POST", path + "/rotate"), ("POST", path + "/test"),
        ("GET", path + "/deliveries"), ("GET", f"{path}/deliveries/{delivery}"),
        ("POST", f"{path}/deliveries/{delivery}/resend"),
    ):  # fmt: skip
        body = {} if method in ("POST", "PATCH") else b""
        assert other_api.send(method, where, body).status_code == 404, where
    mine = made(other_api)
    assert api.get(f"/webhook-endpoints/{mine['id']}/deliveries/{delivery}").status_code == 404


def test_a_key_without_admin_reads_and_does_nothing_else(api: Api, tenant: Tenant) -> None:
    path = f"/webhook-endpoints/{made(api)['id']}"
    reader = Api(make_key(tenant, scopes=["read", "write"]))
    assert reader.get(path).status_code == 200
    for method, where in (("POST", "/webhook-endpoints"), ("DELETE", path), ("POST", path + "/test")):
        assert reader.send(method, where, {} if method == "POST" else b"").json()["code"] == "missing_scope"
    with tenant_scope(tenant):
        assert WebhookEndpoint.objects.count() == 1


def test_a_run_s_callback_is_checked_when_it_is_accepted(api: Api) -> None:
    body = {
        "workflow": "email-waterfall",
        "records": [{"full_name": "Ada Byron", "domain": "engines.example"}],
    }
    for url in (
        "https://127.0.0.1/",
        "http://hooks.example.com/",
        "https://[::ffff:10.0.0.1]/",
        "https://metadata/",
    ):
        answer = api.post("/runs", {**body, "callback_url": url})
        assert answer.status_code == 422, url
        assert answer.json()["errors"][0]["field"] == "callback_url"


def at_once(*calls: Callable[[], Any]) -> list[int]:
    """The statuses of these calls, made by as many threads at one moment."""
    statuses: list[int] = []
    together = threading.Barrier(len(calls))

    def work(call: Callable[[], Any]) -> None:
        try:
            together.wait()
            statuses.append(call().status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


def test_an_address_is_taken_once_and_the_most_are_kept_to_however_many_ask_at_once(
    committed: None, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MOST_ENDPOINTS", 3)
    key = make_key(tenant)

    def adds(url: str) -> Callable[[], Any]:
        return lambda: Api(key).post("/webhook-endpoints", {"url": url})

    assert at_once(*[adds(URL)] * 6) == [201, 409, 409, 409, 409, 409]
    assert at_once(*[adds(f"{URL}/{number}") for number in range(6)]) == [201, 201, 409, 409, 409, 409]
    ids = [one["id"] for one in Api(key).get("/webhook-endpoints").json()["data"]]

    def moves(endpoint: str) -> Callable[[], Any]:
        return lambda: Api(key).patch(f"/webhook-endpoints/{endpoint}", {"url": f"{URL}/same"})

    assert at_once(*map(moves, ids)) == [200, 409, 409]


def test_who_dies_before_the_answer_is_noted_has_made_nothing_and_the_retry_does(
    committed: None, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    api, real = Api(make_key(tenant)), answer_once._note

    def dies(key: str, request_hash: bytes, answer: Any) -> None:
        if answer is not None:
            raise Killed
        real(key, request_hash, answer)

    with monkeypatch.context() as patch:
        patch.setattr(answer_once, "_note", dies)
        with pytest.raises(Killed):
            api.post("/webhook-endpoints", {"url": URL}, Idempotency_Key="k")
    first = api.post("/webhook-endpoints", {"url": URL}, Idempotency_Key="k")
    assert (first.status_code, first.json()["secret"][:6]) == (201, "whsec_")
    asked: list[str] = []
    monkeypatch.setattr(operations, "check_url", asked.append)
    again = api.post("/webhook-endpoints", {"url": URL}, Idempotency_Key="k")
    assert (again.status_code, again["Idempotency-Replayed"], asked) == (201, "true", [])
    assert len(api.get("/webhook-endpoints").json()["data"]) == 1


def test_name_servers_are_asked_before_the_transaction(
    committed: None, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        operations, "check_url", lambda url: asked.append(connections["default"].in_atomic_block)
    )
    api = Api(make_key(tenant))
    for number, headers in enumerate(({}, {"Idempotency_Key": "k"})):
        assert api.post("/webhook-endpoints", {"url": f"{URL}/{number}"}, **headers).status_code == 201
    assert asked == [False, False]


def test_not_more_than_a_few_secrets_are_valid_at_once(api: Api) -> None:
    path = f"/webhook-endpoints/{made(api)['id']}/rotate"
    for _ in range(operations.MOST_SECRETS - 1):
        assert api.post(path, {"overlap_seconds": 2_592_000}).status_code == 201
    assert api.post(path, {"overlap_seconds": 2_592_000}).status_code == 409
    assert api.post(path, {"overlap_seconds": 0}).status_code == 201
    assert api.post(path, {"overlap_seconds": 60}).status_code == 201
