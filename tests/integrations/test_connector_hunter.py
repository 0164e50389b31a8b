"""Every answer that Hunter documents, and what we make of it."""

import orjson
import pytest

from integrations.connectors.base import Balance, VendorResponse, Window
from integrations.connectors.registry import get
from integrations.outcomes import Done, Fail, Miss, Retry

HUNTER = get("hunter")
ADDRESS = "ada@example.com"
UNREADABLE = Retry("error", "unreadable answer with status 200", uncertain=True)
REFUSED = Fail("invalid", "the vendor refused the input")
SUPPRESSED = Fail("suppressed", "the person asked not to be processed")
USED_UP = Fail("no_credits", "the plan's allowance is used up")
THROTTLED = Retry("rate_limited", "rate limit reached")


def found(status="valid", **more):
    return {"data": {"email": ADDRESS, "score": 97, "verification": {"date": None, "status": status}} | more}


def hit(email_status):
    return Done({"email": ADDRESS, "email_status": email_status}, 1000)


def checked(status, **more):
    return {"data": {"status": status, "email": ADDRESS, "score": 100} | more}


def verdict(email_status, sub_status="", cost=500):
    return Done({"email": ADDRESS, "email_status": email_status, "sub_status": sub_status}, cost)


def error(status, error_id, details="words"):
    return {"errors": [{"id": error_id, "code": status, "details": details}]}


ANSWERS = {
    "found, valid": ("find", 200, found(), hit("valid")),
    "found, accept_all": ("find", 200, found("accept_all"), hit("catch_all")),
    "found, unknown": ("find", 200, found("unknown"), hit("unknown")),
    "found, invalid": ("find", 200, found("invalid"), hit("invalid")),
    "found, not verified": ("find", 200, found(None), hit("unverified")),
    "found, no verification": ("find", 200, {"data": {"email": ADDRESS}}, hit("unverified")),
    "found, verification null": (
        "find",
        200,
        {"data": {"email": ADDRESS, "verification": None}},
        hit("unverified"),
    ),
    "found, new word": ("find", 200, found("excellent"), hit("unverified")),
    "miss": ("find", 200, found(None, email=None, score=None), Miss()),
    "miss, empty": ("find", 200, found(None, email="", score=0), Miss()),
    "miss, 404": ("find", 404, error(404, "not_found"), Miss()),
    "wrong params": ("find", 400, error(400, "wrong_params"), REFUSED),
    "invalid first name": ("find", 400, error(400, "invalid_first_name"), REFUSED),
    "invalid last name": ("find", 400, error(400, "invalid_last_name"), REFUSED),
    "invalid full name": ("find", 400, error(400, "invalid_full_name"), REFUSED),
    "invalid domain": ("find", 400, error(400, "invalid_domain"), REFUSED),
    "invalid max duration": ("find", 400, error(400, "invalid_max_duration"), REFUSED),
    "claimed": ("find", 451, error(451, "claimed_email"), SUPPRESSED),
    "claimed, no body": ("find", 451, b"", SUPPRESSED),
    "bad key": (
        "find",
        401,
        error(401, "authentication_failed"),
        Fail("auth_failed", "the key was refused with status 401"),
    ),
    "403 is the rate limit": ("find", 403, error(403, "too_many_requests"), THROTTLED),
    "403 as a page": ("find", 403, b"<html>", THROTTLED),
    "429 is the allowance": (
        "find",
        429,
        error(429, "usage_exceeded", "You reached your plan's limit"),
        USED_UP,
    ),
    "429 ambiguous": ("find", 429, error(429, "too_many_requests"), USED_UP),
    "429 without a body": ("find", 429, b"", USED_UP),
    "429 that speaks of the rate": (
        "find",
        429,
        error(429, "too_many_requests", "15 requests per second"),
        Retry("rate_limited", "rate limit reached", after=60.0),
    ),
    "422": ("find", 422, error(422, "invalid"), REFUSED),
    "fault": ("find", 500, b"<html>", Retry("error", "vendor fault with status 500", uncertain=True)),
    "400 as a page": (
        "find",
        400,
        b"<html>",
        Retry("error", "unreadable answer with status 400", uncertain=True),
    ),
    "no data": ("find", 200, {"meta": {}}, UNREADABLE),
    "data is a list": ("find", 200, {"data": []}, UNREADABLE),
    "email is a number": ("find", 200, {"data": {"email": 5}}, UNREADABLE),
    "email is masked": ("find", 200, {"data": {"email": "a*@example.com"}}, UNREADABLE),
    "verification is a word": (
        "find",
        200,
        {"data": {"email": ADDRESS, "verification": "valid"}},
        UNREADABLE,
    ),
    "status is a number": ("find", 200, found(1), UNREADABLE),
    "page": ("find", 200, b"<html>", UNREADABLE),
    "verify, valid": ("verify", 200, checked("valid"), verdict("valid")),
    "verify, invalid": ("verify", 200, checked("invalid"), verdict("invalid")),
    "verify, accept_all": ("verify", 200, checked("accept_all"), verdict("catch_all")),
    "verify, webmail": ("verify", 200, checked("webmail"), verdict("unverified", "webmail")),
    "verify, disposable": ("verify", 200, checked("disposable"), verdict("do_not_mail", "disposable")),
    "verify, unknown": ("verify", 200, checked("unknown"), verdict("unknown", cost=0)),
    "verify, new word": ("verify", 200, checked("deliverable"), verdict("unknown")),
    "verify, still running": (
        "verify",
        202,
        b"",
        Retry("error", "the verification is still running", after=5.0),
    ),
    "verify, still running, partly": (
        "verify",
        202,
        checked("valid"),
        Retry("error", "the verification is still running", after=5.0),
    ),
    "verify, odd mail server": (
        "verify",
        222,
        {"meta": {}},
        Retry("error", "the mail server answered unexpectedly", after=120.0),
    ),
    "verify, wrong params": ("verify", 400, error(400, "wrong_params"), REFUSED),
    "verify, invalid email": ("verify", 400, error(400, "invalid_email"), REFUSED),
    "verify, claimed": ("verify", 451, error(451, "claimed_email"), SUPPRESSED),
    "verify, no status": ("verify", 200, {"data": {"email": ADDRESS}}, UNREADABLE),
    "verify, status is null": ("verify", 200, checked(None), UNREADABLE),
    "verify, email is null": ("verify", 200, checked("valid", email=None), UNREADABLE),
}


