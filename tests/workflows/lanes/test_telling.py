"""What tenants are told of their runs, records and lanes: the events, written with what they tell about."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from standardwebhooks import Webhook

from integrations.models import WebhookDelivery, WebhookEndpoint, WebhookMessage
from integrations.webhooks import operations
from integrations.webhooks.sender import send_due
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import ACTOR, connect_all, contact, make_run
from tests.integrations.receiver import Receiver, receiving
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import people, start, wait
from workflows.lanes.runner import Runner
from workflows.models import Lane, Record, Run
from workflows.operations import control_lane, control_run, note_lane
from workflows.operations.cancel import cancel_waiting
from workflows.operations.fill_run import fill_run


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with receiving() as server:
        yield server


def listen(tenant: Tenant, url: str, *events: str) -> str:
    with tenant_scope(tenant):
        _, secret = operations.create_endpoint(url=url, actor=ACTOR, events=events or None)
    return secret.reveal()


def told(tenant: Tenant) -> list[dict[str, Any]]:
    with tenant_scope(tenant):
        return [orjson.loads(row.body) for row in WebhookMessage.objects.order_by("id")]


def test_a_run_that_completes_is_told_as_the_api_shows_it(
    tenant: Tenant, vendors: Sandbox, runner: Runner, receiver: Receiver, api: Api
) -> None:
    secret = listen(tenant, receiver.url)
    run = wait(start(tenant, people(5, last="Told"), metadata={"batch": "äöü ✓"}))
    (event,) = told(tenant)
    assert event["type"] == "run.completed"
    assert event["data"] == api.get(f"/api/v1/runs/{run.pk}").json()
    send_due()
    (got,) = receiver.got
    assert Webhook(secret).verify(got.body, got.headers) == event


def test_a_callback_is_told_wherever_its_run_says_and_verifies_with_either_secret(
    tenant: Tenant, vendors: Sandbox, runner: Runner, receiver: Receiver
) -> None:
    with tenant_scope(tenant):
        _, of_callbacks = operations.create_callback_secret(actor=ACTOR)
    of_endpoint = listen(tenant, receiver.url + "/endpoint", "quota.warning")
    run = wait(start(tenant, people(2, last="Called"), callback_url=receiver.url + "/mine?x=1"))
    assert send_due() == 1
    (got,) = receiver.got
    assert got.path == "/hook/mine?x=1"
    assert got.event["data"]["id"] == str(run.pk)
    for secret in (of_callbacks.reveal(), of_endpoint):
        Webhook(secret).verify(got.body, got.headers)


def test_callbacks_are_signed_before_anybody_has_asked_for_their_secret(
    tenant: Tenant, vendors: Sandbox, runner: Runner, receiver: Receiver
) -> None:
    for _ in range(2):
        wait(start(tenant, people(1, last="Early"), callback_url=receiver.url))
    assert send_due() == 2
    with tenant_scope(tenant):
        (endpoint,) = WebhookEndpoint.objects.all()
        assert endpoint.kind == "callback"
        _, secret = operations.rotate_secret(endpoint_id=endpoint.pk, actor=ACTOR)
    receiver.got.clear()
    wait(start(tenant, people(1, last="Later"), callback_url=receiver.url))
    send_due()
    Webhook(secret.reveal()).verify(receiver.got[0].body, receiver.got[0].headers)


def test_one_host_that_answers_410_to_a_callback_ends_that_delivery_alone(
    tenant: Tenant, vendors: Sandbox, runner: Runner, receiver: Receiver
) -> None:
    receiver.always(410)
    wait(start(tenant, people(1, last="Gone"), callback_url=receiver.url))
    send_due()
    with tenant_scope(tenant):
        assert WebhookEndpoint.objects.get().status == "enabled"
        assert WebhookDelivery.objects.get().status == "exhausted"


def test_records_are_told_to_those_who_ask_for_them(
    tenant: Tenant, other_tenant: Tenant, vendors: Sandbox, runner: Runner, receiver: Receiver
) -> None:
    listen(tenant, receiver.url, "record.completed")
    listen(tenant, receiver.url + "/runs")
    run = wait(start(tenant, people(6, last="Each")))
    events = told(tenant)
    assert [event["type"] for event in events].count("record.completed") == 6
    with tenant_scope(tenant):
        for record in Record.objects.filter(run=run):
            (event,) = [e for e in events if e["data"]["id"] == str(record.pk)]
            assert event["data"]["status"] == record.status
            assert event["data"]["output"] == record.output
            assert event["data"]["input"] == record.input
            assert event["data"]["run"] == str(run.pk)
        assert WebhookDelivery.objects.count() == 7


def test_a_run_that_is_cancelled_is_not_told(tenant: Tenant, receiver: Receiver, committed: None) -> None:
    connect_all(tenant)
    listen(tenant, receiver.url)
    run = make_run(tenant, 2)
    with tenant_scope(tenant):
        control_run.cancel_run(run_id=run.pk, actor=ACTOR)
    cancel_waiting(tenant.pk, run.pk)
    with tenant_scope(tenant):
        assert Run.objects.get(pk=run.pk).finished_at
    assert told(tenant) == []


def test_a_run_whose_records_are_all_faulty_completes_and_is_told(tenant: Tenant, receiver: Receiver) -> None:
    connect_all(tenant)
    listen(tenant, receiver.url)
    make_run(tenant, [{"first_name": "Nobody"}])
    (event,) = told(tenant)
    assert (event["type"], event["data"]["records"]["failed"]) == ("run.completed", 1)


def test_a_run_that_cannot_go_on_is_told_as_failed(
    tenant: Tenant, receiver: Receiver, committed: None
) -> None:
    import io

    from workflows.operations.accept_run import accept_upload, find_workflow
    from workflows.operations.create_upload import create_upload

    connect_all(tenant)
    listen(tenant, receiver.url)
    content = b"first_name,last_name,domain\nAda,Lovelace,engines.example\n"
    with tenant_scope(tenant):
        upload = create_upload(file=io.BytesIO(content), filename="a.csv", size=len(content), actor=ACTOR)
        run = accept_upload(
            workflow=find_workflow("email-waterfall"),
            upload=upload,
            actor=ACTOR,
            source="upload",
            livemode=True,
        )
    default_storage.delete(upload.stored_as)
    fill_run(tenant.pk, run.pk)
    (event,) = told(tenant)
    assert event["type"] == "run.failed"
    assert "gone from the storage" in event["data"]["error"]


def test_a_lane_that_stands_still_is_told_once(tenant: Tenant, receiver: Receiver, committed: None) -> None:
    connect_all(tenant)
    listen(tenant, receiver.url)
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        for _ in range(2):
            control_lane.pause_lane(lane_id=lane.pk, actor=ACTOR)
        other = Lane.objects.get(provider="findymail")
    for _ in range(2):
        note_lane.pause_for_trouble(other.pk, tenant.pk, "no_credits", "used up")
    first, second = told(tenant)
    assert first["data"] == {
        "id": str(lane.pk), "connection": str(lane.connection_id), "provider": "prospeo", "key_hint": lane.key_hint,
        "reason": "person",
    }  # fmt: skip
    assert second["data"]["reason"] == "no_credits"


def test_who_listens_to_nothing_pays_nothing(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver
) -> None:
    """Not a statement more; and who listens to runs alone, none for records."""
    listen(other_tenant, receiver.url)
    connect_all(tenant)
    with CaptureQueriesContext(connection) as queries:
        make_run(tenant, [{"first_name": "Nobody"}])
    made = [query["sql"] for query in queries if query["sql"]]
    assert [sql for sql in made if "webhook" in sql and not sql.startswith("UPDATE run")] == []
    listen(tenant, receiver.url)
    with CaptureQueriesContext(connection) as queries:
        make_run(tenant, [{"first_name": "Nobody"}, contact(1)])
    assert [query["sql"] for query in queries if "webhookmessage" in (query["sql"] or "")] == []
