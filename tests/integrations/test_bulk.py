"""Several questions in one call: what the vendors' answers say of each, and what the sandbox counts."""

import asyncio

import orjson
import pytest

from integrations.connectors.base import Clarify, VendorResponse
from integrations.connectors.registry import get, offered
from integrations.http import VendorClient
from integrations.outcomes import Done, Fail, Miss, Retry
from integrations.sandbox.faults import Fault
from integrations.sandbox.limits import BULK, Window
from tenants.secret import Secret
from tests.integrations.rig import sandbox_server

PROSPEO, ZEROBOUNCE = get("prospeo"), get("zerobounce")
PEOPLE = [{"first_name": "Ada", "last_name": f"Everyone {n}", "domain": "example.com"} for n in range(4)]
ADDRESSES = [{"email": f"Ada.{n}@Example.com"} for n in range(4)]
LEFT_OUT = Retry("error", "left out of the vendor's answer", uncertain=True)
TOGETHER = Retry("error", "refused together with others")


def answer(body, status=200, headers=None):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return VendorResponse(status, headers or {}, raw)


def person(address="ada@example.com", **more):
    return {"person": {"email": {"status": "VERIFIED", "revealed": True, "email": address} | more}}


def found(address="ada@example.com", credits=1000, *, free=False):
    return Done({"email": address, "email_status": "valid"}, credits, free)


class TestProspeo:
    def read(self, body, count=4, **options):
        return PROSPEO.interpret_bulk("find", PEOPLE[:count], answer(body, **options))

    def test_the_request_names_each_person_and_wants_verified_addresses_alone(self):
        request = PROSPEO.request_bulk("find", PEOPLE[:2], "key")
        assert (request.method, request.path) == ("POST", "/bulk-enrich-person")
        assert request.headers == {"X-KEY": "key", "Content-Type": "application/json"}
        one = {"first_name": "Ada", "last_name": "Everyone 0", "company_website": "example.com"}
        two = one | {"last_name": "Everyone 1"}
        rows = [{"identifier": "p0", **one}, {"identifier": "p1", **two}]
        assert request.json == {"only_verified_email": True, "data": rows}
        assert request.most_back > 50 * 100_000

    def test_each_is_in_one_of_three_lists_in_any_order(self):
        body = {
            "error": False,
            "total_cost": 2,
            "matched": [
                {"identifier": "p3", **person("three@example.com"), "company": None},
                {"identifier": "p0", **person("zero@example.com", verification_method="BOUNCEBAN")},
            ],
            "not_matched": ["p1"],
            "invalid_datapoints": ["p2"],
        }
        assert self.read(body) == [
            found("zero@example.com"),
            Miss(),
            Fail("invalid", "not enough data about the person"),
            found("three@example.com"),
        ]

    @pytest.mark.parametrize(
        ("total", "costs"),
        [(3, [1000, 1000, 1000]), (2, [667, 667, 666]), (1, [334, 333, 333]), (0, [0, 0, 0]), (9, [1000] * 3),
         (None, [1000] * 3), (True, [1000] * 3), (-1, [1000] * 3), ("2", [1000] * 3)],
    )  # fmt: skip
    def test_what_repeats_made_cheaper_is_shared_and_adds_up(self, total, costs):
        body = {
            "error": False,
            "total_cost": total,
            "matched": [{"identifier": f"p{n}", **person()} for n in range(3)],
        }
        told = self.read(body, count=3)
        assert [outcome.credits for outcome in told] == costs
        assert [outcome.free for outcome in told] == [cost == 0 for cost in costs]

    def test_who_is_left_out_may_have_been_charged_and_nobody_else_is_touched(self):
        body = {
            "error": False,
            "total_cost": 1,
            "matched": [{"identifier": "p0", **person()}, {"identifier": "x"}, 7],
        }
        assert self.read(body, count=2) == [found(), LEFT_OUT]
        body |= {"matched": None, "not_matched": [{"identifier": "p0"}, None], "invalid_datapoints": "p1"}
        assert self.read(body, count=2) == [Miss(), LEFT_OUT]

    def test_one_unreadable_person_spoils_no_other(self):
        rows = [
            {"identifier": "p0", "person": None},
            {"identifier": "p1", **person("a***@example.com")},
            {"identifier": "p2", "person": {"email": None}},
            {"identifier": "p3", **person()},
        ]
        told = self.read({"error": False, "total_cost": 4, "matched": rows})
        assert told[0].uncertain
        assert told[1:] == [Miss(1000), Miss(1000), found()]

    @pytest.mark.parametrize(
        ("status", "body", "each"),
        [
            (400, {"error": True, "error_code": "INVALID_REQUEST"}, TOGETHER),
            (400, {"error": True, "error_code": "INSUFFICIENT_CREDITS"}, Fail("no_credits", "out of credits")),
            (401, {"error": True, "error_code": "INVALID_API_KEY"}, Fail("auth_failed", "the key was refused")),
            (429, {"error": True, "error_code": "RATE_LIMITED"}, Retry("rate_limited", "rate limit reached", after=7.0)),
            (413, b"", TOGETHER),
            (200, b"{", Retry("error", "unreadable answer with status 200", uncertain=True)),
            (200, {"matched": []}, Retry("error", "unreadable answer with status 200", uncertain=True)),
            (502, b"<html>", Retry("error", "vendor fault with status 502", uncertain=True)),
        ],
    )  # fmt: skip
    def test_what_is_said_of_all_is_said_of_each(self, status, body, each):
        headers = {"x-minute-request-left": "0", "x-minute-reset-seconds": "7"}
        assert self.read(body, status=status, headers=headers) == [each] * 4


