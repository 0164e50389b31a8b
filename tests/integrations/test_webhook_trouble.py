"""What must not happen to events on their way, whatever receivers, name servers, tenants and we ourselves do wrong."""

import socket
import threading
import time
import uuid
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.utils import timezone
from standardwebhooks import Webhook

from integrations.errors import MasterKeyMissing
from integrations.models import WebhookDelivery, WebhookEndpoint, WebhookSecret
from integrations.webhooks import addresses, claim, names, notices, operations, settle, strays
from integrations.webhooks import sender as sender_module
from integrations.webhooks.post import Attempted
from integrations.webhooks.sender import Sender, send_due
from tenants.events import emit
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.integrations.receiver import Got, Receiver, receiving
from tests.integrations.telling import (
    call_back,
    deliveries,
    due_now,
    endpoint_of,
    listen,
    log,
    tell,
    until,
)

pytestmark = pytest.mark.usefixtures("committed")


@pytest.mark.parametrize(
    "asked",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2027 00:00:00 +99999999999999",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "1e400",
        "\u0663\u0660",
    ],
)
def test_a_retry_after_that_is_no_date_is_an_attempt_all_the_same(
    tenant: Tenant, receiver: Receiver, asked: str
) -> None:
    listen(tenant, receiver.url)
    receiver.answer = lambda got: (503, {"Retry-After": asked.encode().decode("latin-1")}, b"")
    tell(tenant)
    assert send_due() == 1
    (delivery,) = deliveries(tenant)
    assert (delivery.status, delivery.tries, delivery.attempts, delivery.holder) == ("waiting", 1, 1, None)
    assert [attempt.http_status for attempt in log(tenant)] == [503]
    assert endpoint_of(tenant).failures == 1


def test_a_fault_of_one_tenants_stops_nobody_elses_mail_claim_or_settlement(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted((tenant, other_tenant), key=lambda one: one.pk)
    for one in (first, second):
        listen(one, f"{receiver.url}/{one.pk}")
        tell(one)
    broken = [first.pk]

    def faulty(module: Any, name: str) -> None:
        real = getattr(module, name)

        def watched(tenant_id: Any, *rest: Any) -> Any:
            if tenant_id in broken:
                raise KeyError("a fault")
            return real(tenant_id, *rest)

        monkeypatch.setattr(module, name, watched)

    faulty(claim, "_read")
    assert send_due() == 1
    assert [one.status for one in (*deliveries(first), *deliveries(second))] == ["waiting", "delivered"]

    due_now(first)
    broken.clear()
    faulty(settle, "_settle")
    job_of = claim.take(uuid.uuid4(), lanes={}, tenants={}, room=10, lease_s=30)
    tell(second)
    jobs = job_of + claim.take(uuid.uuid4(), lanes={}, tenants={}, room=10, lease_s=30)
    broken.append(first.pk)
    assert settle.settle([Attempted(job, timezone.now(), 5, 200) for job in jobs]) == []
    assert [one.status for one in (*deliveries(first), *deliveries(second))] == [
        "waiting", "delivered", "delivered",
    ]  # fmt: skip

    for one in (first, second):
        with tenant_scope(one):
            WebhookEndpoint.objects.update(notice="failing")
    faulty(notices, "_tell")
    assert notices.tell() == 1
    assert [endpoint_of(one).notice for one in (first, second)] == ["failing", ""]


def test_a_tenant_that_is_erased_meanwhile_ends_no_worker(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "NOTICES_EVERY_S", 0.05)
    asked: list[int] = []

    def due() -> dict[uuid.UUID, list[uuid.UUID]]:
        asked.append(1)
        return {uuid.uuid4(): [uuid.uuid4()]}

    monkeypatch.setattr(notices, "_due", due)
    broken: list[int] = []
    sender = Sender(on_broken=lambda: broken.append(1))
    sender.start()
    try:
        until(lambda: len(asked) > 2)
    finally:
        sender.stop()
    assert broken == []


def test_a_fault_in_what_is_told_of_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "NOTICES_EVERY_S", 0.05)
    asked = []

    def faulty(**given: Any) -> int:
        asked.append(1)
        raise KeyError("a fault")

    monkeypatch.setattr(notices, "tell", faulty)
    broken: list[int] = []
    sender = Sender(on_broken=lambda: broken.append(1))
    sender.start()
    try:
        until(lambda: len(asked) > 2)
    finally:
        sender.stop()
    assert broken == []


