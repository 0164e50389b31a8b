"""S5: whatever address a tenant gives us, nothing inside is reached: a canary on loopback gets no connection at all."""

import asyncio
import ipaddress
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from config.variables import networks
from integrations.transport import Pool
from integrations.webhooks import addresses, post, signing
from integrations.webhooks.addresses import RefusedAddress, is_public, read
from integrations.webhooks.claim import Job
from integrations.webhooks.names import Names
from integrations.webhooks.post import Attempted
from tests.integrations.receiver import receiving
from tests.integrations.rig import Wire, wire_server

# P stands for the canary's port; hosts are names or spellings of addresses inside.
HOSTS = """
127.0.0.1 127.0.0.2 127.255.255.254 127.1 127.0.1 0 0.0.0.0 0.0.0.1 2130706433 017700000001 0x7f000001 0x7f.0.0.1 0177.0.0.1
0177.0.0.01 127.0.0.1. 127.0.0.1.. 0x7f.1 127.00.00.01 00127.0.0.1 127.0.0.0x1 3232235521 10.0.0.1 10.255.255.255 172.16.0.1
172.31.255.255 192.168.0.1 192.168.1.1 169.254.169.254 169.254.170.2 100.64.0.1 100.100.100.200 192.0.0.1 192.0.2.1
198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16 2852039166 0xa9fea9fe
0251.0376.0251.0376 169.254.43518 192.88.99.1 localhost LOCALHOST localhost. localhost.localdomain sub.localhost metadata
metadata.google.internal [::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1]
[::ffff:0:127.0.0.1] [::ffff:0:a00:1] [::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe]
[64:ff9b:1::7f00:1] [2002:7f00:1::] [2002:a9fe:a9fe::1] [2002:0a00:0001::] [2001:0:7f00:1::] [2001:db8::1] [fc00::1]
[fd00::1] [fd00:ec2::254] [fe80::1] [fe80::1%25lo] [::1%25lo] [fec0::1] [ff02::1] [ff01::1] [100::1] [3fff::1] [5f00::1]
[::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::2130706433] 127\u30020\u30020\u30021 127\uff0e0\uff0e0\uff0e1
\uff11\uff12\uff17.0.0.1 \u246b\u2466.\u24ea.\u24ea.\u2460 \u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3
loc%61lhost 127%2e0%2e0%2e1 127.0.0.1%00.example.com 127.0.0.1%2f.example.com
"""
URLS = [
    *(f"{scheme}://{host}:P/hook" for host in HOSTS.split() for scheme in ("http", "https")),
    "http://user@127.0.0.1:P/", "http://user:pass@127.0.0.1:P/", "http://example.com@127.0.0.1:P/",
    "https://a:b@127.0.0.1:P/",
    "http://127.0.0.1:P@example.com:8443/", "http://example.com#@127.0.0.1:P/", "http://127.0.0.1:P\\@example.com/",
    "http://example.com\\@127.0.0.1:P/", "http:\\\\127.0.0.1:P\\", "http:/127.0.0.1:P/", "http:127.0.0.1:P/",
    "//127.0.0.1:P/",
    "127.0.0.1:P/", "http:///127.0.0.1:P/", "http://[127.0.0.1]:P/", "http://[::1:P/", "http://127.0.0.1 :P/",
    "http://127.0.0.1\t:P/", "http://127.0.0.1\n:P/", "http://127.0.0.1\r\nHost: x:P/", "\thttp://127.0.0.1:P/", " http://127.0.0.1:P/",
    "ht\ntp://127.0.0.1:P/", "file:///etc/passwd", "gopher://127.0.0.1:P/_x", "dict://127.0.0.1:P/x", "ftp://127.0.0.1:P/",
    "ws://127.0.0.1:P/", "unix:///run/redis.sock", "javascript:alert(1)", "data:text/plain,x", "https://", "", "https://:P/",
    "https://.:P/", "https://127.0.0.1:0/", "https://127.0.0.1:99999/", "https://127.0.0.1:-1/", "https://127.0.0.1:P:80/",
    "https://127.0.0.1:P" + "/" * 600, "https://" + "a." * 200 + "b/", "https://example.com:22/", "https://example.com:6379/",
    "https://example.com:P/", "http://example.com/", "http://example.com:443/", "https://-x.example.com/", "https://1.2.3.4.5:8443/",
]  # fmt: skip


