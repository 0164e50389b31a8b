"""What all connectors have in common: a list, identities, and nothing that makes them raise."""

import copy
import json
import subprocess
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.connectors.base import Balance, Clarify, VendorResponse
from integrations.connectors.reading import retry_after
from integrations.connectors.registry import CONNECTORS, UnknownProvider, get, offered
from integrations.outcomes import EMAIL_STATUSES, AwaitCallback, Done, Fail, Miss, Poll, Retry

OPERATIONS = [
    (connector.provider, operation) for connector in offered() for operation in sorted(connector.operations)
]
FIND_FIELDS = ("first_name", "last_name", "full_name", "company", "domain", "linkedin_url")
PERSON = {"first_name": "Ada", "last_name": "Lovelace", "domain": "example.com"}

WORDS = (
    *(
        "error",
        "error_code",
        "person",
        "email",
        "status",
        "revealed",
        "free_enrichment",
        "contact",
        "payload",
    ),
    *(
        "data",
        "verified",
        "address",
        "sub_status",
        "verification",
        "errors",
        "id",
        "details",
        "Credits",
        "credits",
    ),
    *("response", "requests", "used", "available", "message", "remaining_credits", "verifier_credits"),
    *("VERIFIED", "valid", "NO_MATCH", "RATE_LIMITED", "ada@example.com", "invalid api key"),
)
words = st.sampled_from(WORDS)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=8)
bodies = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=12,
)
raw_bodies = bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=64)
header_names = st.sampled_from(
    ["retry-after", "x-minute-request-left", "x-minute-reset-seconds", "x-daily-request-left"]
)
header_values = st.text(max_size=12) | st.floats().map(str) | st.integers().map(str)
statuses = st.sampled_from(
    [100, 200, 201, 202, 204, 222, 301, 400, 401, 402, 403, 404, 409, 422, 423, 429, 451, 500, 503]
)
responses = st.builds(
    VendorResponse, statuses | st.integers(100, 599), st.dictionaries(header_names, header_values), raw_bodies
)

CONTACT = {"name": "Ada", "email": "ada@example.com", "domain": "example.com"}
GOOD_ANSWERS = {
    ("prospeo", "find"): {
        "error": False,
        "free_enrichment": False,
        "person": {"email": {"status": "VERIFIED", "revealed": True, "email": "ada@example.com"}},
    },
    ("findymail", "find"): {"contact": CONTACT, "payload": {"contact": CONTACT}},
    ("findymail", "verify"): {"email": "ada@example.com", "verified": True, "provider": None},
    ("zerobounce", "verify"): {"address": "ada@example.com", "status": "valid", "sub_status": ""},
    ("hunter", "find"): {"data": {"email": "ada@example.com", "verification": {"status": "valid"}}},
    ("hunter", "verify"): {"data": {"email": "ada@example.com", "status": "valid"}},
}


