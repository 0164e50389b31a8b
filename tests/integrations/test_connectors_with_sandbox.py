"""Connectors, client and sandbox together: two readings of the vendors' pages that have to agree."""

import asyncio

import pytest

from integrations.connectors.registry import get, offered
from integrations.http import VendorClient
from integrations.outcomes import Done, Fail, Miss, Retry
from integrations.sandbox.faults import Fault
from tenants.secret import Secret
from tests.integrations.rig import sandbox_server

EVERYONE = {"first_name": "Ada", "last_name": "Everyone", "domain": "example.com"}
NOBODY = EVERYONE | {"last_name": "Nobody"}
QUERIES = {"find": EVERYONE, "verify": {"email": "ada.everyone@example.com"}}
OPERATIONS = [
    (connector.provider, operation) for connector in offered() for operation in sorted(connector.operations)
]


def with_sandbox(work, **options):
    """Runs `work(ask, sandbox)`; `ask(provider, operation, query)` is one call through client and connector."""

    async def run():
        async with sandbox_server(**options) as (sandbox, url), VendorClient() as client:

            async def ask(name, operation, query=None, key="key", **more):
                return await client.call(
                    get(name),
                    operation,
                    query or QUERIES[operation],
                    secret=Secret(key),
                    base_url=f"{url}/{name}",
                    **more,
                )

            ask.client, ask.url = client, url
            return await work(ask, sandbox)

    return asyncio.run(run())


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_a_known_person_is_found_and_a_good_address_is_valid(name, operation):
    async def work(ask, sandbox):
        return await ask(name, operation), sandbox.accounts.get(name, "key").sums

    result, sums = with_sandbox(work)
    assert isinstance(result.outcome, Done)
    assert result.outcome.answer["email"].endswith("@example.com")
    assert result.outcome.answer["email_status"] == "valid"
    assert result.http_status == 200
    assert result.outcome.credits == sums.credits == get(name).worst_credits(operation)


@pytest.mark.parametrize("name", ["prospeo", "findymail", "hunter"])
@pytest.mark.parametrize(
    "query",
    [
        NOBODY,
        {"full_name": "Ada Nobody", "company": "Example"},
        {"linkedin_url": "https://www.linkedin.com/in/ada-nobody"},
    ],
)
def test_nobody_is_a_clean_miss(name, query):
    async def work(ask, sandbox):
        return await ask(name, "find", query)

    assert with_sandbox(work).outcome == Miss()


@pytest.mark.parametrize("name", ["prospeo", "findymail", "hunter"])
def test_a_profile_alone_is_enough(name):
    async def work(ask, sandbox):
        return await ask(name, "find", {"linkedin_url": "https://www.linkedin.com/in/ada-everyone"})

    assert isinstance(with_sandbox(work).outcome, Done)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_a_bad_key_an_empty_one_and_a_full_lane_are_told_apart(name, operation):
    async def work(ask, sandbox):
        bad = await ask(name, operation, key="bad-key")
        empty = await ask(name, operation, key="empty-key")
        account = sandbox.accounts.get(name, "key")
        account.gate.change((), 0)
        return [result.outcome.name for result in (bad, empty, await ask(name, operation))]

    assert with_sandbox(work) == ["auth_failed", "no_credits", "rate_limited"]


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
@pytest.mark.parametrize(
    ("kind", "outcome", "uncertain"),
    [
        ("status_500", "error", True),
        ("html", "error", True),
        ("garbage", "error", True),
        ("reset", "error", True),
        ("drop_after_charge", "error", True),
        ("hang", "timeout", True),
        ("rate_limit", "rate_limited", False),
        ("bad_key", "auth_failed", None),
        ("no_credits", "no_credits", None),
    ],
)
def test_each_fault_of_a_vendor_has_its_outcome(name, operation, kind, outcome, uncertain):
    async def work(ask, sandbox):
        sandbox.faults.add(Fault(name, kind))
        return (await ask(name, operation, timeout=0.4 if kind == "hang" else 10)).outcome

    result = with_sandbox(work)
    assert result.name == outcome
    if uncertain is not None:
        assert result.uncertain is uncertain


def test_a_lost_answer_was_charged_and_prospeo_gives_it_again_for_nothing():
    async def work(ask, sandbox):
        sandbox.faults.add(Fault("prospeo", "drop_after_charge"))
        lost = await ask("prospeo", "find")
        sandbox.faults.clear()
        return (
            lost.outcome,
            (await ask("prospeo", "find")).outcome,
            sandbox.accounts.get("prospeo", "key").sums,
        )

    lost, again, sums = with_sandbox(work)
    assert lost == Retry("error", "the connection was lost", uncertain=True)
    assert (again.credits, again.free) == (0, True)
    assert sums.credits == 1000


