"""Every answer that Findymail documents or is seen to give, and what we make of it."""

import orjson
import pytest

from integrations.connectors.base import Balance, VendorResponse
from integrations.connectors.registry import get
from integrations.outcomes import Done, Fail, Miss, Retry

FINDYMAIL = get("findymail")
ADDRESS = "ada@example.com"
CONTACT = {"name": "Ada Lovelace", "email": ADDRESS, "domain": "example.com"}
FOUND = Done({"email": ADDRESS, "email_status": "valid"}, 1000)
UNREADABLE = Retry("error", "unreadable answer with status 200", uncertain=True)
EMPTY = Fail("no_credits", "out of credits")
PAUSED = Fail("auth_failed", "the subscription is paused")
REFUSED = Fail("invalid", "the vendor refused the input")
NO_KEY = Fail("auth_failed", "the key was refused with status 401")
INVALID = {"message": "The given data was invalid.", "errors": {"domain": ["The domain field is required."]}}


def verdict(status):
    return Done({"email": ADDRESS, "email_status": status, "sub_status": ""}, 1000)


ANSWERS = {
    "found": ("find", 200, {}, {"contact": CONTACT}, FOUND),
    "found, more keys": ("find", 200, {}, {"contact": CONTACT | {"id": 5, "city": None}}, FOUND),
    "found, wrapped": ("find", 200, {}, {"payload": {"contact": CONTACT}}, FOUND),
    "found, bare": ("find", 200, {}, CONTACT, FOUND),
    "miss, contact null": ("find", 200, {}, {"contact": None}, Miss()),
    "miss, contact absent": ("find", 200, {}, {}, Miss()),
    "miss, contact empty object": ("find", 200, {}, {"contact": {}}, Miss()),
    "miss, contact empty list": ("find", 200, {}, {"contact": []}, Miss()),
    "miss, email null": ("find", 200, {}, {"contact": CONTACT | {"email": None}}, Miss()),
    "miss, email empty": ("find", 200, {}, {"contact": CONTACT | {"email": ""}}, Miss()),
    "miss, email absent": ("find", 200, {}, {"contact": {"name": "Ada"}}, Miss()),
    "miss, wrapped": ("find", 200, {}, {"payload": {"contact": None}}, Miss()),
    "miss, with a message": ("find", 200, {}, {"contact": None, "message": "Not found"}, Miss()),
    "miss, 404": ("find", 404, {}, {"message": "Not found"}, Miss()),
    "miss, 404 as a page": ("find", 404, {}, b"<html>", Miss()),
    "no credits": ("find", 402, {}, {"error": "Not enough credits"}, EMPTY),
    "no credits as a page": ("find", 402, {}, b"<html>", EMPTY),
    "paused": ("find", 423, {}, {"error": "Subscription is paused"}, PAUSED),
    "paused, other key": ("find", 423, {}, {"message": "Your subscription is currently paused."}, PAUSED),
    "bad token": ("find", 401, {}, {"message": "Unauthenticated."}, NO_KEY),
    "validation": ("find", 422, {}, INVALID, REFUSED),
    "throttled": (
        "find",
        429,
        {},
        {"message": "Too Many Attempts."},
        Retry("rate_limited", "rate limit reached"),
    ),
    "throttled, told to wait": (
        "find",
        429,
        {"retry-after": "2.5"},
        {"message": "Too Many Attempts."},
        Retry("rate_limited", "rate limit reached", after=2.5),
    ),
    "fault": (
        "find",
        500,
        {},
        {"message": "Server Error"},
        Retry("error", "vendor fault with status 500", uncertain=True),
    ),
    "fault as a page": (
        "find",
        503,
        {},
        b"<html>",
        Retry("error", "vendor fault with status 503", uncertain=True),
    ),
    "redirect": ("find", 302, {}, b"", Retry("error", "unexpected redirect with status 302")),
    "accepted only": (
        "find",
        202,
        {},
        {"contact": CONTACT},
        Retry("error", "unreadable answer with status 202", uncertain=True),
    ),
    "error with status 200": ("find", 200, {}, {"error": "Not enough credits"}, UNREADABLE),
    "contact is a word": ("find", 200, {}, {"contact": "none"}, UNREADABLE),
    "contact is true": ("find", 200, {}, {"contact": True}, UNREADABLE),
    "contact is a full list": ("find", 200, {}, {"contact": [CONTACT]}, UNREADABLE),
    "payload is a word": ("find", 200, {}, {"payload": "queued"}, UNREADABLE),
    "email is a number": ("find", 200, {}, {"contact": CONTACT | {"email": 1}}, UNREADABLE),
    "email is masked": ("find", 200, {}, {"contact": CONTACT | {"email": "a**@example.com"}}, UNREADABLE),
    "page with status 200": ("find", 200, {}, b"<html>login</html>", UNREADABLE),
    "verified": (
        "verify",
        200,
        {},
        {"email": ADDRESS, "verified": True, "provider": "Google"},
        verdict("valid"),
    ),
    "not verified": (
        "verify",
        200,
        {"content-type": "text/plain"},
        {"email": ADDRESS, "verified": False, "provider": None},
        verdict("unverified"),
    ),
    "verify, sample that is no JSON": (
        "verify",
        200,
        {},
        b'{"email": "ada@example.com", "verified": true, "provider": \'Google\'}',
        UNREADABLE,
    ),
    "verify, verdict is a word": ("verify", 200, {}, {"email": ADDRESS, "verified": "true"}, UNREADABLE),
    "verify, no address": ("verify", 200, {}, {"verified": True}, UNREADABLE),
    "verify, no credits": ("verify", 402, {}, {"error": "Not enough credits"}, EMPTY),
    "verify, paused": ("verify", 423, {}, {"error": "Subscription is paused"}, PAUSED),
    "verify, bad token": ("verify", 401, {}, {"message": "Unauthenticated."}, NO_KEY),
    "verify, validation": ("verify", 422, {}, INVALID, REFUSED),
    "verify, not found is no miss": (
        "verify",
        404,
        {},
        b"<html>",
        Retry("error", "unreadable answer with status 404", uncertain=True),
    ),
}


