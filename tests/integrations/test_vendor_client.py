"""The client that calls vendors, against servers that behave, misbehave and vanish."""

import asyncio
import gzip
import logging
import socket
import subprocess
import sys
import time
import zlib

import pytest

from integrations.body import MAX_BODY
from integrations.connectors.base import Balance
from integrations.connectors.findymail import Findymail
from integrations.connectors.registry import get
from integrations.http import VendorClient, check_balance
from integrations.outcomes import Done, Fail, Miss, Retry
from integrations.transport import NotSent
from tenants.secret import Secret
from tests.integrations.rig import answering, http_answer, wire_server

FINDYMAIL, HUNTER = get("findymail"), get("hunter")
QUERY = {"full_name": "Ada Lovelace", "domain": "example.com"}
HIT = b'{"contact": {"name": "Ada Lovelace", "email": "ada@example.com", "domain": "example.com"}}'
FOUND = Done({"email": "ada@example.com", "email_status": "valid"}, 1000)
OK = http_answer(HIT)


async def ask(url, connector=FINDYMAIL, operation="find", query=QUERY, **options):
    async with VendorClient() as client:
        return await client.call(
            connector, operation, query, secret=Secret("secret"), base_url=url, **options
        )


def ask_of(script, **options):
    """The result of one call to a server with this script, and the moments at which it was told sent."""
    sent: list[float] = []

    async def run():
        async with wire_server(script) as served:
            return await ask(served.url, on_sent=sent.append, **options)

    return asyncio.run(run()), sent


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_an_answer_becomes_an_outcome_with_status_and_latency():
    async def slow(wire):
        await wire.request()
        await asyncio.sleep(0.1)
        await wire.send(OK)

    result, sent = ask_of(slow)
    assert result.outcome == FOUND
    assert result.http_status == 200
    assert 95 <= result.latency_ms < 5000
    assert len(sent) == 1


@pytest.mark.parametrize(("connector", "method"), [(FINDYMAIL, b"POST"), (HUNTER, b"GET")])
def test_the_moment_of_sending_is_told_between_connect_and_arrival(connector, method):
    moments = {}

    async def script(wire):
        moments["connected"] = time.monotonic()
        request = await wire.request()
        moments["arrived"] = time.monotonic()
        assert request.startswith(method)
        await wire.send(http_answer(b"{}"))

    result, sent = ask_of(script, connector=connector)
    assert result.http_status == 200
    assert len(sent) == 1
    assert sent[0] <= moments["arrived"]
    assert moments["arrived"] - sent[0] < 1


def test_the_request_carries_what_the_connector_says_and_asks_for_plain_answers():
    seen = []

    async def script(wire):
        seen.append(await wire.request())
        await wire.send(OK)

    ask_of(script)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/search/name HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer secret" in head
    assert b"\r\nAccept-Encoding: identity" in head
    assert b"\r\nContent-Type: application/json" in head
    assert body == b'{"name":"Ada Lovelace","domain":"example.com"}'


def test_a_base_url_may_have_a_path_and_the_query_is_escaped():
    seen = []

    async def script(wire):
        seen.append(await wire.request())
        await wire.send(http_answer(b"{}"))

    async def run():
        async with wire_server(script) as served:
            query = {"email": "a+b&c@example.com"}
            return await ask(f"{served.url}/zerobounce/", get("zerobounce"), "verify", query)

    asyncio.run(run())
    expected = (
        b"GET /zerobounce/v2/validate?api_key=secret&email=a%2Bb%26c%40example.com&ip_address= HTTP/1.1\r\n"
    )
    assert seen[0].startswith(expected)


def test_many_calls_share_a_few_connections():
    async def run():
        async with wire_server(answering(*[OK] * 50)) as served, VendorClient() as client:
            for _ in range(20):
                result = await client.call(FINDYMAIL, "find", QUERY, secret=Secret("k"), base_url=served.url)
                assert result.outcome == FOUND
            return served.connections

    assert asyncio.run(run()) == 1