class TestZeroBounce:
    def read(self, body, count=2, **options):
        return ZEROBOUNCE.interpret_bulk("verify", ADDRESSES[:count], answer(body, **options))

    def row(self, number, status="valid", **more):
        return {"address": f"ada.{number}@example.com", "status": status, "sub_status": "", **more}

    def test_the_request_has_the_key_in_its_body_and_asks_for_an_end_in_time(self):
        request = ZEROBOUNCE.request_bulk("verify", ADDRESSES[:2], "key")
        assert (request.method, request.path, request.params) == ("POST", "/v2/validatebatch", None)
        rows = [{"email_address": f"Ada.{n}@Example.com", "ip_address": None} for n in range(2)]
        assert request.json == {"api_key": "key", "timeout": 50, "email_batch": rows}
        assert ZEROBOUNCE.bulk["verify"].timeout > request.json["timeout"]

    def test_answers_are_matched_by_their_address_whatever_its_case(self):
        rows = [self.row(1, "unknown", mx_found="true"), self.row(0, "catch-all"), self.row(9)]
        assert self.read({"email_batch": rows, "errors": []}) == [
            Done({"email": "ada.0@example.com", "email_status": "catch_all", "sub_status": ""}, 1000),
            Done({"email": "ada.1@example.com", "email_status": "unknown", "sub_status": ""}, 0),
        ]

    def test_a_fault_of_one_address_is_its_own_and_one_left_out_may_have_been_paid(self):
        body = {
            "email_batch": [self.row(0), "noise", {"address": 5}],
            "errors": [
                {"error": "Invalid email", "email_address": "ADA.1@example.com"},
                {"email_address": "all"},
            ],
        }
        told = self.read(body, count=3)
        assert told[0].answer["email_status"] == "valid"
        assert told[1:] == [Retry("error", "the vendor refused this address among others"), LEFT_OUT]

    @pytest.mark.parametrize(
        "body",
        [
            {"email_batch": [], "errors": [{"error": "Invalid API Key or your account ran out of credits",
                                            "email_address": "all"}]},
            {"error": "Invalid API key or your account ran out of credits"},
        ],
    )  # fmt: skip
    def test_one_message_for_bad_key_and_no_credits_is_cleared_up_once(self, body):
        assert isinstance(self.read(body), Clarify)

    @pytest.mark.parametrize(
        ("status", "body", "each"),
        [
            (429, {"error": "blocked"}, Retry("rate_limited", "rate limit reached", after=600.0)),
            (400, {"error": "too many"}, TOGETHER),
            (200, {"email_batch": [], "errors": [{"error": "oops", "email_address": "all"}]},
             Retry("error", "unreadable answer with status 200", uncertain=True)),
            (200, b"[]", Retry("error", "unreadable answer with status 200", uncertain=True)),
            (503, b"", Retry("error", "vendor fault with status 503", uncertain=True)),
            (200, {"email_batch": None}, LEFT_OUT),
        ],
    )  # fmt: skip
    def test_what_is_said_of_all_is_said_of_each(self, status, body, each):
        assert self.read(body, status=status) == [each] * 2


BODIES = (b"", b"null", b"7", b'"x"', b"[[]]", b"\xff", b'{"error": {}}', b'{"error": false, "matched": {"a": 1}}',
          b'{"error": false, "matched": [{"identifier": ["p0"]}], "not_matched": [[]]}',
          b'{"email_batch": [{"address": "x"}], "errors": [{"error": []}]}', b'{"errors": {"error": 1}}')  # fmt: skip


@pytest.mark.parametrize("name", [connector.provider for connector in offered() if connector.bulk])
@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 429, 500])
@pytest.mark.parametrize("body", BODIES)
def test_whatever_comes_back_each_question_has_an_outcome(name, status, body):
    connector = get(name)
    (operation,) = connector.bulk
    queries = (PEOPLE if operation == "find" else ADDRESSES)[:3]
    told = connector.interpret_bulk(operation, queries, answer(body, status=status))
    assert isinstance(told, Clarify) or len(told) == 3


