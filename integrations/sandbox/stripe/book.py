"""What the double holds: objects by id, clocks, events, and what waits to be sent. Kept in a file between starts."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from integrations.sandbox.stripe import shapes
from integrations.sandbox.stripe.forms import missing
from integrations.sandbox.stripe.shapes import Row

DELIVERY_KEPT_S = 3 * shapes.DAY


@dataclass
class Book:
    """`offset` moves the account's own clock forward; customers on a test clock have the clock's time."""

    path: Path | None = None
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    aside: dict[str, Row] = field(default_factory=dict)
    """What Stripe knows of an object and does not show, by its id."""
    offset: int = 0
    events: list[Row] = field(default_factory=list)
    queue: list[Row] = field(default_factory=list)
    """Deliveries under way: {"event", "endpoint", "due" (real time), "tries"}."""
    usage: dict[str, list[Row]] = field(default_factory=dict)
    """Accepted meter events by customer: {"identifier", "event_name", "value", "at", "received"}."""
    seen: dict[str, int] = field(default_factory=dict)
    """Identifier of a meter event -> when it was received."""
    changed: bool = False
    _at: int | None = None
    _cause: Row | None = None

    # --- Time
    def now(self, customer: str | None = None) -> int:
        """The Unix time of a customer's clock; while something due is worked off, the time that it was due."""
        if self._at is not None:
            return self._at
        row = self.rows.get("customer", {}).get(customer or "")
        if row and row["test_clock"]:
            return int(self.get("test_helpers.test_clock", row["test_clock"])["frozen_time"])
        return int(time.time()) + self.offset

    @contextmanager
    def at(self, moment: int) -> Iterator[None]:
        outer, self._at = self._at, moment
        try:
            yield
        finally:
            self._at = outer

    @contextmanager
    def asked_by(self, key: str | None) -> Iterator[None]:
        """Events that follow from a request name it."""
        self._cause = {"id": f"req_{secrets.token_hex(7)}", "idempotency_key": key}
        try:
            yield
        finally:
            self._cause = None

    # --- Objects
    def add(self, row: Row) -> Row:
        self.rows.setdefault(row["object"], {})[row["id"]] = row
        self.changed = True
        return row

    def get(self, kind: str, wanted: Any, param: str = "id") -> Row:
        row = self.rows.get(kind, {}).get(str(wanted))
        if row is None:
            raise missing(kind, wanted, param)
        return row

    def all(self, kind: str) -> list[Row]:
        """Newest first, as lists are."""
        return list(self.rows.get(kind, {}).values())[::-1]

    def hidden(self, name: str) -> Row:
        return self.aside.setdefault(name, {})

    # --- Events
    def tell(self, kind: str, row: Row, before: Row | None = None) -> Row:
        """Note an event with the object as it is now, and queue it for every endpoint that listens."""
        data: Row = {"object": copied(row)}
        if before is not None:
            data["previous_attributes"] = {
                name: value for name, value in before.items() if row.get(name) != value
            }
        customer = row["id"] if row["object"] == "customer" else row.get("customer")
        event = shapes.new(
            "event", self.now(customer), api_version=shapes.API_VERSION, data=data, pending_webhooks=0,
            request=self._cause or {"id": None, "idempotency_key": None}, type=kind,
        )  # fmt: skip
        self.events.append(event)
        for endpoint in self.all("webhook_endpoint"):
            wanted = endpoint["enabled_events"]
            if endpoint["status"] == "enabled" and ("*" in wanted or kind in wanted):
                event["pending_webhooks"] += 1
                self.queue.append(
                    {"event": event["id"], "endpoint": endpoint["id"], "due": time.time(), "tries": 0}
                )
        self.changed = True
        return event

    def event(self, wanted: str) -> Row:
        for event in reversed(self.events):
            if event["id"] == wanted:
                return event
        raise missing("event", wanted)

    # --- Between starts
    def load(self) -> None:
        if self.path is None or not self.path.exists():
            return
        kept = orjson.loads(self.path.read_bytes())
        self.rows, self.aside, self.offset = kept["rows"], kept["aside"], kept["offset"]
        self.events, self.queue = kept["events"], kept["queue"]
        self.usage, self.seen = kept["usage"], kept["seen"]

    def save(self) -> None:
        """Write everything to the file, when there is one and something changed."""
        if self.path is None or not self.changed:
            return
        self.changed = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "rows": self.rows, "aside": self.aside, "offset": self.offset, "events": self.events[-2_000:],
            "queue": self.queue, "usage": self.usage, "seen": self.seen,
        }  # fmt: skip
        beside = self.path.with_suffix(".new")
        beside.write_bytes(orjson.dumps(kept))
        beside.replace(self.path)

    def reset(self) -> None:
        self.rows.clear()
        self.aside.clear()
        self.events.clear()
        self.queue.clear()
        self.usage.clear()
        self.seen.clear()
        self.offset, self.changed = 0, True


def copied(row: Row) -> Row:
    """A copy that later changes do not reach."""
    result: Row = orjson.loads(orjson.dumps(row))
    return result
