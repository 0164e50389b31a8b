"""The only module that opens connections to vendors.

A call ends in an outcome, whatever the network or the vendor does. No redirect is followed, nothing is sent twice, and
neither secret nor person gets into a log, an exception or an outcome's reason.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from yarl import URL

from integrations.body import BadAnswer, read_body
from integrations.connectors.base import (
    Balance,
    Clarify,
    Connector,
    Operation,
    Query,
    Quota,
    VendorRequest,
    VendorResponse,
)
from integrations.outcomes import Fail, Outcome, Retry
from tenants.failpoints import reach
from tenants.secret import Secret

CONNECT_SECONDS = 10.0
KEEPALIVE_SECONDS = 15.0
BALANCE_SECONDS = 15.0
BROKE_OFF = "the call broke off"
UNSENDABLE = "the key is empty or has characters that no key has"

OnSent = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class CallResult:
    """One call: its outcome, the HTTP status (None: no answer), milliseconds from send to end, quotas told."""

    outcome: Outcome
    http_status: int | None
    latency_ms: int
    quotas: list[Quota] = field(default_factory=list)


@dataclass(slots=True)
class _Attempt:
    """Where a request goes, until when, and when its bytes went out (None: they have not)."""

    base_url: str
    deadline: float
    tell: OnSent | None = None
    sent_at: float | None = None

    def mark(self) -> None:
        if self.sent_at is None:
            self.sent_at = time.monotonic()
            if self.tell is not None:
                self.tell(self.sent_at)


_attempt: ContextVar[_Attempt] = ContextVar("vendor_attempt")


class _StaleConnection(Exception):
    """A kept connection on which something came that nobody asked for; nothing was written to it."""


class _MarkedRequest(ClientRequest):
    """Marks the write itself. aiohttp's trace signals would tell the same, at a fifth of the cost of a call."""

    async def send(self, conn: Connection) -> ClientResponse:
        # The pool does not look: what came in the meantime would be taken for the answer to this request.
        if conn.protocol is None or conn.protocol.should_close:
            raise _StaleConnection
        if not self._body:
            _attempt.get().mark()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        try:
            _attempt.get().mark()
        except BaseException:
            conn.close()
            raise
        await super().write_bytes(writer, conn, content_length)


