"""What is done beside the sending, mails and strays, holds up neither it nor one another, and leaves nobody out."""

import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from integrations.models import WebhookEndpoint
from integrations.webhooks import claim, notices, operations, outbox, pieces, settle, strays
from integrations.webhooks import sender as sender_module
from integrations.webhooks.post import Attempted
from integrations.webhooks.sender import Sender
from tenants import mails
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tests.factories import ACTOR
from tests.integrations.receiver import Receiver
from tests.integrations.telling import deliveries, endpoint_of, listen, tell, until

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], bool]], list[str]]:
    """Has mails to admins go by a function of the endpoint's address; returns the addresses that it was given."""

    def by(answer: Callable[[str], bool]) -> list[str]:
        given: list[str] = []

        def send(*args: Any, url: str, **facts: Any) -> bool:
            given.append(url)
            return answer(url)

        monkeypatch.setattr(mails, "send_webhook_trouble", send)
        return given

    return by


def in_trouble(tenant: Tenant) -> None:
    with tenant_scope(tenant):
        WebhookEndpoint.objects.update(notice="failing")


def test_a_mail_server_that_thinks_holds_up_nothing_that_is_sent_nor_the_end_of_the_process(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    monkeypatch.setattr(sender_module, "NOTICES_EVERY_S", 0.05)
    go = threading.Event()
    mailed = asked(lambda url: not go.wait(20))
    for number in range(3):
        listen(tenant, f"{receiver.url}/{number}")
    in_trouble(tenant)
    listen(other_tenant, receiver.url)
    sender = Sender(timeout_s=1, lease_s=1.5)
    sender.start()
    try:
        until(lambda: mailed)
        tell(other_tenant)
        until(lambda: [one.status for one in deliveries(other_tenant)] == ["delivered"], 3)
        assert len(receiver.got) == 1
        began = time.monotonic()
        threading.Timer(0.5, go.set).start()
        sender.stop()
        assert time.monotonic() - began < 3
        time.sleep(0.7)
        assert len(mailed) == 1  # whoever is left is told by the next process
    finally:
        go.set()
        sender.stop()


def test_mails_that_nobody_takes_keep_no_other_waiting_for_ever(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    monkeypatch.setattr(notices, "MOST_ENDPOINTS", 2)
    first, last = sorted((tenant, other_tenant), key=lambda one: one.pk)
    for number in range(3):
        listen(first, f"{receiver.url}/refused/{number}")
    listen(last, receiver.url)
    in_trouble(first)
    in_trouble(last)
    asked(lambda url: "refused" not in url)
    until(notices.tell)
    assert endpoint_of(last).notice == ""


def test_what_somebody_writes_at_one_tenants_endpoint_keeps_nobody_elses_from_being_settled(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver
) -> None:
    first, last = sorted((tenant, other_tenant), key=lambda one: one.pk)
    for one in (first, last):
        listen(one, receiver.url)
        tell(one)
    jobs = claim.take(uuid.uuid4(), lanes={}, tenants={}, room=10, lease_s=30)
    attempts = [Attempted(job, timezone.now(), 5, 200) for job in jobs]
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("SELECT set_config('app.tenant_id', %s, true)", [str(first.pk)])
        other.execute("SELECT 1 FROM integrations_webhookendpoint FOR UPDATE")
        began = time.monotonic()
        again = settle.settle(attempts)
        assert time.monotonic() - began < 4
    assert [a.job.tenant_id for a in again] == [first.pk]
    assert [deliveries(one)[0].status for one in (first, last)] == ["waiting", "delivered"]
    assert settle.settle(again) == []
    assert deliveries(first)[0].status == "delivered"


def test_strays_that_cannot_be_put_by_keep_no_other_waiting(
    tenant: Tenant, other_tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = sorted((tenant, other_tenant), key=lambda one: one.pk)
    for one in (first, last):
        endpoint, _ = listen(one, receiver.url)
        tell(one)
        with tenant_scope(one):
            WebhookEndpoint.objects.update(status="disabled", reason="gone")
        if one == first:
            broken = endpoint.pk
    real = pieces.put_right

    def faulty(endpoint_ids: list[uuid.UUID]) -> bool:
        if broken in endpoint_ids:
            raise KeyError("a fault")
        return real(endpoint_ids)

    monkeypatch.setattr(pieces, "put_right", faulty)
    monkeypatch.setattr(strays, "MOST", 1)  # of two, now the one and now the other
    until(strays.put_right)
    assert [deliveries(one)[0].status for one in (first, last)] == ["waiting", "held"]


def many(tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> WebhookEndpoint:
    """An endpoint with more deliveries than are touched at once, one of them on its way."""
    monkeypatch.setattr(pieces, "AT_ONCE", 4)
    endpoint, _ = listen(tenant, receiver.url)
    tell(tenant)
    claim.take(uuid.uuid4(), lanes={}, tenants={}, room=1, lease_s=30)
    for number in range(9):
        tell(tenant, number)
    return endpoint


def states(tenant: Tenant) -> Counter[tuple[str, bool, bool]]:
    """(status, whether it is due at some time, whether somebody has it) of each delivery."""
    return Counter((one.status, one.due_at is not None, one.holder is not None) for one in deliveries(tenant))


def test_what_waits_for_an_endpoint_is_put_by_and_let_go_piece_by_piece(
    tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = many(tenant, receiver, monkeypatch)
    held, waiting = ("held", False, False), ("waiting", True, False)
    under_way = [(status, True, True) for status in ("held", "waiting")]
    with tenant_scope(tenant):
        operations.switch_endpoint(endpoint_id=endpoint.pk, on=False, actor=ACTOR)
    found = states(tenant)
    assert sum(count for (status, *_), count in found.items() if status == "held") == 4
    assert claim.take(uuid.uuid4(), lanes={}, tenants={}, room=10, lease_s=30) == []
    assert strays.put_right() == 1
    assert states(tenant) == {held: 9, under_way[0]: 1}
    assert strays.put_right() == 0
    with tenant_scope(tenant):
        operations.switch_endpoint(endpoint_id=endpoint.pk, on=True, actor=ACTOR)
    assert states(tenant)[waiting] in (3, 4)
    assert strays.put_right() == 1
    assert states(tenant) == {waiting: 9, under_way[1]: 1}
    assert strays.put_right() == 0


def test_who_writes_an_event_does_not_wait_for_the_end_of_a_long_log(
    tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = many(tenant, receiver, monkeypatch)
    real, told = pieces._piece, []

    def watched(statement: str, endpoint_id: uuid.UUID) -> bool:
        more = real(statement, endpoint_id)
        if statement == pieces._DELETE:
            other = threading.Thread(target=write)
            other.start()
            other.join(5)
            assert not other.is_alive()
        return more

    def write() -> None:
        try:
            with tenant_scope(tenant), connections[APP_ALIAS].cursor() as cursor:
                told.append(outbox.write(cursor, tenant.pk, [outbox.Event("plan.changed", {})]))
        finally:
            connections.close_all()

    monkeypatch.setattr(pieces, "_piece", watched)
    operations.delete_endpoint(tenant_id=tenant.pk, endpoint_id=endpoint.pk, actor=ACTOR)
    assert told == [0, 0, 0]
    assert deliveries(tenant) == []
    with tenant_scope(tenant):
        assert not WebhookEndpoint.objects.exists()
