"""The addresses that vendors post to: who may, what is kept, and what a caller learns who may not."""

import time
import uuid
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import connect_all, make_run
from workflows import callback_tokens
from workflows.callback_tokens import Token
from workflows.models import Callback, StepQueue

pytestmark = pytest.mark.django_db
HOUR = 3600


@pytest.fixture
def token(tenant: Tenant) -> Token:
    """Of a queue entry that is there."""
    connect_all(tenant)
    run = make_run(tenant)
    with tenant_scope(tenant):
        entry = StepQueue.objects.get(run_id=run.pk)
    return Token(tenant.pk, entry.pk, entry.record_id, 1)


def address(token: Token, *, for_s: int = HOUR) -> str:
    return callback_tokens.PATH + callback_tokens.sign(token, int(time.time()) + for_s)


def post(where: str, body: bytes = b'{"job": "1"}', **extra: Any) -> Any:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    return client.post(where, body, content_type="application/json", **extra)


def kept(tenant: Tenant) -> list[Callback]:
    with tenant_scope(tenant):
        return list(Callback.objects.order_by("id"))


def test_what_is_posted_is_stored_and_answered_at_once(tenant: Tenant, token: Token) -> None:
    answer = post(address(token))
    assert (answer.status_code, answer.content, answer.cookies) == (202, b"", {})
    assert [(c.entry_id, c.attempt, bytes(c.body), c.state) for c in kept(tenant)] == [
        (token.entry_id, 1, b'{"job": "1"}', "new")
    ]


def test_the_same_body_again_is_counted_and_kept_once(tenant: Tenant, token: Token) -> None:
    assert [post(address(token)).status_code for _ in range(3)] == [202] * 3
    assert [(c.posts, c.state) for c in kept(tenant)] == [(3, "new")]


def test_nobody_fills_the_disk_by_posting_ever_other_bodies(tenant: Tenant, token: Token) -> None:
    assert {post(address(token), f"{number}".encode()).status_code for number in range(25)} == {202}
    assert len(kept(tenant)) == 20


def test_a_body_of_a_mebibyte_is_taken_and_one_byte_more_is_not(tenant: Tenant, token: Token) -> None:
    assert post(address(token), b"x" * 1024 * 1024).status_code == 202
    assert post(address(token), b"x" * (1024 * 1024 + 1)).status_code == 413
    assert len(kept(tenant)) == 1


def wrong_addresses(token: Token) -> list[str]:
    good = address(token)
    foreign = Token(uuid.uuid4(), token.entry_id, token.record_id, 1)
    purged = Token(token.tenant_id, token.entry_id, uuid.uuid4(), 1)
    head, _, signature = good.removeprefix(callback_tokens.PATH).partition(".")
    return [
        address(token, for_s=-1),
        address(foreign),
        address(purged),
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        f"{callback_tokens.PATH}{head}",
        f"{callback_tokens.PATH}B{head[1:]}.{signature}",
        f"{callback_tokens.PATH}{signature}.{signature}",
        f"{callback_tokens.PATH}é.x",
        f"{callback_tokens.PATH}x",
    ]


def test_a_wrong_or_stale_address_is_none_and_leaves_a_counter_alone(tenant: Tenant, token: Token) -> None:
    from prometheus_client import REGISTRY

    def counted() -> float:
        found = (
            REGISTRY.get_sample_value("weir_callbacks_refused_total", {"why": w}) for w in ("token", "gone")
        )
        return sum(value or 0 for value in found)

    before, addresses = counted(), wrong_addresses(token)
    answers = [post(where) for where in addresses]
    assert [answer.status_code for answer in answers] == [404] * len(addresses)
    # Nobody learns which of them was nearly right.
    assert len({answer.content for answer in answers}) == 1
    assert counted() - before == len(addresses)
    assert kept(tenant) == []


def test_an_address_of_the_tenants_binds_to_one_entry_and_attempt(tenant: Tenant, token: Token) -> None:
    read = callback_tokens.read(address(token).removeprefix(callback_tokens.PATH))
    assert read == token


def test_guessing_is_limited_by_the_callers_address(tenant: Tenant, token: Token) -> None:
    answers = [post(callback_tokens.PATH + "x", REMOTE_ADDR="192.0.2.1") for _ in range(31)]
    assert [answer.status_code for answer in answers] == [404] * 30 + [429]
    assert answers[-1]["Retry-After"] == "60"
    assert post(address(token), REMOTE_ADDR="192.0.2.1").status_code == 202
    assert post(callback_tokens.PATH + "x", REMOTE_ADDR="192.0.2.2").status_code == 404


def test_only_posts_are_taken(token: Token) -> None:
    assert Client().get(address(token)).status_code == 405


def test_what_was_posted_belongs_to_its_tenant(tenant: Tenant, other_tenant: Tenant, token: Token) -> None:
    post(address(token))
    with tenant_scope(other_tenant), connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM callback")
        assert cursor.fetchone() == (0,)