def test_a_vendor_that_never_answers_is_a_timeout_of_unknown_effect():
    async def hang(wire):
        await wire.request()
        await asyncio.sleep(30)

    started = time.monotonic()
    result, sent = ask_of(hang, timeout=0.3)
    assert result.outcome == Retry("timeout", "no answer in time", uncertain=True)
    assert result.http_status is None
    assert len(sent) == 1
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("piece", ["head", "body"])
def test_a_dripping_answer_is_cut_at_the_timeout(piece):
    async def drip(wire):
        await wire.request()
        if piece == "body":
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await wire.send(b"H")
            await asyncio.sleep(0.05)

    started = time.monotonic()
    result, _ = ask_of(drip, timeout=0.4)
    assert result.outcome.uncertain
    assert result.outcome.kind in ("timeout", "error")
    assert time.monotonic() - started < 2


def test_a_reset_after_the_request_is_an_error_of_unknown_effect():
    async def reset(wire):
        await wire.request()
        wire.abort()

    result, sent = ask_of(reset)
    assert result.outcome == Retry("error", "the connection was lost", uncertain=True)
    assert len(sent) == 1


@pytest.mark.parametrize("connector", [FINDYMAIL, HUNTER], ids=["post", "get"])
def test_nothing_is_sent_twice_when_a_kept_connection_turns_out_dead(connector):
    requests = []

    async def dies_at_the_second(wire):
        requests.append(await wire.request())
        await wire.send(http_answer(b"{}"))
        requests.append(await wire.request())
        wire.abort()

    async def run():
        sent: list[float] = []
        async with wire_server(dies_at_the_second) as served, VendorClient() as client:
            results = [
                await client.call(
                    connector, "find", QUERY, secret=Secret("k"), base_url=served.url, on_sent=sent.append
                )
                for _ in range(2)
            ]
            return results, sent, served.connections

    results, sent, connections = asyncio.run(run())
    assert results[1].outcome == Retry("error", "the connection was lost", uncertain=True)
    assert len(requests) == len(sent) == 2
    assert connections == 1


def test_a_refused_connection_is_an_error_without_effect():
    sent: list[float] = []
    result = asyncio.run(ask(f"http://127.0.0.1:{free_port()}", on_sent=sent.append))
    assert result.outcome == Retry("error", "no connection to the vendor", uncertain=False)
    assert sent == []


def test_a_host_that_cannot_be_found_is_an_error_without_effect():
    sent: list[float] = []
    result = asyncio.run(ask(f"http://{'a' * 64}.example:80", on_sent=sent.append))
    assert isinstance(result.outcome, Retry)
    assert (result.outcome.kind, result.outcome.uncertain) == ("error", False)
    assert sent == []


def test_a_connection_that_is_never_made_is_a_timeout_without_effect():
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        sent: list[float] = []
        result = asyncio.run(
            ask(f"http://127.0.0.1:{full.getsockname()[1]}", timeout=0.4, on_sent=sent.append)
        )
    assert result.outcome == Retry("timeout", "no answer in time", uncertain=False)
    assert sent == []


def test_a_redirect_is_not_followed():
    requests = []

    async def script(wire):
        while request := await wire.request():
            requests.append(request)
            await wire.send(http_answer(b"", "302 Found", Location="/elsewhere"))

    result, _ = ask_of(script)
    assert result.outcome == Retry("error", "unexpected redirect")
    assert result.http_status == 302
    assert len(requests) == 1


def test_an_answer_shorter_than_it_says_is_cut_short():
    result, _ = ask_of(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + HIT))
    assert result.outcome == Retry("error", "the answer was cut short", uncertain=True)


def test_what_follows_a_lying_length_is_never_read_as_the_next_answer():
    forged = http_answer(HIT.replace(b"ada@", b"eve@"))
    body = b'{"contact": null}'
    lying = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def script(wire):
        await wire.request()
        await wire.send(lying + forged)
        while await wire.request():
            await wire.send(OK)

    async def run():
        async with wire_server(script) as served, VendorClient() as client:
            first = await client.call(FINDYMAIL, "find", QUERY, secret=Secret("k"), base_url=served.url)
            await asyncio.sleep(0.05)
            second = await client.call(FINDYMAIL, "find", QUERY, secret=Secret("k"), base_url=served.url)
            return first.outcome, second.outcome

    first, second = asyncio.run(run())
    assert first == Miss() or isinstance(first, Retry)
    assert not isinstance(second, Done) or second.answer["email"] == "ada@example.com"


