"""Every answer that ZeroBounce documents, and what we make of it."""

import orjson
import pytest

from integrations.connectors.base import Balance, Clarify, VendorResponse
from integrations.connectors.registry import get
from integrations.outcomes import Done, Fail, Retry

ZEROBOUNCE = get("zerobounce")
ADDRESS = "ada@example.com"
BOTH = {"error": "Invalid API key or your account ran out of credits"}
UNREADABLE = Retry("error", "unreadable answer with status 200", uncertain=True)


def result(status, sub_status="", **more):
    return {
        "address": ADDRESS,
        "status": status,
        "sub_status": sub_status,
        "free_email": False,
        "mx_found": "true",
        "domain_age_days": "9692",
    } | more


def done(email_status, sub_status="", cost=1000):
    return Done({"email": ADDRESS, "email_status": email_status, "sub_status": sub_status}, cost)


VERDICTS = [
    ("valid", "", done("valid")),
    ("valid", "alias_address", done("valid", "alias_address")),
    ("valid", "leading_period_removed", done("valid", "leading_period_removed")),
    ("valid", "gold", done("valid", "gold")),
    ("valid", "accept_all", done("valid", "accept_all")),
    ("valid", "role_based_accept_all", done("valid", "role_based_accept_all")),
    ("invalid", "mailbox_not_found", done("invalid", "mailbox_not_found")),
    ("invalid", "mailbox_quota_exceeded", done("invalid", "mailbox_quota_exceeded")),
    ("catch-all", "", done("catch_all")),
    ("catch-all", "accept_all", done("catch_all", "accept_all")),
    ("unknown", "greylisted", done("unknown", "greylisted", 0)),
    ("unknown", "timeout_exceeded", done("unknown", "timeout_exceeded", 0)),
    ("unknown", "", done("unknown", "", 0)),
    ("spamtrap", "", done("spamtrap")),
    ("abuse", "", done("abuse")),
    ("do_not_mail", "role_based", done("do_not_mail", "role_based")),
    ("do_not_mail", "disposable", done("do_not_mail", "disposable")),
    ("do_not_mail", "toxic", done("do_not_mail", "toxic")),
    ("valid", None, done("valid")),
    ("", "", done("unknown")),
    ("VALID", "", done("unknown")),
    ("catch_all", "", done("unknown")),
    ("brand_new", "word", done("unknown", "word")),
]


def answer(status, body, headers=None):
    return VendorResponse(status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body))


@pytest.mark.parametrize(("status", "sub_status", "expected"), VERDICTS)
def test_each_verdict_of_zerobounce_has_one_status_and_price(status, sub_status, expected):
    assert ZEROBOUNCE.interpret("verify", answer(200, result(status, sub_status))) == expected


FAULTS = {
    "missing email": (
        400,
        {"error": "Missing parameter: email"},
        {},
        Fail("invalid", "the vendor refused the input"),
    ),
    "blocked": (429, {"error": "blocked"}, {}, Retry("rate_limited", "rate limit reached", after=60.0)),
    "blocked, told to wait": (
        429,
        b"",
        {"retry-after": "600"},
        Retry("rate_limited", "rate limit reached", after=600.0),
    ),
    "refused as a page": (403, b"<html>", {}, Fail("auth_failed", "the key was refused with status 403")),
    "fault": (500, b"<html>", {}, Retry("error", "vendor fault with status 500", uncertain=True)),
    "fault with a verdict": (
        500,
        result("valid"),
        {},
        Retry("error", "vendor fault with status 500", uncertain=True),
    ),
    "fault with an error": (
        500,
        {"error": "oops"},
        {},
        Retry("error", "vendor fault with status 500", uncertain=True),
    ),
    "other error": (200, {"error": "Something new"}, {}, UNREADABLE),
    "error is a number": (200, {"error": 7}, {}, UNREADABLE),
    "page": (200, b"<html>", {}, UNREADABLE),
    "text": (200, b"valid", {}, UNREADABLE),
    "list": (200, [result("valid")], {}, UNREADABLE),
    "nothing in it": (200, {}, {}, UNREADABLE),
    "status is a list": (200, result(["valid"]), {}, UNREADABLE),
    "address is missing": (200, result("valid", address=None), {}, UNREADABLE),
    "sub status is a number": (200, result("valid", 5), {}, UNREADABLE),
}


@pytest.mark.parametrize(("status", "body", "headers", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_of_zerobounce_has_one_outcome(status, body, headers, expected):
    assert ZEROBOUNCE.interpret("verify", answer(status, body, headers)) == expected


@pytest.mark.parametrize("status", [200, 400, 401, 403])
@pytest.mark.parametrize(
    "message", [BOTH["error"], BOTH["error"].title(), "Invalid API Key or out of credits."]
)
def test_the_message_with_two_meanings_asks_for_the_balance(status, message):
    outcome = ZEROBOUNCE.interpret("verify", answer(status, {"error": message}))
    assert isinstance(outcome, Clarify)
    request = outcome.request("secret")
    assert (request.method, request.path, request.params) == ("GET", "/v2/getcredits", {"api_key": "secret"})


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer(200, {"Credits": "-1"}), Fail("auth_failed", "the key was refused")),
        (answer(200, {"Credits": -1}), Fail("auth_failed", "the key was refused")),
        (answer(200, b"-1"), Fail("auth_failed", "the key was refused")),
        (answer(200, {"Credits": "0"}), Fail("no_credits", "out of credits")),
        (answer(200, {"Credits": 0}), Fail("no_credits", "out of credits")),
        (answer(200, {"Credits": "12"}), Retry("error", "the vendor refused a key that has credits")),
        (answer(200, {}), Fail("auth_failed", "the key was refused or is out of credits")),
        (answer(500, b"<html>"), Fail("auth_failed", "the key was refused or is out of credits")),
        (None, Fail("auth_failed", "the key was refused or is out of credits")),
    ],
)
def test_the_balance_tells_a_bad_key_from_an_empty_one(reply, expected):
    assert ZEROBOUNCE.interpret_clarification("verify", reply) == expected


def test_the_request_has_key_and_address_in_its_query_and_not_in_its_repr():
    request = ZEROBOUNCE.request("verify", {"email": "ada+x@example.com"}, "secret")
    assert (request.method, request.path) == ("GET", "/v2/validate")
    assert request.params == {"api_key": "secret", "email": "ada+x@example.com", "ip_address": ""}
    assert "secret" not in repr(request)
    assert "ada" not in repr(request)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"Credits": "12345"}, Balance(12_345_000)),
        (200, {"Credits": 7}, Balance(7_000)),
        (200, {"Credits": "0"}, Balance(0, False, "no_credits", "out of credits")),
        (200, {"Credits": "-1"}, Balance(None, False, "auth_failed", "the key was refused")),
        (200, {"Credits": None}, Balance(None, False, "error", "unreadable answer with status 200")),
        (200, {"Credits": True}, Balance(None, False, "error", "unreadable answer with status 200")),
        (200, b"", Balance(None, False, "error", "unreadable answer with status 200")),
        (429, b"", Balance(None, False, "rate_limited", "rate limit reached")),
        (503, b"", Balance(None, False, "error", "vendor fault with status 503")),
    ],
)
def test_each_credits_answer_of_zerobounce_has_one_balance(status, body, expected):
    assert ZEROBOUNCE.interpret_balance(answer(status, body)) == expected
