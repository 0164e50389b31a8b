"""Events on their way: who is told, how it is signed, when it is tried again, what becomes of an endpoint that fails."""

import threading
import time
from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from integrations.errors import VaultError
from integrations.models import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookMessage,
    WebhookSecret,
)
from integrations.operations import renew_data_key, shred_secrets
from integrations.webhooks import claim, notices, operations, signing
from integrations.webhooks import sender as sender_module
from integrations.webhooks.sender import Sender, send_due
from tenants.errors import Conflict
from tenants.events import emit
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tests.factories import ACTOR
from tests.integrations.receiver import Got, Receiver, receiving
from tests.integrations.telling import deliveries, due_now, endpoint_of, listen, log, tell, until

pytestmark = pytest.mark.usefixtures("committed")


def test_an_event_arrives_signed_so_that_the_public_library_verifies_it(
    tenant: Tenant, receiver: Receiver
) -> None:
    _, secret = listen(tenant, receiver.url)
    tell(tenant, 7)
    assert send_due() == 1
    (got,) = receiver.got
    event = Webhook(secret.reveal()).verify(got.body, got.headers)
    assert event["type"] == "plan.changed"
    assert event["data"] == {"number": 7}
    assert got.headers["content-type"] == "application/json"
    (delivery,) = deliveries(tenant)
    assert got.id == signing.message_id(delivery.message_id)
    assert (delivery.status, delivery.due_at, delivery.attempts, delivery.last_status) == (
        "delivered",
        None,
        1,
        200,
    )
    (attempt,) = log(tenant)
    assert (attempt.number, attempt.http_status, attempt.error, attempt.answer) == (1, 200, "", "ok")
    assert send_due() == 0
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret().reveal()).verify(got.body, got.headers)


