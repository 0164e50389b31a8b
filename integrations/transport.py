"""HTTP/1.1 over kept connections, for one event loop: one request at a time on each, and nothing is ever sent twice.

Why not a client library: see docs/decisions/0014. The answers are read by httptools (llhttp, the parser of Node.js);
here is only what a lane needs to know exactly: when the bytes go out, and whether they did.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from integrations.body import MAX_BODY, BadAnswer

CONNECT_S = 10.0
KEPT_S = 15.0
MAX_HEAD = 1 << 16
WITHOUT_BODY = (204, 304)


class NotSent(Exception):
    """No byte of the request went out; the message is a fixed phrase, since the cause's own words may name the URL."""


class Lost(Exception):
    """The request went out and its answer did not come back whole; the message is a fixed phrase."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go. `host` is as in the URL, without brackets; with an `address` they go there and nowhere else,
    and the host is only what the server is asked for and has to prove to be."""

    host: str
    port: int
    tls: bool
    address: str = ""

    @property
    def name(self) -> str:
        """What stands in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names are in lower case, the first of several counts; the body is as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes


def split_url(url: str) -> tuple[Origin, str]:
    """The origin of a base URL and its path without a slash at the end. Raises ValueError for what is no HTTP URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an HTTP URL")
    tls = parts.scheme == "https"
    return Origin(parts.hostname, parts.port or (443 if tls else 80), tls), parts.path.rstrip("/")


class Pool:
    """The connections of one event loop. `close` ends them all."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[_Line]] = {}
        self._tls: ssl.SSLContext | None = None
        self._open: set[_Line] = set()
        self._tidying: asyncio.TimerHandle | None = None

    async def exchange(
        self,
        origin: Origin,
        request: bytes,
        deadline: float,
        about_to_send: Callable[[], None],
        most: int = MAX_BODY,
    ) -> Answer:
        """Send these bytes once and return the answer, whose body has at most `most`; `deadline` is a time.monotonic().

        `about_to_send` is called as the bytes are handed to the socket. Raises TimeoutError, NotSent, Lost, BadAnswer.
        """
        line = self._take(origin) or await self._connect(origin, deadline)
        waiting = self._loop.create_future()
        line.expect(waiting, most)
        timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), _time_out, waiting)
        try:
            about_to_send()
            line.transport.write(request)
            return cast(Answer, await waiting)
        finally:
            timer.cancel()
            if line.waiting is waiting:  # the answer is still to come, and would be taken for the next one's
                waiting.cancel()
                line.end()

    def keep(self, line: "_Line") -> None:
        """A connection whose answer was read to its end waits for the next request."""
        line.idle_since = time.monotonic()
        self._idle.setdefault(line.origin, deque()).append(line)
        if self._tidying is None:
            self._tidying = self._loop.call_later(KEPT_S, self._tidy)

    def forget(self, line: "_Line") -> None:
        """A connection that has ended."""
        self._open.discard(line)
        idle = self._idle.get(line.origin)
        if idle is not None and line in idle:
            idle.remove(line)

    def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        for line in list(self._open):
            line.end()

    def _take(self, origin: Origin) -> "_Line | None":
        idle = self._idle.get(origin)
        while idle:
            line = idle.pop()  # the one used last: the others may grow old
            if line.idle_since > time.monotonic() - KEPT_S and not line.transport.is_closing():
                return line
            line.end()
        return None

    async def _connect(self, origin: Origin, deadline: float) -> "_Line":
        left = deadline - time.monotonic()
        try:
            async with asyncio.timeout(min(CONNECT_S, left)):
                _, line = await self._loop.create_connection(
                    lambda: _Line(self, origin),
                    origin.address or origin.host,
                    origin.port,
                    ssl=self._context() if origin.tls else None,
                    server_hostname=origin.host if origin.tls else None,
                )
        except TimeoutError:
            if left <= CONNECT_S:
                raise
            raise NotSent("no connection to the vendor") from None
        except ssl.SSLError:
            raise NotSent("no trusted TLS connection to the vendor") from None
        except OSError as problem:
            unknown = isinstance(problem, socket.gaierror)
            raise NotSent(
                "the vendor's host name was not found" if unknown else "no connection to the vendor"
            ) from None
        self._open.add(line)
        return line

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _tidy(self) -> None:
        """End what nobody has used for a while; again later, while there is anything."""
        self._tidying = None
        oldest = time.monotonic() - KEPT_S
        for idle in list(self._idle.values()):
            while idle and idle[0].idle_since <= oldest:
                idle.popleft().end()
        if any(self._idle.values()):
            self._tidying = self._loop.call_later(KEPT_S, self._tidy)


class _Line(asyncio.Protocol):
    """One connection. `waiting` is the future of the answer that is due, None between requests."""

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.pool, self.origin = pool, origin
        self.waiting: asyncio.Future[Answer] | None = None
        self.idle_since = 0.0
        self._most = MAX_BODY
        self.transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._in_body = False

    def expect(self, waiting: "asyncio.Future[Answer]", most: int) -> None:
        """The next answer is this one's."""
        self._most = most
        self._begin()
        self.waiting = waiting

    def end(self) -> None:
        """Close at once."""
        self.transport.abort()

    def _fail(self, problem: Exception) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(problem)
        self.end()

    # --- the transport tells ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.waiting is None:
            self.end()  # nobody asked: whatever it is, it must not be taken for the answer to the next request
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Lost("the answer is not HTTP"))
            return
        if not self._in_body:
            self._head_size += len(data)
        if self._head_size > MAX_HEAD and self.waiting is not None:
            self._fail(Lost("the answer is not HTTP"))
        elif self._size > self._most:
            self._fail(BadAnswer("the answer is too long"))

    def connection_lost(self, error: Exception | None) -> None:
        self.pool.forget(self)
        if self.waiting is None:
            return
        if self._in_body and error is None and self._ends_with_the_connection():
            self._finish()
        elif self._in_body:
            self._fail(Lost("the answer was cut short"))
        else:
            self._fail(Lost("the connection was lost"))

    # --- the parser tells ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.waiting is None:
            self.end()  # more came than the answer: see data_received
        self._begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self._head_size = sum(len(name) + len(value) for name, value in self._headers.items())
        self._in_body = self._parser.get_status_code() >= 200
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > self._most:
            self._size = self._most + 1

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= self._most:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._in_body and self._size <= self._most:  # else one of those that only announce the answer
            self._finish()

    def _finish(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is None or waiting.done():
            self.end()
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        waiting.set_result(Answer(self._parser.get_status_code(), self._headers, body))
        if self._parser.should_keep_alive() and not self.transport.is_closing():
            self.pool.keep(self)
        else:
            self.end()

    def _ends_with_the_connection(self) -> bool:
        framed = self._headers.keys() & {"content-length", "transfer-encoding"}
        return not framed and self._parser.get_status_code() not in WITHOUT_BODY


def _time_out(waiting: "asyncio.Future[Any]") -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