def answer(status, body):
    return VendorResponse(status, {}, body if isinstance(body, bytes) else orjson.dumps(body))


@pytest.mark.parametrize(("operation", "status", "body", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_each_answer_of_hunter_has_one_outcome(operation, status, body, expected):
    assert HUNTER.interpret(operation, answer(status, body)) == expected


@pytest.mark.parametrize(
    ("operation", "query", "path", "params"),
    [
        (
            "find",
            {"first_name": "Ada", "last_name": "Lovelace", "domain": "example.com", "company": "Example"},
            "/v2/email-finder",
            {"domain": "example.com", "first_name": "Ada", "last_name": "Lovelace"},
        ),
        (
            "find",
            {"full_name": "Ada Lovelace", "company": "Example"},
            "/v2/email-finder",
            {"company": "Example", "full_name": "Ada Lovelace"},
        ),
        (
            "find",
            {"linkedin_url": "https://de.linkedin.com/in/Ada-L%C3%B6/de"},
            "/v2/email-finder",
            {"linkedin_handle": "ada-lö"},
        ),
        ("verify", {"email": ADDRESS}, "/v2/email-verifier", {"email": ADDRESS}),
    ],
)
def test_the_key_is_in_a_header_and_the_person_in_the_query(operation, query, path, params):
    request = HUNTER.request(operation, query, "secret")
    assert HUNTER.can_ask(operation, query)
    assert (request.method, request.path, request.params) == ("GET", path, params)
    assert request.headers == {"X-API-KEY": "secret"}


def test_finder_and_verifier_are_counted_apart():
    assert set(HUNTER.windows) == {
        Window(15, 1, "find"),
        Window(500, 60, "find"),
        Window(10, 1, "verify"),
        Window(300, 60, "verify"),
    }
    assert (HUNTER.worst_credits("find"), HUNTER.worst_credits("verify")) == (1000, 500)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"data": {"requests": {"credits": {"used": 10.5, "available": 50}}}}, Balance(39_500)),
        (
            200,
            {"data": {"requests": {"searches": {"used": 50, "available": 50}}}},
            Balance(0, False, "no_credits", "out of credits"),
        ),
        (200, {"data": {"requests": {"credits": {"used": "x"}}}}, Balance(None)),
        (200, {"data": {"plan_name": "Free"}}, Balance(None)),
        (200, [], Balance(None, False, "error", "unreadable answer with status 200")),
        (
            401,
            error(401, "authentication_failed"),
            Balance(None, False, "auth_failed", "the key was refused with status 401"),
        ),
        (403, error(403, "too_many_requests"), Balance(None, False, "rate_limited", "rate limit reached")),
        (429, error(429, "usage"), Balance(None, False, "no_credits", "the plan's allowance is used up")),
    ],
)
def test_each_account_answer_of_hunter_has_one_balance(status, body, expected):
    assert HUNTER.interpret_balance(answer(status, body)) == expected