def test_an_answer_nobody_asked_for_is_never_read_as_the_next_answer():
    async def script(wire):
        await wire.request()
        await wire.send(OK)
        await asyncio.sleep(0.05)
        await wire.send(http_answer(HIT.replace(b"ada@", b"eve@")))
        while await wire.request():
            await wire.send(OK)

    async def run():
        async with wire_server(script) as served, VendorClient() as client:
            await client.call(FINDYMAIL, "find", QUERY, secret=Secret("k"), base_url=served.url)
            await asyncio.sleep(0.15)
            return await client.call(FINDYMAIL, "find", QUERY, secret=Secret("k"), base_url=served.url)

    assert asyncio.run(run()).outcome == FOUND


def padded(size):
    return HIT + b" " * (size - len(HIT))


def chunked(body):
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("frame", [http_answer, chunked], ids=["length", "chunked"])
def test_an_answer_of_a_mebibyte_is_read_and_a_longer_one_is_not(frame):
    result, _ = ask_of(answering(frame(padded(MAX_BODY))))
    assert result.outcome == FOUND
    result, _ = ask_of(answering(frame(padded(MAX_BODY + 1))))
    assert result.outcome == Retry("error", "the answer is too long", uncertain=True)


def test_an_endless_answer_is_cut():
    async def endless(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await wire.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")

    result, _ = ask_of(endless, timeout=10)
    assert result.outcome == Retry("error", "the answer is too long", uncertain=True)


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (gzip.compress(HIT), "gzip", FOUND),
        (zlib.compress(HIT), "deflate", FOUND),
        (HIT, "identity", FOUND),
        (gzip.compress(padded(MAX_BODY)), "gzip", FOUND),
        (
            gzip.compress(b" " * (MAX_BODY * 50)),
            "gzip",
            Retry("error", "the answer is too long", uncertain=True),
        ),
        (HIT, "gzip", Retry("error", "the answer is badly compressed", uncertain=True)),
        (gzip.compress(HIT)[:-9], "gzip", Retry("error", "the answer is badly compressed", uncertain=True)),
        (HIT, "br", Retry("error", "the answer has an unknown encoding", uncertain=True)),
    ],
    ids=["gzip", "deflate", "identity", "largest", "bomb", "not gzip", "cut", "unknown"],
)
def test_a_compressed_answer_is_read_within_the_same_limit(body, encoding, expected):
    result, _ = ask_of(answering(http_answer(body, Content_Encoding=encoding)))
    assert result.outcome == expected


@pytest.mark.parametrize(
    "noise",
    [
        b"\x15\x03\x01\x00\x02\x02P" * 20,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    ],
    ids=["tls alert", "ssh", "status", "long header", "two lengths", "negative length"],
)
def test_what_is_no_http_is_an_error_of_unknown_effect(noise):
    result, _ = ask_of(answering(noise))
    assert isinstance(result.outcome, Retry)
    assert (result.outcome.kind, result.outcome.uncertain) == ("error", True)