def test_what_the_database_does_not_take_now_is_written_later_and_once(
    tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(tenant, receiver.url)
    tell(tenant)
    real = settle._log
    failed: list[int] = []

    def fails_once(*given: Any) -> None:
        real(*given)
        if not failed:
            failed.append(1)
            raise OperationalError("deadlock detected")

    monkeypatch.setattr(settle, "_log", fails_once)
    monkeypatch.setattr(sender_module, "RETRY_DATABASE_S", 0.05)
    sender = Sender()
    sender.start()
    try:
        until(lambda: deliveries(tenant)[0].status == "delivered")
    finally:
        sender.stop()
    assert (len(receiver.got), len(log(tenant))) == (1, 1)


# --- The vault -----------------------------------------------------------------------------------------------------------


def test_a_fault_of_our_vault_is_no_failure_of_a_receiver_and_uses_up_no_attempt(
    tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(tenant, receiver.url)
    for number in range(6):
        tell(tenant, number)

    def away() -> Any:
        raise MasterKeyMissing("gone")

    with monkeypatch.context() as patch:
        patch.setattr(claim.vault, "open_webhook_secrets", away)
        assert send_due() == 0
    endpoint = endpoint_of(tenant)
    assert (endpoint.failures, endpoint.failing_since, endpoint.rest_until) == (0, None, None)
    for delivery in deliveries(tenant):
        assert (delivery.status, delivery.tries, delivery.attempts, delivery.holder) == (
            "waiting",
            0,
            0,
            None,
        )
        assert delivery.last_error == operations.UNSEALED
        assert delivery.due_at
        assert 50 < (delivery.due_at - timezone.now()).total_seconds() <= 60
    due_now(tenant)
    assert send_due() == 6


def test_one_secret_that_does_not_open_takes_no_other_along_and_rotating_it_sends_what_waits(
    tenant: Tenant, receiver: Receiver
) -> None:
    faulty, _ = listen(tenant, receiver.url + "/faulty")
    listen(tenant, receiver.url + "/sound")
    with tenant_scope(tenant):
        WebhookSecret.objects.filter(endpoint=faulty).update(sealed=b"\1broken")
    tell(tenant)
    assert send_due() == 1
    assert [got.path for got in receiver.got] == ["/hook/sound"]
    with tenant_scope(tenant):
        operations.rotate_secret(endpoint_id=faulty.pk, actor=ACTOR)
    assert send_due() == 1
    assert [got.path for got in receiver.got] == ["/hook/sound", "/hook/faulty"]


def test_callbacks_whose_secret_does_not_open_are_signed_by_those_of_endpoints_or_wait(
    tenant: Tenant, receiver: Receiver
) -> None:
    with tenant_scope(tenant):
        operations.create_callback_secret(actor=ACTOR)
        WebhookSecret.objects.update(sealed=b"\1broken")
    call_back(tenant, receiver.url)
    assert send_due() == 0
    assert [one.last_error for one in deliveries(tenant)] == [operations.UNSEALED]
    _, secret = listen(tenant, receiver.url, events=["lane.paused"])
    due_now(tenant)
    assert send_due() == 1
    Webhook(secret.reveal()).verify(receiver.got[0].body, receiver.got[0].headers)


# --- Switched off --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "end"), [(200, "delivered"), (500, "held")])
def test_what_is_on_its_way_when_its_endpoint_is_switched_off_is_sent_once(
    tenant: Tenant, receiver: Receiver, status: int, end: str
) -> None:
    go = threading.Event()

    def slow(got: Got) -> tuple[int, dict[str, str], bytes]:
        go.wait(10)
        return status, {}, b""

    receiver.answer = slow
    endpoint, _ = listen(tenant, receiver.url)
    tell(tenant)
    sender = Sender()
    sender.start()

    def switch(on: bool) -> None:
        with tenant_scope(tenant):
            operations.switch_endpoint(endpoint_id=endpoint.pk, on=on, actor=ACTOR)

    try:
        until(lambda: receiver.got)
        switch(False)
        switch(True)  # in a hurry: nobody else may take it
        time.sleep(0.6)
        assert len(receiver.got) == 1
        switch(False)
        go.set()
        until(lambda: log(tenant))
        (delivery,) = deliveries(tenant)
        assert (delivery.status, delivery.due_at, delivery.holder, delivery.attempts) == (end, None, None, 1)
        receiver.always(200)
        switch(True)
        until(lambda: deliveries(tenant)[0].status == "delivered")
    finally:
        go.set()
        sender.stop()
    assert len(receiver.got) == (1 if status == 200 else 2)


def test_what_a_dead_sender_held_when_its_endpoint_was_switched_off_goes_out_when_it_is_on(
    tenant: Tenant, receiver: Receiver
) -> None:
    endpoint, _ = listen(tenant, receiver.url)
    tell(tenant)
    claim.take(uuid.uuid4(), lanes={}, tenants={}, room=10, lease_s=0.2)
    with tenant_scope(tenant):
        operations.switch_endpoint(endpoint_id=endpoint.pk, on=False, actor=ACTOR)
    time.sleep(0.3)
    assert send_due() == 0
    with tenant_scope(tenant):
        operations.switch_endpoint(endpoint_id=endpoint.pk, on=True, actor=ACTOR)
    assert send_due() == 1


def test_what_is_being_written_while_an_endpoint_is_switched_off_is_held_too(
    tenant: Tenant, receiver: Receiver
) -> None:
    endpoint, _ = listen(tenant, receiver.url)
    wrote, go = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with tenant_scope(tenant):
                emit("plan.changed", {})
                wrote.set()
                go.wait(5)
        finally:
            connections.close_all()

    def switch_off() -> None:
        try:
            with tenant_scope(tenant):
                operations.switch_endpoint(endpoint_id=endpoint.pk, on=False, actor=ACTOR)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write), threading.Thread(target=switch_off)]
    threads[0].start()
    assert wrote.wait(5)
    threads[1].start()
    time.sleep(0.2)
    go.set()
    for thread in threads:
        thread.join()
    assert [(one.status, one.due_at) for one in deliveries(tenant)] == [("held", None)]


