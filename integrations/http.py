"""The only way to vendors.

A call ends in an outcome, whatever the network or the vendor does. No redirect is followed, nothing is sent twice, and
neither secret nor person gets into a log, an exception or an outcome's reason.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import orjson

from integrations.body import BadAnswer, unpack
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
from integrations.exchanges import Exchange
from integrations.outcomes import Fail, Outcome, Poll, Retry
from integrations.transport import Lost, NotSent, Origin, Pool, split_url
from tenants.failpoints import reach
from tenants.secret import Secret

BALANCE_SECONDS = 15.0
BROKE_OFF = "the call broke off"
SECRET_IN_STATE = "the vendor's answer holds the key and is not kept"
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
        """The bytes are about to go; whoever is told may raise, and then they do not."""
        if self.sent_at is None:
            at = time.monotonic()
            if self.tell is not None:
                self.tell(at)
            self.sent_at = at


class VendorClient:
    """The connections to all vendors, for one event loop. `async with` opens and closes them."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        # Else Django itself refuses a connection in an event loop.
        self._watch = bool(os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"))
        self._heads: dict[tuple[str, str], tuple[Origin, str]] = {}

    async def __aenter__(self) -> Self:
        self._pool = Pool()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

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
        exchange: Exchange | None = None,
    ) -> CallResult:
        """Asks the vendor once: the question, or `exchange` in its place.

        `on_sent` gets time.monotonic() as the request's bytes are handed to the socket; if it raises, nothing is sent.
        `timeout` is in seconds and
        covers everything, by default the connector's. Raises RuntimeError inside a database transaction and before
        the client is opened; from then on nothing but CancelledError.
        """
        pool = self._open_pool()
        started = time.monotonic()
        deadline = started + (connector.timeout if timeout is None else timeout)
        attempt = _Attempt(base_url or connector.base_url, deadline, on_sent)
        try:
            result = await self._ask(pool, connector, operation, query, secret, attempt, exchange)
        except Exception:  # noqa: BLE001 - a fault of ours in one answer must not stop the lane's other calls
            broken = Retry("error", BROKE_OFF, uncertain=attempt.sent_at is not None)
            result = CallResult(broken, None, 0)
        latency = round((time.monotonic() - (attempt.sent_at or started)) * 1000)
        return CallResult(result.outcome, result.http_status, latency, result.quotas)

    async def call_bulk(
        self,
        connector: Connector,
        operation: Operation,
        queries: Sequence[Query],
        *,
        secret: Secret,
        base_url: str | None = None,
        on_sent: OnSent | None = None,
    ) -> list[CallResult]:
        """As `call`, once for all of these questions (`Connector.bulk`); one result for each, in their order."""
        pool = self._open_pool()
        started = time.monotonic()
        deadline = started + connector.bulk[operation].timeout
        attempt = _Attempt(base_url or connector.base_url, deadline, on_sent)
        status, quotas = None, []
        try:
            outcomes, answer = await self._ask_together(pool, connector, operation, queries, secret, attempt)
            if answer is not None:
                status, quotas = answer.status, connector.quota(answer)
        except Exception:  # noqa: BLE001 - as in `call`
            broken = Retry("error", BROKE_OFF, uncertain=attempt.sent_at is not None)
            outcomes, status = [broken] * len(queries), None
        latency = round((time.monotonic() - (attempt.sent_at or started)) * 1000)
        return [CallResult(outcome, status, latency, quotas) for outcome in outcomes]

    async def balance(
        self,
        connector: Connector,
        *,
        secret: Secret,
        base_url: str | None = None,
        timeout: float = BALANCE_SECONDS,
    ) -> Balance:
        """What the key has left. Raises like `call`; a vendor that cannot be reached is a balance that is not ok."""
        pool = self._open_pool()
        plain = secret.reveal()
        if not _sendable(plain):
            return Balance(ok=False, kind="auth_failed", reason=UNSENDABLE)
        attempt = _Attempt(base_url or connector.base_url, time.monotonic() + timeout)
        answer = await self._exchange(pool, connector.balance_request(plain), attempt)
        if isinstance(answer, Retry):
            return Balance(ok=False, kind=answer.kind, reason=answer.reason)
        return connector.interpret_balance(answer)

    async def _ask(
        self,
        pool: Pool,
        connector: Connector,
        operation: Operation,
        query: Query,
        secret: Secret,
        attempt: _Attempt,
        exchange: Exchange | None,
    ) -> CallResult:
        plain = secret.reveal()
        if not _sendable(plain):
            return CallResult(Fail("auth_failed", UNSENDABLE), None, 0)
        if not connector.can_ask(operation, query):
            return CallResult(Fail("invalid", "not enough data to ask this vendor"), None, 0)
        request = connector.request(operation, query, plain) if exchange is None else exchange.request(plain)
        answer = await self._exchange(pool, request, attempt)
        if isinstance(answer, Retry):
            return CallResult(answer, None, 0)
        if 300 <= answer.status < 400:
            return CallResult(Retry("error", "unexpected redirect"), answer.status, 0)
        outcome = connector.interpret(operation, answer) if exchange is None else exchange.interpret(answer)
        if isinstance(outcome, Clarify):
            second = _Attempt(attempt.base_url, attempt.deadline)
            reply = await self._exchange(pool, outcome.request(plain), second)
            told = None if isinstance(reply, Retry) else reply
            outcome = connector.interpret_clarification(operation, told)
        if isinstance(outcome, Poll) and plain in orjson.dumps(outcome.state).decode():
            outcome = Fail("error", SECRET_IN_STATE)
        return CallResult(outcome, answer.status, 0, connector.quota(answer))

    async def _ask_together(
        self,
        pool: Pool,
        connector: Connector,
        operation: Operation,
        queries: Sequence[Query],
        secret: Secret,
        attempt: _Attempt,
    ) -> tuple[list[Outcome], VendorResponse | None]:
        """The outcome of each question, and the answer that they were read from."""
        plain, count = secret.reveal(), len(queries)
        if not _sendable(plain):
            return [Fail("auth_failed", UNSENDABLE)] * count, None
        answer = await self._exchange(pool, connector.request_bulk(operation, queries, plain), attempt)
        if isinstance(answer, Retry):
            return [answer] * count, None
        if 300 <= answer.status < 400:
            return [Retry("error", "unexpected redirect")] * count, answer
        outcomes = connector.interpret_bulk(operation, queries, answer)
        if isinstance(outcomes, Clarify):
            reply = await self._exchange(
                pool, outcomes.request(plain), _Attempt(attempt.base_url, attempt.deadline)
            )
            told = None if isinstance(reply, Retry) else reply
            outcomes = [connector.interpret_clarification(operation, told)] * count
        return outcomes, answer

    def _open_pool(self) -> Pool:
        if os.environ.get(
            "DJANGO_ALLOW_ASYNC_UNSAFE"
        ):  # else Django itself refuses a connection in an event loop
            _refuse_inside_transaction()
        if self._pool is None:
            raise RuntimeError("the vendor client is not open; use it with `async with`")
        return self._pool

    async def _exchange(
        self, pool: Pool, request: VendorRequest, attempt: _Attempt
    ) -> VendorResponse | Retry:
        """One request and its answer; everything that can go wrong on the way is a Retry."""
        try:
            origin, data = self._written(attempt.base_url, request)
            answer = await pool.exchange(origin, data, attempt.deadline, attempt.mark, request.most_back)
            reach("call.answering")
            encoding = answer.headers.get("content-encoding")
            body = answer.body if encoding is None else unpack(answer.body, encoding, request.most_back)
            return VendorResponse(answer.status, answer.headers, body)
        except TimeoutError:
            return Retry("timeout", "no answer in time", uncertain=attempt.sent_at is not None)
        except NotSent as problem:
            return Retry("error", str(problem))
        except (Lost, BadAnswer) as problem:
            return Retry("error", str(problem), uncertain=True)
        except (OSError, ValueError):
            return Retry("error", "the request could not be sent", uncertain=attempt.sent_at is not None)

    def _written(self, base: str, request: VendorRequest) -> tuple[Origin, bytes]:
        """Where the request goes, and its bytes. Raises ValueError for what cannot stand in a request."""
        key = (base, request.path)
        if key not in self._heads:
            origin, path = split_url(base)
            self._heads[key] = origin, _head(origin, path + request.path)
        origin, rest = self._heads[key]
        target, _, lines = rest.partition("\n")
        query = f"?{urlencode(request.params)}" if request.params else ""
        body = b"" if request.json is None else orjson.dumps(request.json)
        lines += "".join(f"{name}: {_value(value)}\r\n" for name, value in request.headers.items())
        if "Accept" not in request.headers:
            lines += "Accept: */*\r\n"
        if body or request.method != "GET":
            lines += f"Content-Length: {len(body)}\r\n"
        return origin, f"{request.method} {target}{query} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


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


def _head(origin: Origin, target: str) -> str:
    """The target and, after a line feed, the header lines that every request there has."""
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError("not a request target")
    return f"{target}\nHost: {origin.name}\r\nUser-Agent: Weir\r\nAccept-Encoding: identity\r\n"


def _value(value: str) -> str:
    if not value.isprintable():
        raise ValueError("not a header's value")
    return value


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