def answer(status, headers, body):
    return VendorResponse(status, headers, body if isinstance(body, bytes) else orjson.dumps(body))


@pytest.mark.parametrize(
    ("operation", "status", "headers", "body", "expected"), ANSWERS.values(), ids=ANSWERS.keys()
)
def test_each_answer_of_findymail_has_one_outcome(operation, status, headers, body, expected):
    assert FINDYMAIL.interpret(operation, answer(status, headers, body)) == expected


@pytest.mark.parametrize(
    ("operation", "query", "path", "body"),
    [
        (
            "find",
            {
                "first_name": "Ada",
                "last_name": "Lovelace",
                "domain": "Example.com",
                "linkedin_url": "linkedin.com/in/a",
            },
            "/api/search/name",
            {"name": "Ada Lovelace", "domain": "example.com"},
        ),
        (
            "find",
            {"full_name": "Ada Lovelace", "company": "Example Ltd"},
            "/api/search/name",
            {"name": "Ada Lovelace", "domain": "Example Ltd"},
        ),
        (
            "find",
            {"first_name": "Ada", "linkedin_url": "https://linkedin.com/in/ada/"},
            "/api/search/business-profile",
            {"linkedin_url": "https://www.linkedin.com/in/ada"},
        ),
        ("verify", {"email": " ada@example.com "}, "/api/verify", {"email": "ada@example.com"}),
    ],
)
def test_findymail_is_asked_by_name_before_profile(operation, query, path, body):
    request = FINDYMAIL.request(operation, query, "secret")
    assert FINDYMAIL.can_ask(operation, query)
    assert (request.method, request.path, request.json) == ("POST", path, body)
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Accept"] == "application/json"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"credits": 4990, "verifier_credits": 5000}, Balance(4_990_000)),
        (200, {"credits": 0, "verifier_credits": 5}, Balance(0)),
        (200, {"credits": 0, "verifier_credits": 0}, Balance(0, False, "no_credits", "out of credits")),
        (200, {"credits": None}, Balance(None, False, "error", "unreadable answer with status 200")),
        (200, [], Balance(None, False, "error", "unreadable answer with status 200")),
        (
            401,
            {"message": "Unauthenticated."},
            Balance(None, False, "auth_failed", "the key was refused with status 401"),
        ),
        (423, {"error": "paused"}, Balance(None, False, "auth_failed", "the subscription is paused")),
        (500, b"<html>", Balance(None, False, "error", "vendor fault with status 500")),
    ],
)
def test_each_credits_answer_of_findymail_has_one_balance(status, body, expected):
    assert FINDYMAIL.interpret_balance(answer(status, {}, body)) == expected
