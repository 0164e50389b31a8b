"""One request after another: reads it, holds it to the key's limits, lets a fault strike, waits, answers, notes it."""

import asyncio
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from aiohttp import web

from integrations.sandbox.accounts import Account, Accounts
from integrations.sandbox.control import Control
from integrations.sandbox.faults import OF_JOBS, Fault, Faults
from integrations.sandbox.journal import Call, Journal
from integrations.sandbox.limits import arrived
from integrations.sandbox.people import digest, seconds_for
from integrations.sandbox.stripe.server import Stripe
from integrations.sandbox.vendors.base import Ask, Incoming, Reply, Vendor
from integrations.sandbox.vendors.findymail import Findymail
from integrations.sandbox.vendors.hunter import Hunter
from integrations.sandbox.vendors.jobs import Jobs
from integrations.sandbox.vendors.prospeo import Prospeo
from integrations.sandbox.vendors.zerobounce import ZeroBounce

VENDORS: dict[str, Vendor] = {
    vendor.name: vendor for vendor in (Prospeo(), Findymail(), ZeroBounce(), Hunter(), Jobs())
}
HOUR = 3600.0
HANG_CHECK_SECONDS = 0.1
SECOND_AFTER_SECONDS = 0.02
AFTER_CHARGE = ("slow", "drop_after_charge", "half_body", "twice")
LINGER_RESET = struct.pack("ii", 1, 0)
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502</h1></body></html>"
NOISE = b'{"contact": {"email": \x80\xff\x00"'


@dataclass
class Sandbox:
    """All vendors over one journal. `latency_scale` 0 answers at once, 1 as slowly as the vendors do."""

    latency_scale: float = 1.0
    record: Path | None = None
    stripe_file: Path | None = None
    accounts: Accounts = field(init=False)
    journal: Journal = field(init=False)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.accounts = Accounts({name: vendor.terms for name, vendor in VENDORS.items()})
        self.journal = Journal(self.accounts.names, self.record)
        self.stripe = Stripe(self.stripe_file)
        self._control = Control(self.accounts, self.journal, self.faults, self.stripe)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        at = arrived(time.monotonic(), _socket(request))
        _, _, tail = request.path.partition("/")
        provider, _, path = tail.partition("/")
        if provider == "_sandbox":
            return await self._control.handle(request, path)
        if provider == "stripe":
            return await self.stripe.handle(request, f"/{path}")
        vendor = VENDORS.get(provider)
        if vendor is None:
            known = ", ".join(f"/{name}/" for name in VENDORS)
            return web.Response(status=404, text=f"No such vendor. There are {known} and /_sandbox/.\n")
        body = await request.read() if request.body_exists else b""
        query = request.query if request.query_string else {}
        ask = vendor.read(Incoming(request.method, f"/{path}", query, request.headers, body))
        if isinstance(ask, Reply):
            return _response(ask, {})
        return await self._serve(request, vendor, ask, at)

    async def _serve(
        self, request: web.BaseRequest, vendor: Vendor, ask: Ask, at: float
    ) -> web.StreamResponse:
        account = self.accounts.get(vendor.name, ask.key)
        calls = self._open(ask, account, at)
        answer = self._refusal(vendor, ask, account, calls, at)
        if answer is not None:
            return self._close(calls, answer, vendor, account, at)
        try:
            answer = await self._work(request, vendor, ask, account, calls, at)
        finally:
            if ask.operation != "balance":
                account.gate.leave(ask.group)
        return self._close(calls, answer, vendor, account, at)

    def _open(self, ask: Ask, account: Account, at: float) -> list[Call]:
        """The journal's entries for a call: one for each question."""
        bulk = 0 if ask.each is None else self.journal.next_seq
        account.sums.bulk_calls += ask.each is not None
        return [
            self.journal.open(
                unix=time.time() - (time.monotonic() - at),
                mono=at,
                account=account.number,
                operation=one.operation,
                person=digest(one.question),
                sums=account.sums,
                bulk=bulk,
            )
            for one in ask.each or [ask]
        ]

    def _refusal(
        self, vendor: Vendor, ask: Ask, account: Account, calls: list[Call], at: float
    ) -> Reply | None:
        """The answer to a call that gets no further than the door. None: it is in, and has to leave the gate."""
        if account.is_bad or not account.key:
            account.refusals = [then for then in account.refusals if then > at - HOUR]
            if vendor.bad_calls_an_hour is not None:
                account.refusals.append(at)
                if len(account.refusals) > vendor.bad_calls_an_hour:
                    _mark_over_limit(calls)
                    return vendor.over_limit(ask)
            return vendor.bad_key(ask)
        if ask.operation == "balance":
            return None
        count = None if ask.each is None else len(ask.each)
        refusal = account.gate.enter(ask.operation, ask.group, at, count)
        if refusal is None:
            return None
        _mark_over_limit(calls)
        return vendor.over_limit(ask)

    async def _work(
        self,
        request: web.BaseRequest,
        vendor: Vendor,
        ask: Ask,
        account: Account,
        calls: list[Call],
        at: float,
    ) -> Reply | None:
        """The vendor's own doing, with whatever fault strikes it; None where the connection ends without answer."""
        fault = self.faults.pick(vendor.name, account.key) if ask.operation != "balance" else None
        if fault is not None and fault.kind in OF_JOBS:
            calls[0].fault, ask.fault, fault = fault.kind, fault, None
        if fault is not None:
            for call in calls:
                call.fault = fault.kind
            if fault.kind in ("bad_key", "no_credits"):
                account.struck = fault.kind
            if fault.kind not in AFTER_CHARGE:
                return await _strike(request, vendor, ask, fault)
        answer = vendor.answer(ask, account)
        wait = 0.0
        if self.latency_scale > 0:
            questions = (one.question for one in ask.each or [ask])
            wait = max(seconds_for(vendor.name, question, vendor.median_seconds) for question in questions)
            wait *= self.latency_scale
        if fault is not None and fault.kind == "slow":
            wait += fault.seconds
        if ask.fault is not None and ask.fault.kind == "callback_early":
            wait += ask.fault.seconds  # the result is posted while the call that asked for it is still open
        if wait > 0:
            await asyncio.sleep(max(0.0, at + wait - time.monotonic()))
        if fault is not None and fault.kind in ("drop_after_charge", "half_body"):
            _enter(calls, answer)
            _drop(request, reset=False, after=_raw(answer, whole=False) if fault.kind == "half_body" else b"")
            return None
        if fault is not None and fault.kind == "twice" and (transport := request.transport) is not None:
            asyncio.get_running_loop().call_later(
                SECOND_AFTER_SECONDS, transport.write, _raw(answer, whole=True)
            )
        return answer

    def _close(
        self, calls: list[Call], answer: Reply | None, vendor: Vendor, account: Account, at: float
    ) -> web.StreamResponse:
        now = time.monotonic()
        if answer is not None:
            _enter(calls, answer)
        for call in calls:
            call.latency_ms = (now - at) * 1000
            if answer is not None:
                call.status = answer.status
            elif call.outcome == "pending":
                call.outcome = "error"
            self.journal.close(call)
        if answer is None:
            return web.Response(status=500)
        return _response(answer, vendor.extra_headers(account, now))