def test_the_signature_is_the_one_of_the_published_vector() -> None:
    import uuid

    message = uuid.UUID(int=1)
    key = Secret("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    body = b'{"type":"run.completed","timestamp":"2026-11-20T00:00:00Z","data":{"id":"r1"}}'
    from integrations.webhooks.signing import _sign

    assert _sign(b"msg_1.1700000000." + body, key) == "v1,/qCOEpM56yGvs/pUwkZK93kTxymR/XuTbf9xUDarC4M="
    made = signing.headers(message, 1_700_000_000, body, [key, key])
    assert made["webhook-signature"].count("v1,") == 2
    assert "." not in made["webhook-id"]


def test_what_is_rolled_back_was_never_told(tenant: Tenant, receiver: Receiver) -> None:
    listen(tenant, receiver.url)

    def rolled_back() -> None:
        with tenant_scope(tenant):
            emit("plan.changed", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        rolled_back()
    assert send_due() == 0
    assert deliveries(tenant) == []


def test_nothing_is_kept_of_an_event_that_nobody_listens_to(tenant: Tenant, receiver: Receiver) -> None:
    listen(tenant, receiver.url, events=["lane.paused"])
    tell(tenant)
    with tenant_scope(tenant):
        assert not WebhookMessage.objects.exists()


def test_each_endpoint_is_told_of_what_it_asked_for_and_another_tenant_of_nothing(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver
) -> None:
    listen(tenant, receiver.url + "/all")
    listen(tenant, receiver.url + "/quota", events=["quota.warning"])
    listen(other_tenant, receiver.url + "/other")
    tell(tenant)
    tell(tenant, event="quota.warning")
    tell(tenant, event="record.completed")  # only for who names it
    assert send_due() == 3
    assert sorted((got.path, got.event["type"]) for got in receiver.got) == [
        ("/hook/all", "plan.changed"), ("/hook/all", "quota.warning"), ("/hook/quota", "quota.warning"),
    ]  # fmt: skip
    ids = {got.id for got in receiver.got if got.event["type"] == "quota.warning"}
    assert len(ids) == 1


def test_events_of_one_key_are_one_event_for_each_tenant(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver
) -> None:
    for one in (tenant, other_tenant):
        listen(one, receiver.url)
        for number in range(3):
            tell(one, number, key="2026-11:80")
    assert send_due() == 2
    assert [got.event["data"]["number"] for got in receiver.got] == [0, 0]


def test_a_failure_is_tried_again_with_the_same_id_and_body_and_a_new_time(
    tenant: Tenant, receiver: Receiver
) -> None:
    listen(tenant, receiver.url)
    receiver.always(500, b"x" * 10_000)
    tell(tenant)
    send_due()
    (delivery,) = deliveries(tenant)
    assert (delivery.status, delivery.tries, delivery.last_error) == ("waiting", 1, "answered 500")
    assert delivery.due_at
    assert 3.5 <= (delivery.due_at - timezone.now()).total_seconds() <= 6.5
    assert len(log(tenant)[0].answer) == 4096
    assert send_due() == 0  # not before it is due
    receiver.always(204)
    time.sleep(1.0)
    due_now(tenant)
    assert send_due() == 1
    first, second = receiver.got
    assert (first.id, first.body) == (second.id, second.body)
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert deliveries(tenant)[0].status == "delivered"
    assert endpoint_of(tenant).failures == 0


def test_after_ten_attempts_it_is_given_up_and_can_be_sent_again(tenant: Tenant, receiver: Receiver) -> None:
    listen(tenant, receiver.url)
    receiver.always(503)
    tell(tenant)
    for _ in range(10):
        due_now(tenant)
        assert send_due() == 1
    (delivery,) = deliveries(tenant)
    assert (delivery.status, delivery.due_at, delivery.attempts) == ("exhausted", None, 10)
    due_now(tenant)
    assert send_due() == 0
    receiver.always(200)
    with tenant_scope(tenant):
        operations.resend(endpoint_id=delivery.endpoint_id, delivery_id=delivery.pk, actor=ACTOR)
    assert send_due() == 1
    assert len({got.id for got in receiver.got}) == 1
    assert deliveries(tenant)[0].status == "delivered"
    assert [attempt.number for attempt in log(tenant)] == list(range(1, 12))


def test_who_answers_410_is_asked_no_more_and_the_admins_are_told(tenant: Tenant, receiver: Receiver) -> None:
    listen(tenant, receiver.url)
    receiver.always(410)
    tell(tenant, 1)
    tell(tenant, 2)
    send_due()
    endpoint = endpoint_of(tenant)
    assert (endpoint.status, endpoint.reason) == ("disabled", "gone")
    assert {delivery.status for delivery in deliveries(tenant)} == {"held"}
    due_now(tenant)
    assert send_due() == 0
    assert notices.tell() == 1
    assert "410" in mail.outbox[0].body
    assert "switched off" in mail.outbox[0].subject
    assert notices.tell() == 0
    tell(tenant, 3)  # it is off: not kept
    receiver.always(200)
    with tenant_scope(tenant):
        operations.switch_endpoint(endpoint_id=endpoint.pk, on=True, actor=ACTOR)
        assert AuditEvent.objects.filter(verb="webhook_endpoint.disabled", actor="system:webhooks").exists()
    assert send_due() == 2
    assert {got.event["data"]["number"] for got in receiver.got[-2:]} == {1, 2}


def test_days_of_failure_warn_and_then_switch_off_and_one_success_forgets_them(
    tenant: Tenant, receiver: Receiver
) -> None:
    listen(tenant, receiver.url)
    receiver.always(500)

    def fail(days: float, failures: int) -> WebhookEndpoint:
        with tenant_scope(tenant):
            WebhookEndpoint.objects.update(
                failing_since=timezone.now() - timedelta(days=days), failures=failures
            )
        tell(tenant)
        due_now(tenant)
        send_due()
        return endpoint_of(tenant)

    assert fail(0.9, 50).notice == ""
    assert fail(1.1, 50).notice == "failing"
    assert notices.tell() == 1
    assert "fails" in mail.outbox[0].subject
    assert fail(3, 50).notice == ""  # told once
    receiver.always(200)
    due_now(tenant)
    send_due()
    assert endpoint_of(tenant).failing_since is None
    receiver.always(500)
    assert fail(5.1, 3).status == "enabled"  # too few to say
    gone = fail(5.1, 50)
    assert (gone.status, gone.reason, gone.notice) == ("disabled", "failing", "disabled")


def test_an_endpoint_that_fails_is_asked_one_thing_at_a_time_and_then_given_rests_that_use_up_no_attempts(
    tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(tenant, receiver.url)
    receiver.always(500)
    monkeypatch.setattr(claim, "PER_LANE", 4)
    for number in range(9):
        tell(tenant, number)
    counts = []
    for _ in range(5):
        with tenant_scope(tenant):
            WebhookDelivery.objects.exclude(due_at=None).update(due_at=timezone.now())
        counts.append(send_due())
    assert counts == [4, 1, 0, 0, 0]  # the fifth failure in a row brings the first rest
    assert sum(delivery.tries for delivery in deliveries(tenant)) == len(receiver.got) == 5
    rest = endpoint_of(tenant).rest_until
    assert rest
    assert 3 < (rest - timezone.now()).total_seconds() <= 5


def test_retry_after_is_obeyed_up_to_a_day(tenant: Tenant, receiver: Receiver) -> None:
    listen(tenant, receiver.url)
    receiver.always(429, Retry_After="7200")
    tell(tenant)
    send_due()
    (delivery,) = deliveries(tenant)
    assert delivery.due_at
    assert 7_100 < (delivery.due_at - timezone.now()).total_seconds() <= 7_200
    resting = endpoint_of(tenant).rest_until
    assert resting
    assert (resting - timezone.now()).total_seconds() <= 3_600


def test_while_a_secret_is_rotated_both_sign(tenant: Tenant, receiver: Receiver) -> None:
    endpoint, old = listen(tenant, receiver.url)
    with tenant_scope(tenant):
        _, new = operations.rotate_secret(endpoint_id=endpoint.pk, actor=ACTOR, overlap_seconds=3600)
    tell(tenant)
    send_due()
    for secret in (old, new):
        Webhook(secret.reveal()).verify(receiver.got[0].body, receiver.got[0].headers)
    with tenant_scope(tenant):
        WebhookSecret.objects.exclude(expires_at=None).update(expires_at=timezone.now())
    tell(tenant)
    send_due()
    Webhook(new.reveal()).verify(receiver.got[1].body, receiver.got[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old.reveal()).verify(receiver.got[1].body, receiver.got[1].headers)


def test_secrets_survive_a_renewed_data_key_and_end_with_it(tenant: Tenant, receiver: Receiver) -> None:
    _, secret = listen(tenant, receiver.url)
    with tenant_scope(tenant):
        renewal = renew_data_key(actor=ACTOR)
        assert renewal
        assert (renewal.sealed, renewal.unreadable) == (1, 0)
    tell(tenant)
    send_due()
    Webhook(secret.reveal()).verify(receiver.got[0].body, receiver.got[0].headers)
    with tenant_scope(tenant):
        shred_secrets(actor=ACTOR)
        from integrations import vault

        with pytest.raises(VaultError):
            vault.open_webhook_secrets()
    tell(tenant)
    send_due()
    assert len(receiver.got) == 1
    assert deliveries(tenant)[1].last_error == "the signing secret cannot be opened: rotate it"


def test_a_secret_stands_nowhere_in_plain_text(tenant: Tenant, receiver: Receiver) -> None:
    _, secret = listen(tenant, receiver.url)
    with tenant_scope(tenant):
        row = WebhookSecret.objects.get()
    import base64

    plain = secret.reveal()
    assert plain.startswith("whsec_")
    assert plain.encode() not in bytes(row.sealed)
    raw = base64.b64decode(plain.removeprefix("whsec_"))
    assert 24 <= len(raw) <= 64
    assert raw not in bytes(row.sealed)


def test_a_test_event_goes_to_one_endpoint_and_says_that_it_is_one(
    tenant: Tenant, receiver: Receiver
) -> None:
    endpoint, _ = listen(tenant, receiver.url, events=["lane.paused"])
    listen(tenant, receiver.url + "/other")
    with tenant_scope(tenant):
        operations.send_test(endpoint_id=endpoint.pk, actor=ACTOR, event="run.completed")
    assert send_due() == 1
    (got,) = receiver.got
    assert (got.path, got.event["type"], got.event["test"]) == ("/hook", "run.completed", True)


def test_what_a_sender_died_with_is_sent_when_its_lease_ends(tenant: Tenant, receiver: Receiver) -> None:
    from tenants.ids import uuid7

    listen(tenant, receiver.url)
    tell(tenant)
    (job,) = claim.take(uuid7(), lanes={}, tenants={}, room=10, lease_s=1.5)
    assert send_due() == 0
    time.sleep(1.6)
    assert send_due() == 1
    assert deliveries(tenant)[0].attempts == 1  # a death uses none up
    # The dead one wakes and says that it failed: kept in the log, and changes nothing else.
    from integrations.webhooks import settle
    from integrations.webhooks.post import Attempted

    settle.settle([Attempted(job, timezone.now(), 5, 500, "answered 500")])
    assert deliveries(tenant)[0].status == "delivered"
    assert endpoint_of(tenant).failures == 0
    assert len(log(tenant)) == 2


def test_two_senders_never_have_the_same_delivery(tenant: Tenant, receiver: Receiver) -> None:
    from tenants.ids import uuid7

    listen(tenant, receiver.url)
    for number in range(6):
        tell(tenant, number)
    first = claim.take(uuid7(), lanes={}, tenants={}, room=3, lease_s=30)
    second = claim.take(uuid7(), lanes={}, tenants={}, room=10, lease_s=30)
    ids = [job.delivery_id for job in (*first, *second)]
    assert len(first) == 3
    assert len(ids) == len(set(ids)) == 6


def test_a_receiver_that_is_slow_delays_nobody_else(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver
) -> None:
    release = threading.Event()

    def when_told_to(got: Got) -> tuple[int, dict[str, str], bytes]:
        release.wait(20)
        return 200, {}, b""

    with receiving() as slow:
        slow.answer = when_told_to
        listen(tenant, slow.url)
        listen(tenant, receiver.url)
        listen(other_tenant, receiver.url)
        for number in range(40):
            tell(tenant, number)
            tell(other_tenant, number)
        sender = Sender()
        sender.start()
        try:
            until(lambda: len(receiver.got) == 80, 14)
            assert len(slow.got) <= claim.PER_LANE  # its own places, and no more
        finally:
            release.set()
            sender.stop()


def test_while_nobody_dies_everything_is_sent_once(tenant: Tenant, receiver: Receiver) -> None:
    for number in range(6):
        listen(tenant, f"{receiver.url}/{number}")
    with tenant_scope(tenant):
        for number in range(60):
            emit("plan.changed", {"number": number})
    sender = Sender()
    sender.start()
    try:
        until(lambda: all(one.status == "delivered" for one in deliveries(tenant)), 15)
    finally:
        sender.stop()
    assert len(receiver.got) == len({(got.path, got.id) for got in receiver.got}) == 360
    assert sum(not attempt.error for attempt in log(tenant)) == 360


def test_the_sender_sends_what_is_committed_at_once(
    tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "LOOK_EVERY_S", 60.0)  # it does not find it by looking
    listen(tenant, receiver.url)
    sender = Sender()
    sender.start()
    try:
        time.sleep(0.3)
        tell(tenant)
        until(lambda: deliveries(tenant)[0].status == "delivered")
    finally:
        sender.stop()


def test_a_deleted_endpoint_takes_its_deliveries_and_secrets_along(
    tenant: Tenant, receiver: Receiver
) -> None:
    endpoint, _ = listen(tenant, receiver.url)
    tell(tenant)
    send_due()
    operations.delete_endpoint(tenant_id=tenant.pk, endpoint_id=endpoint.pk, actor=ACTOR)
    with tenant_scope(tenant):
        for model in (WebhookEndpoint, WebhookDelivery, WebhookAttempt, WebhookSecret):
            assert not model.objects.exists()
    tell(tenant)
    assert send_due() == 0


def test_no_address_twice_and_not_too_many(tenant: Tenant, receiver: Receiver) -> None:
    listen(tenant, receiver.url)
    with pytest.raises(Conflict, match="already"):
        listen(tenant, receiver.url)
    for number in range(operations.MOST_ENDPOINTS - 1):
        listen(tenant, f"{receiver.url}/{number}")
    with pytest.raises(Conflict, match="at most"):
        listen(tenant, f"{receiver.url}/more")
