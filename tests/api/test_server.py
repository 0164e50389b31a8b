"""The web server as the Procfile starts it, against callers that no client library would be: bytes over sockets."""

import io
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client

from config import bodies
from config.env import BASE_DIR
from tests.api.fuzz import web
from tests.factories import connect_all, make_key, make_run

LIMIT = 8
pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(scope="module")
def server(django_db_setup, tmp_path_factory) -> Iterator["Server"]:
    limits = {"WEIR_TRUSTED_PROXIES": "1", "WEIR_UNKNOWN_CALLERS_PER_MINUTE": str(LIMIT)}
    with web(tmp_path_factory.mktemp("server"), **limits) as (url, _):
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


@pytest.mark.parametrize("route", ["hooks/stripe", "api/v1/runs", "accounts/login/"])
def test_callers_without_a_key_who_do_not_finish_their_bodies_stop_nobody(server, tenant, route):
    connect_all(tenant)
    key = f"Authorization: Bearer {make_key(tenant)}\nContent-Type: application/json"
    body = b'{"workflow": "email-waterfall", "records": [{"first_name": "Ada"}]}'
    unfinished = (
        f"POST /{route}\nContent-Type: application/json\nStripe-Signature: t=1,v1=a\nContent-Length: 200"
    )
    assert server.ask(f"GET /api/v1/tenant\n{key}")[0] == 200  # known from now on
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(server.send(unfinished, b"{"))
        time.sleep(0.2)
        began = time.monotonic()
        assert server.ask("GET /healthz")[0] == 200
        assert server.ask(f"POST /api/v1/runs\n{key}\nContent-Length: {len(body)}", body)[0] == 202
        assert server.ask("POST /hooks/stripe\nContent-Length: 2", b"{}")[0] == 503
        status, text = server.ask(f"{unfinished}\nX-Forwarded-For: 192.0.2.1", b"{")
        assert (status, "Retry-After: 5".lower() in text.lower()) == (503, True)
        assert time.monotonic() - began < 5
    time.sleep(0.3)
    assert server.ask("POST /hooks/stripe\nContent-Length: 2", b"{}")[0] not in (200, 503)


def test_a_body_that_comes_in_pieces_is_read(server, tenant):
    head = f"POST /api/v1/keys\nAuthorization: Bearer {make_key(tenant)}\nContent-Type: application/json"
    body = b'{"name": "' + b"x" * 100_000 + b'"}'
    connection = server.send(f"{head}\nContent-Length: {len(body)}\nConnection: close")
    for start in range(0, len(body), 30_000):
        time.sleep(0.1)
        connection.sendall(body[start : start + 30_000])
    assert server.answer(connection)[0] == 422  # read, and too long a name


def test_a_file_is_read_by_its_view_and_gives_its_turn_back_before_it_is_looked_over():
    turns, seen = threading.BoundedSemaphore(1), []

    def view(environ, start_response):
        source = environ["wsgi.input"]
        seen.append(turns.acquire(blocking=False))
        while source.read(65_536):
            pass
        seen.append(turns.acquire(blocking=False))
        turns.release()
        return [b""]

    whole = bodies.Bodies(view)
    whole._turns = turns
    for _ in range(2):
        length = 3 * bodies.IN_MEMORY
        environ = {"CONTENT_LENGTH": str(length), "wsgi.input": io.BytesIO(b"x" * length), "PATH_INFO": "/x"}
        assert whole(environ, lambda *_: None) == [b""]
    assert seen == [False, True] * 2
    with pytest.raises(ValueError, match="released too many times"):
        turns.release()


@pytest.mark.parametrize(
    ("sent", "is_known", "known"),
    [
        ({"HTTP_AUTHORIZATION": "Bearer a"}, True, True),
        ({"HTTP_X_API_KEY": "a"}, True, True),
        ({"HTTP_COOKIE": "weir_session=a"}, True, True),
        ({"HTTP_AUTHORIZATION": "Bearer a"}, False, False),
        ({}, True, False),
    ],
)
def test_who_had_a_valid_key_or_was_signed_in_waits_for_no_turn(sent, is_known, known):
    def view(environ, start_response):
        if is_known:
            environ[bodies.KNOWN] = True
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    whole, answers = bodies.Bodies(view), []

    def ask(**more):
        environ = {"PATH_INFO": "/api/v1/runs", "wsgi.input": io.BytesIO(b"body"), **sent, **more}
        return whole(environ, lambda status, *_: answers.append(status))

    ask()
    for _ in range(bodies.AT_ONCE):
        whole._turns.acquire()
    said = ask(CONTENT_LENGTH="4")
    assert (said == [b"body"], answers[-1].startswith("503")) == (known, not known)


@pytest.mark.parametrize(
    ("key", "asked", "status", "known"),
    [
        ("good", {}, 200, True),
        ("good", {"PATH_INFO": "/api/v1/runs/nope"}, 404, True),
        ("nonsense", {}, 401, False),
        ("nonsense", {"PATH_INFO": "/api/docs/"}, 200, False),
        ("good", {"wsgi.url_scheme": "http"}, 301, False),
        ("nonsense", {"wsgi.url_scheme": "http"}, 301, False),
        ("nonsense", {"REQUEST_METHOD": "OPTIONS", "HTTP_ORIGIN": "https://a.example",
                      "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}, 200, False),
    ],
)  # fmt: skip
def test_an_answer_alone_makes_nobody_known(tenant, settings, key, asked, status, known):
    """A redirect to https and the answer to a browser's question about origins are given to anybody."""
    settings.SECURE_SSL_REDIRECT = True
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE[:1],
        "corsheaders.middleware.CorsMiddleware",
        *settings.MIDDLEWARE[1:],
    ]
    whole, answers = bodies.Bodies(WSGIHandler()), []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/api/v1/tenant", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https", "wsgi.input": io.BytesIO(), **asked,
        "HTTP_AUTHORIZATION": f"Bearer {make_key(tenant) if key == 'good' else key}",
    }  # fmt: skip
    whole(environ, lambda line, *_: answers.append(int(line[:3]))).close()
    assert (answers, len(whole._known)) == ([status], int(known))


def test_who_is_signed_in_is_known_by_the_pages_of_their_tenant(owner):
    whole, browser = bodies.Bodies(WSGIHandler()), Client()
    for path, signed_in, known in (
        ("/app/runs/", False, 0),
        ("/accounts/login/", False, 0),
        ("/app/runs/", True, 1),
    ):
        if signed_in:
            browser.force_login(owner)
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
            "REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
            "HTTP_COOKIE": cookies or "weir_session=made-up",
        }  # fmt: skip
        whole(environ, lambda *_: None).close()
        assert len(whole._known) == known, (path, signed_in)


def test_more_threads_answer_than_may_wait_for_bodies():
    threads = re.search(r"--blocking-threads (\d+)", (BASE_DIR / "Procfile").read_text())
    assert threads
    assert int(threads[1]) >= bodies.AT_ONCE + 2


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
    # A proxy may write a line of its own below the caller's.
    assert 429 in statuses("X-Forwarded-For: 198.51.100.{n}", "X-Forwarded-For: 203.0.113.9")