class VendorClient:
    """One pooled session for calls to any vendor, for one event loop. `async with` opens and closes it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[tuple[str, str], URL] = {}

    async def __aenter__(self) -> Self:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            headers={"User-Agent": "Weir", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_MarkedRequest,
            auto_decompress=False,
            trust_env=False,
        )
        # aiohttp would send a GET again when a kept connection turns out dead: a call that nobody paced or stamped.
        session._retry_connection = False
        self._session = session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        connector: Connector,
        operation: Operation,
        query: Query,
        *,
        secret: Secret,
        base_url: str | None = None,
        timeout: float | None = None,
        on_sent: OnSent | None = None,
    ) -> CallResult:
        """Asks the vendor once.

        `on_sent` gets time.monotonic() as the request's bytes are handed to the socket. `timeout` is in seconds and
        covers everything, by default the connector's. Raises RuntimeError inside a database transaction and before
        the client is opened; from then on nothing but CancelledError.
        """
        session = self._open_session()
        started = time.monotonic()
        deadline = started + (connector.timeout if timeout is None else timeout)
        attempt = _Attempt(base_url or connector.base_url, deadline, on_sent)
        try:
            result = await self._ask(session, connector, operation, query, secret, attempt)
        except Exception:  # noqa: BLE001 - a fault of ours in one answer must not stop the lane's other calls
            broken = Retry("error", BROKE_OFF, uncertain=attempt.sent_at is not None)
            result = CallResult(broken, None, 0)
        latency = round((time.monotonic() - (attempt.sent_at or started)) * 1000)
        return CallResult(result.outcome, result.http_status, latency, result.quotas)

    async def balance(
        self,
        connector: Connector,
        *,
        secret: Secret,
        base_url: str | None = None,
        timeout: float = BALANCE_SECONDS,
    ) -> Balance:
        """What the key has left. Raises like `call`; a vendor that cannot be reached is a balance that is not ok."""
        session = self._open_session()
        plain = secret.reveal()
        if not _sendable(plain):
            return Balance(ok=False, kind="auth_failed", reason=UNSENDABLE)
        attempt = _Attempt(base_url or connector.base_url, time.monotonic() + timeout)
        answer = await self._exchange(session, connector.balance_request(plain), attempt)
        if isinstance(answer, Retry):
            return Balance(ok=False, kind=answer.kind, reason=answer.reason)
        return connector.interpret_balance(answer)

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        connector: Connector,
        operation: Operation,
        query: Query,
        secret: Secret,
        attempt: _Attempt,
    ) -> CallResult:
        plain = secret.reveal()
        if not _sendable(plain):
            return CallResult(Fail("auth_failed", UNSENDABLE), None, 0)
        if not connector.can_ask(operation, query):
            return CallResult(Fail("invalid", "not enough data to ask this vendor"), None, 0)
        request = connector.request(operation, query, plain)
        answer = await self._exchange(session, request, attempt)
        if isinstance(answer, Retry):
            return CallResult(answer, None, 0)
        if 300 <= answer.status < 400:
            return CallResult(Retry("error", "unexpected redirect"), answer.status, 0)
        outcome = connector.interpret(operation, answer)
        if isinstance(outcome, Clarify):
            second = _Attempt(attempt.base_url, attempt.deadline)
            reply = await self._exchange(session, outcome.request(plain), second)
            told = None if isinstance(reply, Retry) else reply
            outcome = connector.interpret_clarification(operation, told)
        return CallResult(outcome, answer.status, 0, connector.quota(answer))

    def _open_session(self) -> aiohttp.ClientSession:
        _refuse_inside_transaction()
        if self._session is None:
            raise RuntimeError("the vendor client is not open; use it with `async with`")
        return self._session

    async def _exchange(
        self, session: aiohttp.ClientSession, request: VendorRequest, attempt: _Attempt
    ) -> VendorResponse | Retry:
        """One request and its answer; everything that can go wrong on the way is a Retry."""
        _attempt.set(attempt)
        try:
            async with asyncio.timeout(attempt.deadline - time.monotonic()):
                url = self._url(attempt.base_url, request)
                while True:
                    with suppress(_StaleConnection):
                        return await _send(session, request, url)
        except TimeoutError:
            return Retry("timeout", "no answer in time", uncertain=attempt.sent_at is not None)
        except BadAnswer as problem:
            return Retry("error", str(problem), uncertain=True)
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return Retry("error", _phrase(problem), uncertain=attempt.sent_at is not None)

    def _url(self, base: str, request: VendorRequest) -> URL:
        key = (base, request.path)
        url = self._urls.get(key)
        if url is None:
            url = self._urls[key] = URL(base.rstrip("/") + request.path, encoded=True)
        if request.params:
            return URL(f"{url}?{urlencode(request.params)}", encoded=True)
        return url


def check_balance(connector: Connector, secret: Secret, base_url: str | None = None) -> Balance:
    """`VendorClient.balance` for code without an event loop, with a connection of its own."""

    async def ask() -> Balance:
        async with VendorClient() as client:
            return await client.balance(connector, secret=secret, base_url=base_url)

    # Inside the event loop the calling thread's connections are out of sight.
    _refuse_inside_transaction()
    return asyncio.run(ask())


def _sendable(secret: str) -> bool:
    return bool(secret) and secret.isascii() and secret.isprintable()


async def _send(session: aiohttp.ClientSession, request: VendorRequest, url: URL) -> VendorResponse:
    body = None if request.json is None else orjson.dumps(request.json)
    async with session.request(
        request.method, url, data=body, headers=request.headers, allow_redirects=False
    ) as response:
        reach("call.answering")
        content = await read_body(response)
        return VendorResponse(response.status, response.headers, content)


def _phrase(problem: Exception) -> str:
    """A fixed phrase for an error of the network; the error's own words may hold the URL."""
    match problem:
        case aiohttp.ClientConnectorDNSError():
            return "the vendor's host name was not found"
        case aiohttp.ClientSSLError():
            return "no trusted TLS connection to the vendor"
        case aiohttp.ClientConnectorError():
            return "no connection to the vendor"
        case aiohttp.ClientPayloadError():
            return "the answer was cut short"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            return "the connection was lost"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case _:
            return "the request could not be sent"


def _refuse_inside_transaction() -> None:
    """A transaction kept open while a vendor thinks holds locks and a connection: a bug, told at once.

    Sees the connections of the current thread; in an event loop those opened by its own tasks.
    """
    database: Any = sys.modules.get("django.db")
    conf: Any = sys.modules.get("django.conf")
    if database is None or conf is None or not conf.settings.configured:
        return
    for connection in database.connections.all(initialized_only=True):
        if connection.in_atomic_block or (connection.connection is not None and not connection.autocommit):
            raise RuntimeError(f"vendor call inside a transaction on database {connection.alias!r}")
