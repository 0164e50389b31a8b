"""Every answer has a request id and is private; the caller's address cannot be made up."""

import re

import pytest
import structlog
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings

from config.middleware import CacheHeadersMiddleware, RequestContextMiddleware, client_ip
from tenants.context import current


def test_an_answer_has_a_fresh_request_id(client: Client):
    first, second = client.get("/healthz")["X-Request-Id"], client.get("/healthz")["X-Request-Id"]
    assert re.fullmatch(r"[A-Za-z0-9]{22}", first)
    assert first != second


def test_a_well_formed_id_is_kept(client: Client):
    assert (
        client.get("/healthz", headers={"X-Request-Id": "trace-0123.abc_DEF"})["X-Request-Id"]
        == "trace-0123.abc_DEF"
    )


@pytest.mark.parametrize(
    "brought", ["short", "x" * 65, "with space 12", "<script>alert(1)</script>", "-starts-oddly", "é" * 10]
)
def test_any_other_is_replaced(client: Client, brought: str):
    assert client.get("/healthz", headers={"X-Request-Id": brought})["X-Request-Id"] != brought


def test_an_answer_that_is_an_error_has_one_too(client: Client):
    answer = client.get("/no/such/page")
    assert answer.status_code == 404
    assert answer["X-Request-Id"]
    assert answer["Cache-Control"] == "no-store"


def test_the_id_is_in_context_and_logs_for_the_request_and_gone_afterwards():
    seen = {}

    def view(request: HttpRequest) -> HttpResponse:
        seen["context"] = current().request_id
        seen["logs"] = structlog.contextvars.get_contextvars()["request_id"]
        return HttpResponse()

    request = RequestFactory().get("/", headers={"X-Request-Id": "trace-0123"})
    RequestContextMiddleware(view)(request)
    assert seen == {"context": "trace-0123", "logs": "trace-0123"}
    assert current().request_id == ""
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_a_views_own_caching_is_left_alone_and_everything_else_is_not_stored():
    def private(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    def public(request: HttpRequest) -> HttpResponse:
        return HttpResponse(headers={"Cache-Control": "max-age=60"})

    request = RequestFactory().get("/")
    assert CacheHeadersMiddleware(private)(request)["Cache-Control"] == "no-store"
    assert CacheHeadersMiddleware(public)(request)["Cache-Control"] == "max-age=60"


def test_pages_may_load_nothing_from_elsewhere_and_be_framed_by_nobody(client: Client):
    answer = client.get("/healthz")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "6.6.6.6", "9.9.9.9"),
        (1, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 10.0.0.1", "1.2.3.4"),
        (2, "1.2.3.4", "9.9.9.9"),
        (1, "", "9.9.9.9"),
    ],
)
def test_only_as_many_forwarded_addresses_count_as_there_are_proxies(
    proxies: int, forwarded: str, expected: str
):
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR="9.9.9.9")
    with override_settings(TRUSTED_PROXIES=proxies):
        assert client_ip(request) == expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("9.9.9.9", "203.0.113.7:4711", "203.0.113.7"),
        ("9.9.9.9", "[2001:db8::1]:4711", "2001:db8::1"),
        ("9.9.9.9", "2001:DB8:0::1", "2001:db8::1"),
        ("9.9.9.9", "unknown", "9.9.9.9"),
        ("9.9.9.9", "203.0.113.7'; --", "9.9.9.9"),
        ("::ffff:9.9.9.9", "", "9.9.9.9"),
        ("", "", None),
        ("unix:", "", None),
    ],
)
def test_an_address_has_one_spelling_and_what_is_none_does_not_count(
    peer: str, forwarded: str, expected: str | None
):
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR=peer)
    with override_settings(TRUSTED_PROXIES=1):
        assert client_ip(request) == expected
