"""The double behind HTTP: one request after another, with faults, idempotency keys, hosted pages and its own control."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from integrations.sandbox.stripe import cycle, hooks, machinery, pages, sales, shapes, subscriptions
from integrations.sandbox.stripe.api import Api
from integrations.sandbox.stripe.book import Book
from integrations.sandbox.stripe.faults import Answers, Faults
from integrations.sandbox.stripe.forms import Refusal, parse
from integrations.sandbox.stripe.shapes import Row

ROUTES_OF = (machinery, sales, subscriptions)
"""Imported for the routes that they add."""
LONGEST_KEY = 255
HANG_CHECK_S = 0.02
Control = Callable[[Row], Any]


class Stripe:
    """Everything under /stripe/. `path`: the file that keeps it all between starts."""

    def __init__(self, path: Path | None = None) -> None:
        self.book = Book(path)
        self.book.load()
        self.faults, self.answers = Faults(), Answers()
        self.api = Api(self.book)
        self.sender = hooks.Sender(self.book, self.faults)
        self.hold_hooks = False
        """Deliveries wait to be fetched by control instead of being sent."""

    async def handle(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """`path` is without the leading /stripe."""
        self.api.url = f"{request.scheme}://{request.host}/stripe"
        self.book.hidden("account")["url"] = self.api.url
        body = (await request.read()).decode("utf-8", "replace") if request.body_exists else ""
        self.tick()
        if path.startswith("/v1/"):
            return await self._call(request, path, body)
        return pages.answer(self.api, request.method, path, parse(body or request.query_string))

    async def beat(self) -> None:
        """What goes on by itself: time, deliveries, the file."""
        self.tick()
        if not self.hold_hooks:
            await self.sender.send_due()
        self.book.save()

    def tick(self) -> None:
        """Work off what is due by now for everybody who is not on a test clock."""
        for customer in self.book.rows.get("customer", {}).values():
            if not customer["test_clock"]:
                cycle.go_on(self.book, customer, self.book.now())

    async def _call(self, request: web.BaseRequest, path: str, body: str) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
        name = f"req_{secrets.token_hex(7)}"
        try:
            self._let_in(request, key)
            params = parse(body or request.query_string)
            if key and (saved := self.answers.find(key, path, params, self.book.now())):
                return _json(*saved, name, replayed=True)
            fault = self.faults.of_call(path)
            if fault in ("error_before", "rate_limit"):
                return _failure(fault, name)
            if fault == "lost_before":
                return _hang_up(request)
            arrived = self.book.now()
            if fault in ("hang_before", "hang_late"):
                await _until_gone(request)
            if fault == "hang_before" or (key and self.answers.find(key, path, params, arrived)):
                return _hang_up(request)
            with self.book.at(arrived) if fault == "hang_late" else nullcontext():
                status, answer = self._done(request.method, path, params, key)
        except Refusal as refusal:
            return _json(refusal.status, orjson.dumps(refusal.body), name)
        if fault == "error_after":
            status, answer = 500, orjson.dumps(_failed())
        if key:
            self.answers.keep(key, path, parse(body or request.query_string), self.book.now(), status, answer)
        if fault in ("lost_after", "hang_late"):
            return _hang_up(request)
        if fault == "hang_after":
            await _until_gone(request)
            return _hang_up(request)
        return _json(status, answer, name)

    def _done(self, method: str, path: str, params: Row, key: str) -> tuple[int, bytes]:
        """Carry it out. Raises Refusal for what was refused before any work, which no key keeps."""
        with self.book.asked_by(key or None):
            try:
                answer = orjson.dumps(self.api.answer(method, path, params))
            except Refusal as refusal:
                if not refusal.kept:
                    raise
                return refusal.status, orjson.dumps(refusal.body)
        if method != "GET":
            self.book.changed = True
        return 200, answer

    def _let_in(self, request: web.BaseRequest, key: str) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not given.startswith(("sk_", "rk_")):
            raise Refusal("You did not provide an API key.", status=401)
        if len(key) > LONGEST_KEY:
            raise Refusal("An idempotency key has at most 255 characters.", kind="idempotency_error")

    # --- Control, under /_sandbox/stripe/
    def control(self, method: str, path: str, body: Row) -> Any:
        """One request of the control API. Raises KeyError for one that is none, ValueError for what cannot be done."""
        controls: dict[tuple[str, str], Control] = {
            ("GET", "state"): self._state,
            ("GET", "deliveries"): self._deliveries,
            ("POST", "advance"): self._advance,
            ("POST", "card"): self._card,
            ("POST", "dispute"): self._dispute,
            ("POST", "endpoint"): self._endpoint,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): lambda body: self.faults.clear(),
            ("POST", "forget_keys"): lambda body: self.answers.forget(),
            ("POST", "hold_hooks"): self._hold,
            ("POST", "resend"): lambda body: hooks.resend(self.book, body["event"]),
            ("POST", "account"): lambda body: self.book.hidden("account").update(body),
            ("POST", "reset"): lambda body: self.reset(),
        }
        return controls[method, path](body)

    def reset(self) -> None:
        self.book.reset()
        self.faults.clear()
        self.answers.forget()
        self.hold_hooks = False

    def _state(self, body: Row) -> Any:
        return {
            "rows": self.book.rows, "usage": self.book.usage, "events": len(self.book.events),
            "queue": len(self.book.queue), "now": self.book.now(), "struck": dict(self.faults.struck),
        }  # fmt: skip

    def _deliveries(self, body: Row) -> Any:
        """Take what waits to be sent, signed; the caller sends it, or not."""
        taken = []
        for delivery in self.book.queue:
            target, content, headers = hooks.rendered(self.book, delivery)
            taken.append(
                {"url": target, "body": content.decode(), "headers": headers, "event": delivery["event"]}
            )
        self.book.queue.clear()
        return taken

    def _advance(self, body: Row) -> Any:
        """Move the account's clock forward by so many seconds."""
        self.book.offset += int(body["seconds"])
        self.book.changed = True
        self.tick()
        return {"now": self.book.now()}

    def _card(self, body: Row) -> Any:
        return sales.enter_card(self.book, self.book.get("customer", body["customer"]), str(body["last4"]))

    def _dispute(self, body: Row) -> Any:
        """The customer's bank takes the last payment back."""
        customer = self.book.get("customer", body["customer"])
        charge = next(row for row in self.book.all("charge") if row["customer"] == customer["id"])
        charge["disputed"] = True
        row = self.book.add(shapes.dispute(self.book.now(customer["id"]), charge=charge))
        self.book.tell("charge.dispute.created", row)
        return row

    def _endpoint(self, body: Row) -> Any:
        """Listen with a secret that is known beforehand; one that is there with the same address is changed."""
        for row in self.book.all("webhook_endpoint"):
            if row["url"] == body["url"]:
                self.book.hidden(row["id"])["secret"] = body["secret"]
                self.book.changed = True
                return row
        return sales_endpoint(self.book, body)

    def _add_fault(self, body: Row) -> None:
        self.faults.add(
            body["kind"],
            rate=float(body.get("rate", 1.0)),
            count=body.get("count"),
            path=body.get("path", ""),
        )

    def _hold(self, body: Row) -> None:
        self.hold_hooks = bool(body.get("hold", True))


def sales_endpoint(book: Book, body: Row) -> Row:
    return machinery.add_endpoint(
        book, body["url"], body["secret"], enabled_events=body.get("enabled_events", ["*"])
    )


def _failed() -> Row:
    return {"error": {"type": "api_error", "message": "Something went wrong on Stripe's end (sandbox)."}}


def _failure(fault: str, name: str) -> web.Response:
    if fault == "rate_limit":
        body = {
            "error": {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests."}
        }
        return _json(429, orjson.dumps(body), name)
    return _json(500, orjson.dumps(_failed()), name)


def _json(status: int, body: bytes, name: str, *, replayed: bool = False) -> web.Response:
    headers = {"Request-Id": name, "Stripe-Version": shapes.API_VERSION}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _hang_up(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _until_gone(request: web.BaseRequest) -> None:
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(HANG_CHECK_S)