@contextmanager
def canary() -> Iterator[tuple[int, list[Any]]]:
    """A listener on every address of this machine; (its port, the connections that it got)."""
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 0))
    listener.listen(64)
    listener.setblocking(False)
    got: list[Any] = []
    try:
        yield listener.getsockname()[1], got
        time.sleep(0.05)
        while True:
            try:
                got.append(listener.accept())
            except BlockingIOError:
                break
    finally:
        for connection, _ in got:
            connection.close()
        listener.close()


def job(url: str) -> Job:
    one = uuid.uuid4()
    return Job(one, one, one, one, False, one, one, url, b"{}", 0, 0, [signing.new_secret()])


def attempt(*urls: str, timeout: float = 5.0) -> list[Attempted]:
    async def work() -> list[Attempted]:
        pool, names = Pool(), Names()
        try:
            return list(
                await asyncio.gather(*(post.post(pool, names, job(url), timeout=timeout) for url in urls))
            )
        finally:
            pool.close()
            names.close()

    return asyncio.run(work())


def resolving(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], list[str]]) -> list[str]:
    """Have names mean what a test says; returns the names that were asked for."""
    asked: list[str] = []

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (kinds[ipaddress.ip_address(found).version], socket.SOCK_STREAM, 6, "", (found, port))
            for found in answer(host)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_none_of_the_hostile_addresses_reaches_the_canary(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = False
    # Names lead inside as well; what is refused before it is looked up is refused all the same.
    resolving(monkeypatch, lambda host: ["127.0.0.1"])
    assert len(set(URLS)) >= 200
    with canary() as (port, connections):
        monkeypatch.setattr(addresses, "PORTS", (443, 8443, port))  # else the port alone would save us
        urls = [url.replace("P", str(port), 1) if ":P" in url else url for url in URLS]
        attempts = attempt(*urls)
        assert [a.job.url for a in attempts if a.ok] == []
        for url in urls:
            with pytest.raises(RefusedAddress):
                addresses.check(url)
    assert connections == []


def test_the_canary_sings_when_it_is_reached(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with canary() as (port, connections):
        attempt(f"http://127.0.0.1:{port}/", timeout=0.1)
    assert len(connections) == 1


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::1"], ["2606:4700::1111", "::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["169.254.169.254"], ["10.0.0.1"], ["2002:7f00:1::"], [],
    ],
)  # fmt: skip
def test_a_name_that_leads_inside_is_refused_when_saved_and_when_called(
    monkeypatch: pytest.MonkeyPatch, settings: Any, found: list[str]
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = False
    resolving(monkeypatch, lambda host: found)
    with canary() as (port, connections):
        monkeypatch.setattr(addresses, "PORTS", (443, 8443, port))
        url = f"https://rebound.example:{port}/"
        (attempted,) = attempt(url)
        assert not attempted.ok
        if found:
            with pytest.raises(RefusedAddress, match="public internet"):
                addresses.check(url)
    assert connections == []


def test_a_name_that_changes_its_mind_between_questions_is_asked_once_and_taken_at_its_word(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A resolver that says public first and loopback from then on: whoever asked twice would call the canary."""
    settings.WEBHOOKS_TO_LOOPBACK = False
    answers = iter([["192.0.1.1"], *[["127.0.0.1"]] * 20])
    asked = resolving(monkeypatch, lambda host: next(answers))
    called: list[Any] = []

    async def create_connection(loop: Any, factory: Any, host: str, port: int, **options: Any) -> Any:
        called.append((host, port, options["server_hostname"]))
        raise OSError("no network in this test")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)
    with canary() as (port, connections):
        monkeypatch.setattr(addresses, "PORTS", (port,))
        (attempted,) = attempt(f"https://rebound.example:{port}/")
        assert attempted.error == "no connection"
        assert called == [("192.0.1.1", port, "rebound.example")]
        assert asked == ["rebound.example"]
        (attempted,) = attempt(f"https://rebound.example:{port}/")  # the next attempt looks again
        assert "public internet" in attempted.error
    assert connections == []
    assert len(called) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_not_followed(settings: Any, status: int) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with receiving() as receiver, canary() as (port, connections):
        receiver.always(status, Location=f"http://127.0.0.1:{port}/")
        (attempted,) = attempt(receiver.url)
        assert (attempted.http_status, attempted.error) == (status, "a redirect, which is not followed")
    assert connections == []


def test_an_answer_over_a_megabyte_is_cut(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    sent = 0

    async def flood(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1_000):
            await wire.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent += 65_536

    async def work() -> Attempted:
        async with wire_server(flood) as served:
            pool, names = Pool(), Names()
            attempted = await post.post(pool, names, job(served.url + "/"), timeout=5)
            pool.close()
            return attempted

    attempted = asyncio.run(work())
    assert attempted.error == "the answer is too long"
    assert sent < 16 << 20


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"])
def test_an_answer_that_takes_too_long_is_cut(settings: Any, drip: bytes) -> None:
    """One that never comes, and one that comes a byte at a time."""
    settings.WEBHOOKS_TO_LOOPBACK = True
    assert post.TIMEOUT_S == 15

    async def slow(wire: Wire) -> None:
        await wire.request()
        await wire.send(drip)
        while True:
            await asyncio.sleep(0.05)
            if drip:
                await wire.send(b"x")

    async def work() -> Attempted:
        async with wire_server(slow) as served:
            pool, names = Pool(), Names()
            attempted = await post.post(pool, names, job(served.url + "/"), timeout=0.4)
            pool.close()
            return attempted

    began = time.monotonic()
    attempted = asyncio.run(work())
    assert attempted.error == "no answer within 0.4 s"
    assert time.monotonic() - began < 2


def test_an_honest_address_is_understood(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = False
    target = read("https://Hooks.Example.com:8443/a%20b/c?x=1&y=2")
    assert (target.host, target.port, target.tls, target.path) == (
        "hooks.example.com",
        8443,
        True,
        "/a%20b/c?x=1&y=2",
    )
    assert read("https://example.com").path == "/"
    assert read("https://xn--bcher-kva.example/").host == "xn--bcher-kva.example"
    assert read("https://93.184.215.14/").port == 443
    assert read("https://[2606:4700:4700::1111]/").host == "2606:4700:4700::1111"


def test_loopback_is_called_only_where_the_setting_says_so_and_only_by_its_name(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    assert read("http://localhost:9000/hook").port == 9000
    assert read("http://[::1]:9000/").host == "::1"
    for url in (
        "http://10.0.0.1/",
        "http://example.com/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/",
    ):
        with pytest.raises(RefusedAddress):
            read(url)
    resolving(monkeypatch, lambda host: ["127.0.0.1"])
    with pytest.raises(RefusedAddress):
        addresses.check("https://rebound.example/")
    settings.WEBHOOKS_TO_LOOPBACK = False
    with pytest.raises(RefusedAddress):
        read("http://localhost:9000/hook")


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_networks_of_our_own_are_refused_although_they_are_public(settings: Any) -> None:
    settings.OWN_NETWORKS = networks("8.8.0.0/16, 2a00:1450::/32", "production")
    for url in ("https://8.8.8.8/", "https://[2a00:1450::1]/"):
        with pytest.raises(RefusedAddress, match="public internet"):
            read(url)
    assert read("https://9.9.9.9/").host == "9.9.9.9"
    for value in ("8.8.8.8/8", "here", "8.8.8.0/24;9.9.9.0/24"):
        with pytest.raises(ValueError, match="is no network"):
            networks(value, "production")


def test_the_host_is_asked_for_by_its_name_and_has_to_prove_it_at_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from integrations.transport import Origin

    origin = Origin("hooks.example", 443, True, "93.184.215.14")
    assert origin.name == "hooks.example"
    assert origin != Origin(
        "hooks.example", 443, True, "93.184.215.15"
    )  # no connection is shared between them
