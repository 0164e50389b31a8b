"""Sending events to endpoints: signed as Stripe signs, tried again after failures, twice or out of order on demand."""

import hashlib
import hmac
import time
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
import orjson

from integrations.sandbox.stripe.book import Book
from integrations.sandbox.stripe.faults import Faults
from integrations.sandbox.stripe.forms import Refusal
from integrations.sandbox.stripe.shapes import Row

BACKOFF_S = (1, 5, 30, 300, 3_600, 10_800, 36_000)
PATIENCE_S = 10.0
AT_ONCE = 20
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def signature(secret: str, body: bytes, at: int) -> str:
    """The Stripe-Signature header: HMAC-SHA256 over "time.body" with the whole secret as the key."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def rendered(book: Book, delivery: Row) -> tuple[str, bytes, dict[str, str]]:
    """Where a delivery goes, its body and its headers, signed now."""
    endpoint = book.get("webhook_endpoint", delivery["endpoint"])
    body = orjson.dumps(book.event(delivery["event"]))
    header = signature(book.hidden(endpoint["id"])["secret"], body, int(time.time()))
    return (
        endpoint["url"],
        body,
        {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": header},
    )


class Sender:
    """Sends what is due. One at a time per call of `send_due`, which the server calls again and again."""

    def __init__(self, book: Book, faults: Faults) -> None:
        self.book, self.faults = book, faults
        self._session: aiohttp.ClientSession | None = None

    async def send_due(self) -> int:
        """Try the deliveries whose time has come; returns how many were tried."""
        now = time.time()
        due = [delivery for delivery in self.book.queue if delivery["due"] <= now][:AT_ONCE]
        if self.faults.strikes("hooks_reordered"):
            self.faults.chance.shuffle(due)
        for delivery in due:
            await self._deliver(delivery)
        return len(due)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _deliver(self, delivery: Row) -> None:
        if delivery not in self.book.queue:
            return
        times = 2 if self.faults.strikes("hooks_twice") else 1
        if self.faults.strikes("hooks_late"):
            delivery["due"] = time.time() + self.faults.chance.uniform(0.2, 2.0)
            return
        taken = False
        try:
            target, body, headers = rendered(self.book, delivery)
            for _ in range(times):
                taken = await self._post(target, body, headers) or taken
        except Refusal:
            taken = True  # an endpoint that is gone takes its deliveries along
        if delivery not in self.book.queue:
            return
        delivery["tries"] += 1
        if taken or delivery["tries"] > len(BACKOFF_S):
            self.book.queue.remove(delivery)
            if taken:
                with suppress(Refusal):
                    self.book.event(delivery["event"])["pending_webhooks"] -= 1
        else:
            delivery["due"] = time.time() + BACKOFF_S[delivery["tries"] - 1]
        self.book.changed = True

    async def _post(self, target: str, body: bytes, headers: dict[str, str]) -> bool:
        """To this machine alone: the sandbox is nobody's way out."""
        if (urlsplit(target).hostname or "") not in LOOPBACK:
            return False
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
        try:
            async with self._session.post(
                target, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


def resend(book: Book, event: str) -> int:
    """Queue an event again for every endpoint, as "Resend" in the dashboard does; returns to how many."""
    book.event(event)
    endpoints = book.all("webhook_endpoint")
    for endpoint in endpoints:
        book.queue.append({"event": event, "endpoint": endpoint["id"], "due": time.time(), "tries": 0})
    return len(endpoints)
