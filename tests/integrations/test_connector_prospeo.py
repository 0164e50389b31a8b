"""Every answer that Prospeo documents, and what we make of it."""

import orjson
import pytest

from integrations.connectors.base import Balance, Quota, VendorResponse
from integrations.connectors.registry import get
from integrations.outcomes import Done, Fail, Miss, Retry

PROSPEO = get("prospeo")
ADDRESS = "ada@example.com"
FOUND = {"status": "VERIFIED", "revealed": True, "email": ADDRESS, "verification_method": "SMTP"}
VALID = {"email": ADDRESS, "email_status": "valid"}
UNREADABLE = Retry("error", "unreadable answer with status 200", uncertain=True)


def matched(email, **more):
    return {"error": False, "free_enrichment": False, "person": {"email": email}, "company": None} | more


def refused(code, **more):
    return {"error": True, "error_code": code} | more


ANSWERS = {
    "verified": (200, {}, matched(FOUND), Done(VALID, 1000)),
    "verified by a catch-all checker": (
        200,
        {},
        matched(FOUND | {"verification_method": "BOUNCEBAN"}),
        Done(VALID, 1000),
    ),
    "free repeat": (200, {}, matched(FOUND, free_enrichment=True), Done(VALID, 0, free=True)),
    "without the free mark": (200, {}, {"error": False, "person": {"email": FOUND}}, Done(VALID, 1000)),
    "new status word": (
        200,
        {},
        matched(FOUND | {"status": "GUESSED"}),
        Done({"email": ADDRESS, "email_status": "unverified"}, 1000),
    ),
    "matched, unavailable": (200, {}, matched(FOUND | {"status": "UNAVAILABLE"}), Miss(1000)),
    "matched, unavailable, free": (
        200,
        {},
        matched(FOUND | {"status": "UNAVAILABLE", "email": None}, free_enrichment=True),
        Miss(0),
    ),
    "matched, hidden": (
        200,
        {},
        matched(FOUND | {"revealed": False, "email": "a***@example.com"}),
        Miss(1000),
    ),
    "masked though revealed": (200, {}, matched(FOUND | {"email": "a***@example.com"}), Miss(1000)),
    "matched, no email object": (200, {}, matched(None), Miss(1000)),
    "no match": (400, {}, refused("NO_MATCH"), Miss()),
    "invalid datapoints": (
        400,
        {},
        refused("INVALID_DATAPOINTS"),
        Fail("invalid", "not enough data about the person"),
    ),
    "invalid request": (
        400,
        {},
        refused("INVALID_REQUEST", message="text"),
        Fail("invalid", "the vendor refused the request's form"),
    ),
    "no credits": (400, {}, refused("INSUFFICIENT_CREDITS"), Fail("no_credits", "out of credits")),
    "bad key": (401, {}, refused("INVALID_API_KEY"), Fail("auth_failed", "the key was refused")),
    "bad key as 400": (400, {}, refused("INVALID_API_KEY"), Fail("auth_failed", "the key was refused")),
    "restricted": (403, {}, refused("ACCOUNT_RESTRICTED"), Fail("auth_failed", "the account is restricted")),
    "rate, nothing told": (429, {}, refused("RATE_LIMITED"), Retry("rate_limited", "rate limit reached")),
    "rate, older name": (
        429,
        {},
        refused("RATE_LIMIT_EXCEEDED"),
        Retry("rate_limited", "rate limit reached"),
    ),
    "rate, this second": (
        429,
        {"x-minute-request-left": "200", "x-daily-request-left": "900"},
        refused("RATE_LIMITED"),
        Retry("rate_limited", "rate limit reached", after=1.0),
    ),
    "rate, this minute": (
        429,
        {"x-minute-request-left": "0", "x-minute-reset-seconds": "17", "x-daily-request-left": "900"},
        refused("RATE_LIMITED"),
        Retry("rate_limited", "rate limit reached", after=17.0),
    ),
    "rate, today": (
        429,
        {"x-minute-request-left": "0", "x-minute-reset-seconds": "17"}
        | {"x-daily-request-left": "0", "x-daily-reset-seconds": "4000"},
        refused("RATE_LIMITED"),
        Retry("rate_limited", "rate limit reached", after=4000.0),
    ),
    "rate, retry-after": (
        429,
        {"retry-after": "3"},
        refused("RATE_LIMITED"),
        Retry("rate_limited", "rate limit reached", after=3.0),
    ),
    "rate, as a page": (429, {}, b"<html>slow down</html>", Retry("rate_limited", "rate limit reached")),
    "internal error": (400, {}, refused("INTERNAL_ERROR"), Retry("error", "vendor fault", uncertain=True)),
    "edge fault": (
        502,
        {},
        b"<html>Bad Gateway</html>",
        Retry("error", "vendor fault with status 502", uncertain=True),
    ),
    "edge fault, told to wait": (
        503,
        {"retry-after": "20"},
        b"",
        Retry("error", "vendor fault with status 503", after=20.0, uncertain=True),
    ),
    "bad key as a page": (401, {}, b"<html>", Fail("auth_failed", "the key was refused with status 401")),
    "unknown code": (
        400,
        {},
        refused("SOMETHING_NEW"),
        Retry("error", "unreadable answer with status 400", uncertain=True),
    ),
    "legacy miss": (400, {}, {"error": True, "message": "NO_RESULT"}, Miss()),
    "page with status 200": (200, {}, b"<!DOCTYPE html>", UNREADABLE),
    "empty body": (200, {}, b"", UNREADABLE),
    "a list": (200, {}, [], UNREADABLE),
    "error is a word": (200, {}, matched(FOUND) | {"error": "false"}, UNREADABLE),
    "person is a list": (200, {}, {"error": False, "person": []}, UNREADABLE),
    "email is a string": (200, {}, matched(ADDRESS), UNREADABLE),
    "address is a number": (200, {}, matched(FOUND | {"email": 5}), UNREADABLE),
    "address is no address": (200, {}, matched(FOUND | {"email": "call me"}), UNREADABLE),
    "revealed is a word": (200, {}, matched(FOUND | {"revealed": "true"}), UNREADABLE),
    "status is missing": (200, {}, matched({"revealed": True, "email": ADDRESS}), UNREADABLE),
    "free mark is a word": (200, {}, matched(FOUND, free_enrichment="no"), UNREADABLE),
    "success with status 500": (
        500,
        {},
        matched(FOUND),
        Retry("error", "vendor fault with status 500", uncertain=True),
    ),
}