def _mark_over_limit(calls: list[Call]) -> None:
    for call in calls:
        call.over_limit = True


def _enter(calls: list[Call], answer: Reply) -> None:
    """What an answer comes to, for each question of its call."""
    each = answer.each or [(answer.outcome, answer.credits)] * len(calls)
    for call, (outcome, cost) in zip(calls, each, strict=True):
        call.outcome, call.credits = outcome, cost


async def _strike(request: web.BaseRequest, vendor: Vendor, ask: Ask, fault: Fault) -> Reply | None:
    match fault.kind:
        case "status_500":
            return Reply(500, orjson.dumps({"message": "Server Error"}), "error")
        case "garbage":
            return Reply(200, NOISE, "error")
        case "html":
            return Reply(502, PAGE, "error", content_type="text/html; charset=utf-8")
        case "rate_limit":
            return vendor.over_limit(ask)
        case "bad_key":
            return vendor.bad_key(ask)
        case "no_credits":
            return vendor.no_credits(ask)
        case "reset":
            _drop(request, reset=True)
            return None
        case _:
            await _until_gone(request)
            return None


async def _until_gone(request: web.BaseRequest) -> None:
    # aiohttp tells of a lost connection only by cancelling the handler, which other calls must survive.
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(HANG_CHECK_SECONDS)


def _raw(answer: Reply, *, whole: bool) -> bytes:
    """An answer as it goes over the wire; half of it promises as much as the whole."""
    lines = (
        f"HTTP/1.1 {answer.status} OK",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + answer.body[: len(answer.body) // (1 if whole else 2)]


def _drop(request: web.BaseRequest, *, reset: bool, after: bytes = b"") -> None:
    """End the connection: at once, or when these bytes are out."""
    if after and request.transport is not None:
        request.transport.write(after)
        request.transport.close()
        return
    connection = _socket(request)
    if connection is None or request.transport is None:
        return
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    request.transport.abort()


def _socket(request: web.BaseRequest) -> socket.socket | None:
    transport = request.transport
    return transport.get_extra_info("socket") if transport is not None else None


def _response(answer: Reply, extra: dict[str, str]) -> web.Response:
    headers = {"Content-Type": answer.content_type, **extra, **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)
