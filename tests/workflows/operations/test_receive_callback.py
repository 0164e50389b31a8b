"""What vendors post beside the deletion of what it belongs to: it is kept with it, or it is not kept."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connections

from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.operations import delete_tenant
from tenants.scope import tenant_scope
from tests import traces
from tests.factories import connect_all, make_run
from workflows.callback_tokens import Token
from workflows.models import Callback, Record, StepQueue
from workflows.operations import receive_callback as operation

BODY = b'{"email": "ada@leak.example"}'


@pytest.fixture
def token(committed: None, tenant: Tenant) -> Token:
    """Of a record that is there and an entry that has gone."""
    connect_all(tenant)
    run = make_run(tenant, 1)
    with tenant_scope(tenant):
        record = Record.objects.get(run_id=run.pk)
        StepQueue.objects.filter(run_id=run.pk).delete()
    return Token(tenant.pk, uuid7(), record.pk, 1)


def beside(work: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def ended_or_waits(thread: threading.Thread) -> None:
    """Until a thread is through or some login waits for another's lock."""
    with psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True) as admin:
        for _ in range(600):
            waiting = admin.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            if not thread.is_alive() or (waiting and waiting[0]):
                return
            time.sleep(0.05)
    raise AssertionError("neither through nor waiting")


@pytest.fixture
def in_the_middle(monkeypatch: pytest.MonkeyPatch, token: Token) -> Callable[[Callable[[], Any]], list[Any]]:
    """`in_the_middle(work)`: `work` begins while a post has looked and not written; what the post was answered."""

    def meanwhile(work: Callable[[], Any]) -> list[Any]:
        looked, go_on, answers = threading.Event(), threading.Event(), []

        def freeze() -> Any:
            looked.set()
            assert go_on.wait(60)
            return uuid7()

        monkeypatch.setattr(operation, "uuid7", freeze)
        post = beside(lambda: answers.append(operation.receive_callback(token=token, body=BODY)))
        assert looked.wait(30)
        other = beside(work)
        ended_or_waits(other)
        go_on.set()
        post.join(60)
        other.join(60)
        return answers

    return meanwhile


def test_nothing_is_kept_of_a_tenant_that_is_erased_while_a_post_is_taken(
    tenant: Tenant, in_the_middle: Any
) -> None:
    def erase() -> None:
        with tenant_scope(tenant):
            delete_tenant.close_tenant(actor="user:owner@acme.example")
        delete_tenant.erase(tenant.pk)

    in_the_middle(erase)
    for tenant_id in delete_tenant.closing_tenants():
        assert delete_tenant.erase(tenant_id)
    assert traces.search([str(tenant.pk), "ada@leak.example"]) == set()


def test_a_tenant_that_is_being_deleted_takes_no_more_posts(tenant: Tenant, token: Token) -> None:
    with tenant_scope(tenant):
        delete_tenant.close_tenant(actor="user:owner@acme.example")
    assert operation.receive_callback(token=token, body=BODY) is False
    with tenant_scope(tenant):
        assert not Callback.objects.exists()