def answer(status, headers, body):
    return VendorResponse(status, headers, body if isinstance(body, bytes) else orjson.dumps(body))


@pytest.mark.parametrize(("status", "headers", "body", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_each_answer_of_prospeo_has_one_outcome(status, headers, body, expected):
    assert PROSPEO.interpret("find", answer(status, headers, body)) == expected


def test_the_request_asks_for_verified_addresses_with_all_that_is_known():
    query = {
        "first_name": " Ada ",
        "last_name": "Lovelace",
        "company": "Example  Ltd",
        "domain": "https://www.Example.com/team",
        "linkedin_url": "http://uk.linkedin.com/in/Ada-L/?trk=x",
    }
    request = PROSPEO.request("find", query, "secret")
    assert (request.method, request.path) == ("POST", "/enrich-person")
    assert request.headers == {"X-KEY": "secret", "Content-Type": "application/json"}
    assert request.json == {
        "only_verified_email": True,
        "data": {
            "first_name": "Ada",
            "last_name": "Lovelace",
            "company_name": "Example Ltd",
            "company_website": "example.com",
            "linkedin_url": "https://www.linkedin.com/in/ada-l",
        },
    }


def test_a_full_name_is_sent_only_where_its_parts_are_not_known():
    whole = PROSPEO.request("find", {"full_name": "Ada Lovelace", "company": "Example"}, "k").json
    assert whole is not None
    assert whole["data"] == {"full_name": "Ada Lovelace", "company_name": "Example"}
    half = PROSPEO.request(
        "find", {"full_name": "Ada Lovelace", "first_name": "Ada", "domain": "example.com"}, "k"
    ).json
    assert half is not None
    assert half["data"] == {"full_name": "Ada Lovelace", "company_website": "example.com"}


@pytest.mark.parametrize(
    ("query", "enough"),
    [
        ({"first_name": "Ada", "last_name": "Lovelace", "domain": "example.com"}, True),
        ({"full_name": "Ada Lovelace", "company": "Example"}, True),
        ({"linkedin_url": "https://www.linkedin.com/in/ada"}, True),
        ({"linkedin_url": "https://www.linkedin.com/sales/lead/ACwAAA"}, False),
        ({"first_name": "Ada", "domain": "example.com"}, False),
        ({"first_name": "Ada", "last_name": "Lovelace"}, False),
        ({"company": "Example", "domain": "example.com"}, False),
        ({"full_name": " ", "domain": "example.com"}, False),
        ({}, False),
    ],
)
def test_only_the_combinations_that_prospeo_accepts_are_asked(query, enough):
    assert PROSPEO.can_ask("find", query) is enough


def test_the_headers_tell_what_is_left_of_minute_and_day():
    headers = {
        "x-minute-request-left": "12",
        "x-minute-reset-seconds": "31",
        "x-daily-request-left": "0",
        "x-daily-rate-limit": "2000",
    }
    assert PROSPEO.quota(VendorResponse(200, headers)) == [Quota(0, None, 86_400.0), Quota(12, 31.0, 60.0)]
    assert PROSPEO.quota(VendorResponse(200, {"x-minute-request-left": "many"})) == []
    assert PROSPEO.quota(VendorResponse(200, {"x-minute-request-left": "-1"})) == []


BALANCES = {
    "credits left": (200, {"error": False, "response": {"remaining_credits": 99}}, Balance(99_000)),
    "none left": (
        200,
        {"error": False, "response": {"remaining_credits": 0}},
        Balance(0, False, "no_credits", "out of credits"),
    ),
    "bad key": (401, refused("INVALID_API_KEY"), Balance(None, False, "auth_failed", "the key was refused")),
    "rate": (429, refused("RATE_LIMITED"), Balance(None, False, "rate_limited", "rate limit reached")),
    "fault": (400, refused("INTERNAL_ERROR"), Balance(None, False, "error", "vendor fault")),
    "invalid": (
        400,
        refused("INVALID_REQUEST"),
        Balance(None, False, "error", "the vendor refused the request's form"),
    ),
    "page": (200, b"<html>", Balance(None, False, "error", "unreadable answer with status 200")),
    "odd number": (
        200,
        {"error": False, "response": {"remaining_credits": "NaN"}},
        Balance(None, False, "error", "unreadable answer with status 200"),
    ),
    "no figure": (
        200,
        {"error": False, "response": []},
        Balance(None, False, "error", "unreadable answer with status 200"),
    ),
}


@pytest.mark.parametrize(("status", "body", "expected"), BALANCES.values(), ids=BALANCES.keys())
def test_each_account_answer_of_prospeo_has_one_balance(status, body, expected):
    assert PROSPEO.interpret_balance(answer(status, {}, body)) == expected
