"""What Stripe answers, read into our words: frozen dataclasses with times in UTC. Nobody is asked here.

Facts: objects as API version 2026-10-28.endive has them, for the SDK stripe==16.1.0. `row` is always an object as a dict.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

INCLUDES = "includes"
"""The key of our metadata on metered prices: records a month that cost nothing."""
LONGEST_ID = 255
PLAN = "plan"
"""The key of our metadata on prices: a plan's older prices still give it."""
LATE_PERIOD, LATE_RECORDS = "late_period", "late_records"
"""The keys of our metadata on invoice items that charge late usage: the month's first day, and how many records."""


@dataclass(frozen=True, slots=True)
class Item:
    """What a subscription is for. `plan` is the slug that the price names in its metadata, empty without one; `includes`
    the records a month that cost nothing, None where the metadata does not say."""

    id: str
    price_id: str
    plan: str
    metered: bool
    period_end: datetime
    includes: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A subscription as Stripe has it now. Times are UTC."""

    id: str
    status: str
    created: datetime
    items: tuple[Item, ...]
    cancel_at: datetime | None
    trial_end: datetime | None
    ended_at: datetime | None = None

    @property
    def base(self) -> Item | None:
        return next((item for item in self.items if not item.metered), None)


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    """A checkout. `tenant` is the tenant's id as it was given, `url` where an open one is paid."""

    id: str
    status: str
    payment_status: str
    tenant: str
    url: str
    subscription_id: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """An event. `body` is JSON as it was posted."""

    id: str
    type: str
    customer_id: str
    object_id: str
    api_version: str
    happened_at: datetime
    body: str


@dataclass(frozen=True, slots=True)
class MeteredLine:
    """A line of an invoice that bills usage: so many units from `start` up to `end` (UTC); amount in cents."""

    invoice_id: str
    price_id: str
    quantity: int
    amount: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class LateCharge:
    """What was charged for a month after its invoice was final: so many records, in cents; negative ones were credited."""

    period: date
    records: int
    amount: int


@dataclass(frozen=True, slots=True)
class Rate:
    """What a metered price charges. `tiers`: (up to how many units, None for all that follow; cents for each)."""

    currency: str
    tiers: tuple[tuple[int | None, Decimal], ...]

    def cents(self, quantity: int) -> int:
        """For so many units of one period, as Stripe's graduated tiers do: rounded once, half up."""
        total, below = Decimal(0), 0
        for up_to, each in self.tiers:
            top = quantity if up_to is None else min(quantity, up_to)
            total += max(0, top - below) * each
            below = max(below, top)
        return int(total.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def told_of(event: dict[str, Any], body: str) -> Told:
    """`body`: the event as it was posted; a thin one has no object and names the thing that it is about.

    Raises ValueError or TypeError for what is no event.
    """
    created: datetime | None
    if event.get("object") == "v2.core.event":
        thing, customer = _object(event.get("related_object") or {}), None
        created = datetime.fromisoformat(_text(event.get("created")))
    else:
        thing = _object(_object(event.get("data")).get("object"))
        customer = thing.get("id") if thing.get("object") == "customer" else thing.get("customer")
        created = moment(event["created"]) if isinstance(event.get("created"), int) else None
    if isinstance(customer, dict):
        customer = customer.get("id")
    if created is None or not event.get("id") or not event.get("type"):
        raise ValueError("no event")
    return Told(
        _text(event["id"]), _text(event["type"]), _text(customer), _text(thing.get("id")),
        _text(event.get("api_version")), created, body,
    )  # fmt: skip


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _text(value: Any) -> str:
    """As a column of ids takes it."""
    text = "" if value is None else str(value)
    if len(text) > LONGEST_ID or "\0" in text:
        raise ValueError("no id")
    return text


def session_of(row: dict[str, Any]) -> CheckoutSession:
    return CheckoutSession(
        row["id"], row["status"] or "", row["payment_status"], row.get("client_reference_id") or "",
        row.get("url") or "",
        row.get("subscription") or "", moment(row["created"]),
    )  # fmt: skip


def state_of(row: dict[str, Any]) -> State:
    items = tuple(
        Item(
            item["id"],
            item["price"]["id"],
            (item["price"].get("metadata") or {}).get(PLAN, ""),
            (item["price"].get("recurring") or {}).get("usage_type") == "metered",
            moment(item["current_period_end"]),
            _whole((item["price"].get("metadata") or {}).get(INCLUDES)),
        )
        for item in row["items"]["data"]
    )
    ends = row["cancel_at"]
    if ends is None and row["cancel_at_period_end"] and items:
        ends = int(max(item.period_end for item in items).timestamp())
    return State(
        row["id"], row["status"], moment(row["created"]), items, moment(ends) if ends else None,
        moment(row["trial_end"]) if row["trial_end"] else None,
        moment(row["ended_at"]) if row["ended_at"] else None,
    )  # fmt: skip


def subscription_of_invoice(row: dict[str, Any]) -> str:
    """Empty for an invoice of none."""
    parent = row.get("parent") or {}
    return str((parent.get("subscription_details") or {}).get("subscription") or "")


def _whole(text: Any) -> int | None:
    return int(text) if str(text).isdecimal() else None


def line_of(invoice_id: str, row: dict[str, Any]) -> MeteredLine:
    """`row`: a line of this invoice's."""
    period = row["period"]
    return MeteredLine(
        invoice_id, price_of(row), int(row["quantity"] or 0), row["amount"], moment(period["start"]),
        moment(period["end"]),
    )  # fmt: skip


def price_of(row: dict[str, Any]) -> str:
    """The price of an invoice's line; empty for none."""
    return str(((row.get("pricing") or {}).get("price_details") or {}).get("price") or "")


def late_of(row: dict[str, Any]) -> LateCharge | None:
    """`row`: an invoice item; None for one that is no late usage of ours."""
    about = row.get("metadata") or {}
    if LATE_PERIOD not in about:
        return None
    return LateCharge(date.fromisoformat(about[LATE_PERIOD]), int(about[LATE_RECORDS]), row["amount"])


def rate_of(row: dict[str, Any]) -> Rate:
    """`row`: a price with its tiers expanded, or one without tiers."""
    tiers = row.get("tiers") or [{"up_to": None, "unit_amount_decimal": row["unit_amount_decimal"]}]
    return Rate(
        row["currency"],
        tuple((tier["up_to"], Decimal(str(tier["unit_amount_decimal"] or 0))) for tier in tiers),
    )


def moment(unix: int) -> datetime:
    """Stripe's times are Unix seconds."""
    return datetime.fromtimestamp(unix, UTC)