def test_prospeos_headers_reach_the_caller():
    async def work(ask, sandbox):
        return (await ask("prospeo", "find")).quotas

    quotas = {quota.period: quota for quota in with_sandbox(work)}
    assert quotas[60.0].remaining == 1799
    assert quotas[86_400.0].remaining == 499_999
    assert 59 <= quotas[60.0].reset_after <= 60


@pytest.mark.parametrize(
    ("local", "email_status", "cost"),
    [
        ("valid", "valid", 1000),
        ("catch_all", "catch_all", 1000),
        ("unknown", "unknown", 0),
        ("spamtrap", "spamtrap", 1000),
        ("abuse", "abuse", 1000),
        ("toxic", "do_not_mail", 1000),
        ("invalid", "invalid", 1000),
    ],
)
def test_zerobounces_own_test_addresses_get_their_status(local, email_status, cost):
    async def work(ask, sandbox):
        return (await ask("zerobounce", "verify", {"email": f"{local}@example.com"})).outcome

    outcome = with_sandbox(work)
    assert (outcome.answer["email_status"], outcome.credits) == (email_status, cost)


@pytest.mark.parametrize(
    ("operation", "query", "expected"),
    [
        (
            "find",
            EVERYONE | {"last_name": "Claimed"},
            Fail("suppressed", "the person asked not to be processed"),
        ),
        ("find", EVERYONE | {"last_name": "L"}, Fail("invalid", "the vendor refused the input")),
        ("find", EVERYONE | {"domain": "no-mx.example"}, Fail("invalid", "the vendor refused the input")),
        (
            "verify",
            {"email": "slowcheck@x.example"},
            Retry("error", "the verification is still running", after=5.0),
        ),
        (
            "verify",
            {"email": "smtpfault@x.example"},
            Retry("error", "the mail server answered unexpectedly", after=120.0),
        ),
    ],
)
def test_hunters_rarer_answers_have_their_outcomes(operation, query, expected):
    async def work(ask, sandbox):
        return (await ask("hunter", operation, query)).outcome

    assert with_sandbox(work) == expected


@pytest.mark.parametrize("name", [connector.provider for connector in offered()])
def test_the_balance_of_a_good_a_bad_and_an_empty_key(name):
    async def work(ask, sandbox):
        base = f"{ask.url}/{name}"
        return [
            await ask.client.balance(get(name), secret=Secret(key), base_url=base)
            for key in ("key", "bad-key", "empty-key")
        ]

    good, bad, empty = with_sandbox(work)
    assert (good.ok, good.credits) == (True, 1_000_000_000)
    assert (bad.ok, bad.kind) == (False, "auth_failed")
    assert (empty.ok, empty.kind) == (False, "no_credits")


def test_the_same_question_has_the_same_fingerprint_on_both_sides():
    spellings = [
        {"first_name": "Ada", "last_name": "Lovelace", "domain": "example.com"},
        {"first_name": " ADA ", "last_name": "lovelace", "domain": "https://www.Example.com/team"},
        {"full_name": "Ada  Lovelace", "domain": "example.com"},
        {"first_name": "Grace", "last_name": "Hopper", "domain": "example.com"},
        {"first_name": "Ada", "last_name": "Lovelace", "company": "Example Ltd"},
    ]

    async def work(ask, sandbox):
        told = {}
        for name in ("prospeo", "findymail", "hunter"):
            for query in spellings:
                await ask(name, "find", query)
            sums = sandbox.accounts.get(name, "key").sums
            told[name] = (sums.distinct, len({get(name).fingerprint("find", query) for query in spellings}))
        return told

    assert with_sandbox(work) == {"prospeo": (3, 3), "findymail": (3, 3), "hunter": (3, 3)}


def test_hundreds_of_calls_at_once_all_get_their_own_answer():
    async def work(ask, sandbox):
        sandbox.accounts.get("findymail", "key").gate.change((), None)
        people = [
            {"full_name": f"Ada{number} Everyone{number}", "domain": "example.com"} for number in range(400)
        ]
        results = await asyncio.gather(*[ask("findymail", "find", person) for person in people])
        return [result.outcome.answer["email"] for result in results]

    addresses = with_sandbox(work, latency_scale=0.05)
    assert len(set(addresses)) == 400
    assert all(str(number) in address for number, address in enumerate(addresses))