def places(body, path=()):
    """Every path into a body."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield (*path, name)
            yield from places(value, (*path, name))


def replaced(body, path, value):
    body = copy.deepcopy(body)
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return body


def test_the_registry_has_the_four_vendors():
    assert {c.provider for c in offered()} == {"prospeo", "findymail", "zerobounce", "hunter"}
    assert {c.provider for c in CONNECTORS.values() if c.sandbox_only} == {"jobs"}
    assert all(get(name).provider == name for name in CONNECTORS)


def test_an_unknown_provider_is_refused_with_the_names_of_the_known_ones():
    with pytest.raises(
        UnknownProvider, match=r"'clearbit'.*findymail, hunter, prospeo, zerobounce"
    ) as caught:
        get("clearbit")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
@settings(deadline=None, max_examples=300)
@given(response=responses)
def test_no_answer_makes_a_connector_raise(name, operation, response):
    connector = get(name)
    outcome = connector.interpret(operation, response)
    assert isinstance(outcome, Done | Miss | Retry | Fail | Clarify)
    if isinstance(outcome, Done):
        assert outcome.answer["email_status"] in EMAIL_STATUSES
        assert 0 <= outcome.credits <= connector.worst_credits(operation)
    if isinstance(outcome, Retry) and outcome.after is not None:
        assert 0 <= outcome.after <= 86_400
    for quota in connector.quota(response):
        assert quota.remaining >= 0
    assert isinstance(connector.interpret_balance(response), Balance)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_good_answer_with_one_odd_value_never_becomes_a_wrong_address(name, operation, data):
    good = GOOD_ANSWERS[name, operation]
    path = data.draw(st.sampled_from(list(places(good))))
    body = replaced(good, path, data.draw(bodies))
    outcome = get(name).interpret(operation, VendorResponse(200, {}, json.dumps(body).encode()))
    assert isinstance(outcome, Done | Miss | Retry | Fail | Clarify)
    if isinstance(outcome, Done):
        assert "@" in outcome.answer["email"] or operation == "verify"
        assert outcome.answer["email_status"] in EMAIL_STATUSES


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
@settings(deadline=None, max_examples=200)
@given(
    query=st.dictionaries(
        st.sampled_from((*FIND_FIELDS, "email")), st.text(max_size=30) | st.none() | st.integers()
    )
)
def test_no_query_makes_a_connector_raise(name, operation, query):
    connector = get(name)
    assert len(connector.fingerprint(operation, query)) == 32
    connector.can_ask(operation, query)
    orjson.dumps(connector.request(operation, query, "k").json)


@pytest.mark.parametrize(
    "same",
    [
        {"first_name": " ada ", "last_name": "LOVELACE", "domain": "EXAMPLE.com"},
        {"first_name": "Ada", "last_name": "Love\u200blace", "domain": "https://www.example.com/team?x=1"},
        {"first_name": "Ada", "last_name": "Lovelace", "domain": "www.example.com."},
        {"first_name": "Ada", "last_name": "Lovelace", "domain": "example.com:443", "company": "Example Ltd"},
        {"full_name": "Ada   Lovelace", "domain": "example.com"},
        {"first_name": "Ａda", "last_name": "Lovelace", "domain": "example.com"},
    ],
)
@pytest.mark.parametrize("name", ["prospeo", "findymail", "hunter"])
def test_one_person_written_differently_has_one_fingerprint(name, same):
    assert get(name).fingerprint("find", same) == get(name).fingerprint("find", PERSON)


@pytest.mark.parametrize(
    "other",
    [
        PERSON | {"last_name": "Byron"},
        PERSON | {"domain": "mail.example.com"},
        {"first_name": "Adalove", "last_name": "Lace", "domain": "example.com"},
        {"full_name": "Ada Lovelace", "company": "example"},
    ],
)
@pytest.mark.parametrize("name", ["prospeo", "findymail", "hunter"])
def test_two_persons_have_two_fingerprints(name, other):
    assert get(name).fingerprint("find", other) != get(name).fingerprint("find", PERSON)


def test_a_profile_is_part_of_the_question_only_where_the_vendor_gets_it():
    with_profile = PERSON | {"linkedin_url": "https://www.linkedin.com/in/ada"}
    assert get("prospeo").fingerprint("find", with_profile) != get("prospeo").fingerprint("find", PERSON)
    assert get("findymail").fingerprint("find", with_profile) == get("findymail").fingerprint("find", PERSON)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.linkedin.com/in/ada-l",
        "http://LinkedIn.com/in/Ada-L/",
        "linkedin.com/in/ada-l?trk=abc",
        "https://fr.linkedin.com/in/ada%2Dl/en#about",
        "  m.linkedin.com/in/ada-l ",
    ],
)
@pytest.mark.parametrize("name", ["prospeo", "findymail", "hunter"])
def test_one_profile_written_differently_has_one_fingerprint(name, url):
    plain = {"linkedin_url": "https://www.linkedin.com/in/ada-l"}
    assert get(name).fingerprint("find", {"linkedin_url": url}) == get(name).fingerprint("find", plain)
    assert get(name).can_ask("find", {"linkedin_url": url})


@pytest.mark.parametrize("name", ["findymail", "hunter", "zerobounce"])
def test_one_address_has_one_fingerprint_apart_from_every_person(name):
    connector = get(name)
    assert connector.fingerprint("verify", {"email": " Ada@Example.com"}) == connector.fingerprint(
        "verify", {"email": "ada@example.com"}
    )
    if "find" in connector.operations:
        assert connector.fingerprint("find", {"full_name": "ada@example.com"}) != connector.fingerprint(
            "verify", {"email": "ada@example.com"}
        )


@pytest.mark.parametrize(
    ("address", "plausible"),
    [
        ("ada@example.com", True),
        ("o'hara+x@mail.example.co.uk", True),
        ("ada", False),
        ("ada@example", False),
        ("a***@example.com", False),
        ("ada@ex ample.com", False),
        ("ada@@example.com", False),
        ("@example.com", False),
        ("ada@.com.", False),
        (f"{'a' * 250}@example.com", False),
        ("", False),
    ],
)
def test_only_plausible_addresses_are_verified(address, plausible):
    assert get("zerobounce").can_ask("verify", {"email": address}) is plausible


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("99999999", 86_400.0),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_with_care(value, seconds):
    assert retry_after(VendorResponse(429, {"retry-after": value})) == seconds


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (Done({}), "hit"),
        (Miss(), "miss"),
        (Retry("rate_limited", ""), "rate_limited"),
        (Retry("timeout", ""), "timeout"),
        (Fail("suppressed", ""), "suppressed"),
        (Poll(1.0, {}), "poll"),
        (AwaitCallback("t", 1.0), "callback"),
    ],
)
def test_outcomes_have_the_names_that_steps_carry(outcome, name):
    assert outcome.name == name


def test_connectors_and_client_need_no_configured_django():
    code = (
        "import sys, integrations.http, integrations.connectors.registry; sys.exit('django' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