def with_sandbox(work):
    """Runs `work(ask, sandbox)`; `ask(provider, queries)` is one call for all of them."""

    async def run():
        async with sandbox_server(latency_scale=0.0) as (sandbox, url), VendorClient() as client:

            async def ask(name, queries, key="key"):
                connector = get(name)
                (operation,) = connector.bulk
                return await client.call_bulk(
                    connector, operation, queries, secret=Secret(key), base_url=f"{url}/{name}"
                )

            return await work(ask, sandbox)

    return asyncio.run(run())


def test_the_sandbox_answers_each_as_if_asked_alone_and_writes_down_who_was_asked():
    async def work(ask, sandbox):
        queries = [*PEOPLE[:2], PEOPLE[2] | {"last_name": "Nobody"}, {"full_name": "Ada Everyone"}]
        first = await ask("prospeo", queries)
        again = await ask("prospeo", queries)
        calls = list(sandbox.journal.calls(provider="prospeo", key="key", since=0, limit=99))
        return first, again, calls, sandbox.accounts.get("prospeo", "key").sums

    first, again, calls, sums = with_sandbox(work)
    assert [result.outcome.name for result in first] == ["hit", "hit", "miss", "invalid"]
    assert {result.http_status for result in first} == {200}
    assert first[0].quotas == first[3].quotas
    assert [result.outcome.credits for result in again[:2]] == [0, 0]
    assert [call["outcome"] for call in calls[:4]] == ["hit", "hit", "miss", "invalid"]
    assert [call["bulk"] for call in calls] == [1] * 4 + [5] * 4
    assert [call["person"] for call in calls[:4]] == [call["person"] for call in calls[4:]]
    assert (sums.calls, sums.bulk_calls, sums.credits, sums.hits, sums.repeated) == (8, 2, 2000, 4, 3)


def test_addresses_in_one_call_cost_what_they_cost_alone():
    async def work(ask, sandbox):
        told = await ask("zerobounce", [{"email": "ada.everyone@x.com"}, {"email": "unknown@example.com"}])
        return told, sandbox.accounts.get("zerobounce", "key").sums.credits

    told, spent = with_sandbox(work)
    assert [result.outcome.answer["email_status"] for result in told] == ["valid", "unknown"]
    assert sum(result.outcome.credits for result in told) == spent == 1000


@pytest.mark.parametrize(("name", "queries"), [("prospeo", PEOPLE), ("zerobounce", ADDRESSES)])
def test_bad_and_empty_keys_are_told_of_each(name, queries):
    async def work(ask, sandbox):
        return await ask(name, queries, "bad-key"), await ask(name, queries, "empty-key")

    for results, kind in zip(with_sandbox(work), ("auth_failed", "no_credits"), strict=True):
        assert [result.outcome.kind for result in results] == [kind] * 4


@pytest.mark.parametrize("kind", ["reset", "drop_after_charge", "half_body", "garbage"])
def test_a_call_that_is_lost_is_lost_for_each(kind):
    async def work(ask, sandbox):
        sandbox.faults.add(Fault("prospeo", kind, left=1))
        return await ask("prospeo", PEOPLE), sandbox.accounts.get("prospeo", "key").sums

    results, sums = with_sandbox(work)
    assert all(result.outcome.uncertain for result in results)
    assert sums.credits == (0 if kind in ("reset", "garbage") else 4000)


def test_each_person_counts_in_the_keys_windows_and_the_call_as_one_in_flight():
    async def work(ask, sandbox):
        gate = sandbox.accounts.get("prospeo", "key").gate
        gate.change((Window(6, 60),), 1)
        return (
            await ask("prospeo", PEOPLE),
            await ask("prospeo", PEOPLE),
            await ask("prospeo", PEOPLE[:2]),
            gate,
        )

    first, over, within, gate = with_sandbox(work)
    assert {result.outcome.name for result in first + within} == {"hit"}
    assert {result.outcome.name for result in over} == {"rate_limited"}
    assert (gate.peaks(), gate.max_in_flight) == ({"6/60s": 8}, 1)


def test_too_many_batches_shut_the_key_out():
    async def work(ask, sandbox):
        gate = sandbox.accounts.get("zerobounce", "key").gate
        gate.change((Window(1000, 60), Window(1, 60, BULK, block=600)), None)
        return await ask("zerobounce", ADDRESSES), await ask("zerobounce", ADDRESSES)

    first, over = with_sandbox(work)
    assert {result.outcome.name for result in first} == {"hit"}
    assert over[0].outcome == Retry("rate_limited", "rate limit reached", after=600.0)


@pytest.mark.parametrize("name", ["prospeo", "zerobounce"])
def test_more_than_the_vendor_takes_is_refused(name):
    async def work(ask, sandbox):
        sandbox.accounts.get(name, "key").gate.change((), None)
        (bulk,) = get(name).bulk.values()
        queries = (PEOPLE if name == "prospeo" else ADDRESSES) * bulk.most
        return await ask(name, queries[: bulk.most]), await ask(name, queries[: bulk.most + 1])

    most, over = with_sandbox(work)
    assert {result.outcome.name for result in most} == {"hit"}
    assert {result.outcome for result in over} == {TOGETHER}