def test_what_was_written_beside_a_switch_off_for_trouble_is_put_by(
    tenant: Tenant, receiver: Receiver
) -> None:
    listen(tenant, receiver.url)
    tell(tenant)
    with tenant_scope(tenant):
        WebhookEndpoint.objects.update(status="disabled", reason="gone")
    assert strays.put_right() == 1
    assert [(one.status, one.due_at) for one in deliveries(tenant)] == [("held", None)]
    assert strays.put_right() == 0


# --- Callbacks and names -------------------------------------------------------------------------------------------------


def test_a_host_whose_callbacks_fail_is_asked_one_thing_at_a_time_and_then_given_rests(
    tenant: Tenant, receiver: Receiver
) -> None:
    at_once, most, lock = 0, [], threading.Lock()

    def fail(got: Got) -> tuple[int, dict[str, str], bytes]:
        nonlocal at_once
        with lock:
            at_once += 1
            most.append(at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return 500, {}, b""

    receiver.answer = fail
    call_back(tenant, *[receiver.url] * 40)
    with receiving() as sound:
        call_back(tenant, sound.url)
        sender = Sender()
        sender.start()
        try:
            until(lambda: sound.got)
            time.sleep(2.0)
        finally:
            sender.stop()
    assert len(receiver.got) <= claim.PER_LANE + 5
    assert max(most) <= claim.PER_LANE
    assert endpoint_of(tenant).failures == 0


def test_lanes_that_fail_leave_places_to_the_others(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver
) -> None:
    call_back(tenant, *[f"http://localhost:{port}/" for port in range(20_000, 20_040)])
    with tenant_scope(tenant):
        lanes = list(WebhookDelivery.objects.values_list("lane", flat=True))
    listen(other_tenant, receiver.url)
    tell(other_tenant)
    taken = claim.take(
        uuid.uuid4(), lanes={}, tenants={}, room=100, lease_s=30, failing=lanes, room_failing=3
    )
    assert sorted((job.tenant_id == other_tenant.pk, job.failing) for job in taken) == [
        *[(False, True)] * 3, (True, False),
    ]  # fmt: skip
    assert claim.take(uuid.uuid4(), lanes={}, tenants={}, room=100, lease_s=30, resting=lanes) == []


def test_a_tenants_slow_name_servers_delay_no_other_tenant_and_what_was_not_asked_counts_as_nothing(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, asked = threading.Event(), []
    real = socket.getaddrinfo

    def slow(host: Any, *rest: Any, **named: Any) -> Any:
        if isinstance(host, str) and host.endswith(".slow.example"):
            asked.append(host)
            go.wait(10)
            raise socket.gaierror(-3, "no answer")
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(names, "TURN_S", 0.3)
    monkeypatch.setattr(names, "TIMEOUT_S", 0.6)
    call_back(tenant, *[f"https://h{number}.slow.example/" for number in range(40)])
    sender = Sender()
    sender.start()
    try:
        until(lambda: len(asked) == names.PER_TENANT)
        listen(other_tenant, receiver.url.replace("127.0.0.1", "localhost"))
        began = time.monotonic()
        tell(other_tenant)
        until(lambda: receiver.got)
        assert time.monotonic() - began < 3
        until(lambda: len(log(tenant)) == names.PER_TENANT)
        until(lambda: all(not one.holder for one in deliveries(tenant)))
        assert len(sender._lanes.failing) == names.PER_TENANT  # nobody failed of those that were not asked
    finally:
        go.set()
        sender.stop()
    assert {attempt.error for attempt in log(tenant)} == {names.SLOW}
    assert sum(one.tries for one in deliveries(tenant)) == len(log(tenant))


def test_what_waits_for_slow_name_servers_takes_nobody_elses_places_for_long(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It uses up no attempt, so it would come again for ever: most of the time it is to be out of the way."""
    go = threading.Event()
    monkeypatch.setattr(names, "look_up", lambda host, port: go.wait(10) and [])
    monkeypatch.setattr(sender_module, "AT_ONCE", 30)
    call_back(tenant, *[f"https://h{number}.slow.example/" for number in range(30)])
    sender = Sender()
    sender.start()
    try:
        until(lambda: len(sender._sending) == 30)
        listen(other_tenant, receiver.url)
        tell(other_tenant)
        until(lambda: receiver.got, 3)
        assert names.TURN_S * 10 <= settle.UNTRIED_AGAIN_S
    finally:
        go.set()
        sender.stop()


def test_entering_an_address_waits_for_no_name_server_for_long(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(addresses, "look_up", lambda host, port: go.wait(10) or [])
    monkeypatch.setattr(addresses, "CHECK_S", 0.1)
    began = time.monotonic()
    try:
        assert addresses.check("https://slow.example/hook").host == "slow.example"
        assert time.monotonic() - began < 2
    finally:
        go.set()
