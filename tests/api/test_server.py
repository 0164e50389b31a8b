"""The web server as the Procfile starts it, against callers that no client library would be: bytes over sockets."""

import socket
from collections.abc import Iterator

import pytest

from tests.api.fuzz import web
from tests.factories import connect_all, make_key, make_run

LIMIT = 8


@pytest.fixture
def server(committed, tmp_path) -> Iterator["Server"]:
    with web(tmp_path, WEIR_TRUSTED_PROXIES="1", WEIR_UNKNOWN_CALLERS_PER_MINUTE=str(LIMIT)) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        yield Server(host, int(port))


class Server:
    def __init__(self, host: str, port: int) -> None:
        self.place = (host, port)

    def send(self, head: str, body: bytes = b"") -> socket.socket:
        """A connection on which this much of a request was sent."""
        line, *lines = head.split("\n")
        text = "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *lines, "", ""])
        connection = socket.create_connection(self.place, 10)
        connection.sendall(text.encode("latin-1") + body)
        return connection

    def answer(self, connection: socket.socket, *, within: float = 10) -> tuple[int, str]:
        """(status, the whole answer), once the server has closed the connection."""
        connection.settimeout(within)
        got = b""
        while chunk := connection.recv(65_536):
            got += chunk
        connection.close()
        return int(got.split(b" ", 2)[1]), got.decode("latin-1")

    def ask(self, head: str, body: bytes = b"") -> tuple[int, str]:
        return self.answer(self.send(f"{head}\nConnection: close", body))


def test_a_body_is_never_dropped_in_silence(server, tenant):
    connect_all(tenant)
    path = f"/api/v1/runs/{make_run(tenant, 1).pk}/retry"
    head = f"POST {path}\nAuthorization: Bearer {make_key(tenant)}\nContent-Type: application/json"
    body = b'{"bogus": 1}'
    for coding in ("chunked", "Chunked", "CHUNKED", "gzip, chunked"):
        status, _ = server.ask(f"{head}\nTransfer-Encoding: {coding}", b"c\r\n" + body + b"\r\n0\r\n\r\n")
        assert status in (400, 411), coding
    assert server.ask(f"{head}\nContent-Length: {len(body)}", body)[0] == 422
    with socket.create_connection(server.place, 5) as connection:  # HTTP/2 has bodies without a length
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert not connection.recv(9).startswith(b"\0\0")


def test_the_server_tells_nothing_of_itself_but_its_name(server):
    for head in ("GET /healthz", "GET /api/v1/runs", "GET /nope", "TRACE /api/v1/runs", "FOO /"):
        _, text = server.ask(head)
        lines = [
            line
            for line in text.split("\r\n")
            if line.lower().startswith(("server:", "x-powered-by:", "via:"))
        ]
        assert lines in (["server: granian"], []), head
        assert "Traceback" not in text


def test_unknown_callers_are_counted_by_what_our_proxy_says_and_by_nothing_else(server):
    def statuses(*lines: str) -> set[int]:
        asked = [
            server.ask("GET /api/v1/runs\n" + "\n".join(lines).format(n=n))[0] for n in range(2 * LIMIT + 2)
        ]
        return set(asked)

    assert statuses("X-Forwarded-For: 198.51.100.{n}") == {401}
    assert statuses("X-Forwarded-For: 198.51.100.{n}, 203.0.113.7", "X-Real-IP: 198.51.100.{n}") == {401, 429}
    assert 429 in statuses("X-Forwarded-For: 203.0.113.8", "Forwarded: for=198.51.100.{n}")
