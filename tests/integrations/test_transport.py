"""HTTP/1.1 by ourselves: the ways in which servers frame, announce, close and encrypt their answers."""

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from integrations import transport
from integrations.transport import Answer, Lost, NotSent, Origin, Pool, split_url
from tests.integrations.rig import answering, http_answer, wire_server

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = http_answer(b"hello")


def on_both_loops(work):
    """Asyncio's own loop and the one that workers have."""
    return asyncio.run(work()), uvloop.run(work())


async def exchange(pool, url, *, seconds=5.0):
    origin, _ = split_url(url)
    return await pool.exchange(origin, REQUEST, time.monotonic() + seconds, lambda: None)


def answers_to(*scripted, times=1):
    """What the pool makes of a server that answers so, for so many requests one after the other, on both loops."""

    async def work():
        async with wire_server(answering(*scripted)) as served:
            pool = Pool()
            got = [await exchange(pool, served.url) for _ in range(times)]
            pool.close()
            return got, served.connections

    first, second = on_both_loops(work)
    assert first == second
    return first


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (OK, b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, b"hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["length", "chunked", "until close", "http 1.0", "no content", "continue", "hints", "empty"],
)
def test_every_way_to_frame_an_answer_is_read(sent: bytes, body: bytes) -> None:
    (answer,), _ = answers_to(sent)
    assert answer.body == body
    assert answer.status in (200, 204)


def test_header_names_are_folded_and_the_first_of_several_counts() -> None:
    (answer,), _ = answers_to(
        b"HTTP/1.1 429 Slow\r\nRETRY-After: 7\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"
    )
    assert answer == Answer(429, {"retry-after": "7", "content-length": "0"}, b"")


@pytest.mark.parametrize(
    ("first", "connections"),
    [(OK, 1), (http_answer(b"hello", Connection="close"), 2), (b"HTTP/1.0 200 OK\r\n\r\nhello", 2)],
    ids=["kept", "closed by its word", "closed by its version"],
)
def test_a_connection_is_used_again_only_where_the_server_keeps_it(first: bytes, connections: int) -> None:
    async def script(wire):
        while await wire.request():
            await wire.send(first)
            if connections > 1:
                break

    async def work():
        async with wire_server(script) as served:
            pool = Pool()
            for _ in range(2):
                assert (await exchange(pool, served.url)).body == b"hello"
            pool.close()
            return served.connections

    assert on_both_loops(work) == (connections, connections)


def test_an_answer_in_many_pieces_is_one_answer() -> None:
    async def script(wire):
        await wire.request()
        for byte in OK:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0)

    async def work():
        async with wire_server(script) as served:
            pool = Pool()
            answer = await exchange(pool, served.url)
            pool.close()
            return answer.body

    assert on_both_loops(work) == (b"hello", b"hello")


@pytest.mark.parametrize(
    ("sent", "phrase"),
    [
        (b"", "the connection was lost"),
        (b"HTTP/1.1 200 O", "the connection was lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "the answer was cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "the answer was cut short"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, "the answer is not HTTP"),
        (b"".join(b"X-%d: %s\r\n" % (n, b"a" * 500) for n in range(200)).join((b"HTTP/1.1 200 OK\r\n", b"\r\n")),
         "the answer is not HTTP"),
    ],
    ids=["nothing", "half a line", "short", "half a chunk", "upgrade", "endless header", "many headers"],
)  # fmt: skip
def test_what_is_no_whole_answer_is_lost(sent: bytes, phrase: str) -> None:
    async def work():
        async with wire_server(answering(sent)) as served:
            pool = Pool()
            with pytest.raises(Lost) as caught:
                await exchange(pool, served.url)
            pool.close()
            return str(caught.value)

    assert on_both_loops(work) == (phrase, phrase)


def test_after_a_timeout_the_late_answer_is_nobodys() -> None:
    async def script(wire):
        await wire.request()
        await asyncio.sleep(0.3)
        await wire.send(http_answer(b"late"))
        while await wire.request():
            await wire.send(OK)

    async def work():
        async with wire_server(script) as served:
            pool = Pool()
            with pytest.raises(TimeoutError):
                await exchange(pool, served.url, seconds=0.1)
            await asyncio.sleep(0.4)
            async with wire_server(answering(OK)) as well:
                assert (await exchange(pool, well.url)).body == b"hello"
            pool.close()
            return served.connections

    assert on_both_loops(work) == (1, 1)


def test_a_cancelled_exchange_leaves_no_connection_to_the_next_one() -> None:
    async def script(wire):
        await wire.request()
        await asyncio.sleep(0.2)
        await wire.send(http_answer(b"for somebody else"))

    async def work():
        async with wire_server(script) as served:
            pool = Pool()
            going = asyncio.create_task(exchange(pool, served.url))
            await asyncio.sleep(0.1)
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going
            assert (await exchange(pool, served.url)).body == b"for somebody else"
            pool.close()
            return served.connections

    assert on_both_loops(work) == (2, 2)


def test_connections_that_nobody_uses_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEPT_S", 0.1)
    gone = []

    async def script(wire):
        await wire.request()
        await wire.send(OK)
        assert await wire.request() == b""
        gone.append(True)

    async def work():
        async with wire_server(script) as served:
            pool = Pool()
            await exchange(pool, served.url)
            await asyncio.sleep(0.4)
            pool.close()

    on_both_loops(work)
    assert gone == [True, True]


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("http://127.0.0.1:8001/prospeo/", Origin("127.0.0.1", 8001, False), "/prospeo"),
        ("https://api.vendor.example", Origin("api.vendor.example", 443, True), ""),
        ("http://[::1]:80/x", Origin("::1", 80, False), "/x"),
    ],
)
def test_a_base_url_has_an_origin_and_a_path(url: str, origin: Origin, path: str) -> None:
    assert split_url(url) == (origin, path)


def test_the_host_header_has_the_port_where_it_is_not_the_usual_one() -> None:
    names = [
        Origin(*parts).name
        for parts in (("a.example", 443, True), ("a.example", 444, True), ("::1", 80, False))
    ]
    assert names == ["a.example", "a.example:444", "[::1]"]


@pytest.mark.parametrize("url", ["ftp://x.example", "https://", "x.example", "http://x.example:port"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - ours and the library's
        split_url(url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory):
    """A certificate for 127.0.0.1 and localhost, signed by itself; the path of its file, which has the key as well."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vendor")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False).add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "vendor.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_vendor_whose_certificate_is_trusted_gets_the_request(
    certificate, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        writer.close()

    async def work():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        pool = Pool()
        try:
            return (await exchange(pool, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")).body
        except NotSent as problem:
            return str(problem)
        finally:
            pool.close()
            server.close()
            await asyncio.sleep(0.05)

    told = b"hello" if trusted else "no trusted TLS connection to the vendor"
    assert on_both_loops(work) == (told, told)
    assert len(seen) == (2 if trusted else 0)