def test_the_call_can_be_cancelled():
    async def run():
        arrived = asyncio.Event()

        async def hang(wire):
            await wire.request()
            arrived.set()
            await asyncio.sleep(30)

        async with wire_server(hang) as served:
            call = asyncio.create_task(ask(served.url))
            await asyncio.wait_for(arrived.wait(), 5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(run())


@pytest.mark.parametrize("secret", ["", "two\r\nlines", "ключ", "nul\0"])
def test_a_key_that_cannot_be_a_key_is_never_sent(secret):
    async def run():
        async with wire_server(answering(OK)) as served, VendorClient() as client:
            result = await client.call(FINDYMAIL, "find", QUERY, secret=Secret(secret), base_url=served.url)
            balance = await client.balance(FINDYMAIL, secret=Secret(secret), base_url=served.url)
            return result, balance, served.connections

    result, balance, connections = asyncio.run(run())
    reason = "the key is empty or has characters that no key has"
    assert result.outcome == Fail("auth_failed", reason)
    assert balance == Balance(None, False, "auth_failed", reason)
    assert connections == 0


def test_a_question_without_the_vendors_minimum_is_never_sent():
    async def run():
        async with wire_server(answering(OK)) as served:
            return await ask(served.url, query={"first_name": "Ada"}), served.connections

    result, connections = asyncio.run(run())
    assert result.outcome == Fail("invalid", "not enough data to ask this vendor")
    assert connections == 0


def test_a_connector_that_breaks_costs_one_call():
    class Broken(Findymail):
        def interpret(self, operation, response):
            raise KeyError("oops")

    result, _ = ask_of(answering(OK), connector=Broken())
    assert result.outcome == Retry("error", "the call broke off", uncertain=True)


@pytest.mark.parametrize("connector", [FINDYMAIL, HUNTER], ids=["post", "get"])
def test_a_listener_that_breaks_costs_one_call_and_no_wait(connector):
    def broken(moment):
        raise KeyError("oops")

    async def run():
        async with wire_server(answering(OK)) as served:
            return await ask(served.url, connector, on_sent=broken)

    started = time.monotonic()
    outcome = asyncio.run(run()).outcome
    assert outcome == Retry("error", "the call broke off", uncertain=False), "nothing was sent"
    assert time.monotonic() - started < 2


def test_a_listener_may_say_that_nothing_is_to_be_sent():
    asked = []

    async def listens(wire):
        asked.append(await wire.request())

    def refuses(moment):
        raise NotSent("no longer")

    async def run():
        async with wire_server(listens) as served:
            return await ask(served.url, on_sent=refuses)

    assert asyncio.run(run()).outcome == Retry("error", "no longer", uncertain=False)
    assert asked == []


def test_neither_key_nor_person_gets_into_logs_or_results(caplog):
    caplog.set_level(logging.DEBUG)
    query = {"full_name": "Canary Person", "domain": "canary.example", "email": "canary@canary.example"}

    async def hang(wire):
        await wire.request()
        await asyncio.sleep(30)

    async def reset(wire):
        await wire.request()
        wire.abort()

    async def run():
        seen = []
        for script in (
            answering(b"garbage\r\n\r\n"),
            hang,
            reset,
            answering(http_answer(b"{")),
            answering(OK),
        ):
            async with wire_server(script) as served, VendorClient() as client:
                for name, operation in (("zerobounce", "verify"), ("hunter", "find"), ("findymail", "find")):
                    result = await client.call(
                        get(name),
                        operation,
                        query,
                        secret=Secret("canary-key"),
                        base_url=served.url,
                        timeout=0.2,
                    )
                    seen.append(repr(result))
        async with VendorClient() as client:
            url = f"http://127.0.0.1:{free_port()}"
            result = await client.call(
                get("zerobounce"), "verify", query, secret=Secret("canary-key"), base_url=url
            )
            seen.append(repr(result))
        return " ".join(seen)

    loop_debug = asyncio.run(run(), debug=True)
    assert "canary" not in loop_debug.lower()
    assert "canary" not in caplog.text.lower()


def test_a_client_that_is_not_open_says_so():
    async def run():
        with pytest.raises(RuntimeError, match="not open"):
            await VendorClient().call(FINDYMAIL, "find", QUERY, secret=Secret("k"))

    asyncio.run(run())


def test_the_balance_is_checked_without_an_event_loop():
    url = f"http://127.0.0.1:{free_port()}"
    assert check_balance(FINDYMAIL, Secret("k"), url) == Balance(
        None, False, "error", "no connection to the vendor"
    )


GUARD = """
import asyncio
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
import django
django.setup()
from django.db import connection, transaction
from integrations.connectors.registry import get
from integrations.http import VendorClient, check_balance
from tenants.secret import Secret

async def ask():
    async with VendorClient() as client:
        query = {"full_name": "Ada", "domain": "example.com"}
        return await client.call(get("findymail"), "find", query, secret=Secret("k"), base_url="http://127.0.0.1:1")

async def inside():
    with transaction.atomic():
        await ask()

def refused(work):
    try:
        work()
    except RuntimeError as error:
        return "inside a transaction" in str(error)

import os
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
assert asyncio.run(ask()).outcome.reason == "no connection to the vendor"
with connection.cursor() as cursor:
    cursor.execute("select 1")
assert asyncio.run(ask()).outcome.reason == "no connection to the vendor"
assert refused(lambda: asyncio.run(inside()))
with transaction.atomic():
    assert refused(lambda: check_balance(get("findymail"), Secret("k"), "http://127.0.0.1:1"))
transaction.set_autocommit(False)
assert refused(lambda: check_balance(get("findymail"), Secret("k"), "http://127.0.0.1:1"))
"""


def test_no_vendor_is_called_inside_a_transaction():
    done = subprocess.run(
        [sys.executable, "-c", GUARD], check=False, capture_output=True, timeout=60, text=True
    )
    assert done.returncode == 0, done.stderr
