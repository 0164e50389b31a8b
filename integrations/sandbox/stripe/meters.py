"""Billing meters: events with identifiers that count once, the times that they may have, and sums to read back."""

import secrets
from typing import Any

from integrations.sandbox.stripe.book import Book
from integrations.sandbox.stripe.forms import Refusal, needed, whole
from integrations.sandbox.stripe.shapes import DAY, Row

REMEMBERED_S = DAY
"""How long an identifier is remembered ("at least 24 hours")."""
PAST_S, FUTURE_S = 35 * DAY, 300
WINDOWS = {"hour": 3_600, "day": DAY}


def take(book: Book, params: Row) -> Row:
    """POST /v1/billing/meter_events. Raises Refusal for a repeated identifier, a time outside the window, a bad value."""
    payload = params.get("payload") or {}
    meter = _meter_of(book, params.get("event_name"))
    customer = str(payload.get(meter["customer_mapping"]["event_payload_key"]) or "")
    if not customer:
        raise needed("payload[stripe_customer_id]")
    now = book.now(customer)
    identifier = str(params.get("identifier") or secrets.token_hex(12))
    received = book.seen.get(identifier)
    if received is not None and now - received < REMEMBERED_S:
        raise Refusal(
            f"An event already exists with identifier {identifier}.", code="duplicate_meter_event",
            param="identifier",
        )  # fmt: skip
    at = whole(params, "timestamp", now)
    assert at is not None
    if at < now - PAST_S:
        raise Refusal(
            "The timestamp is too far in the past.", code="timestamp_too_far_in_past", param="timestamp"
        )
    if at > now + FUTURE_S:
        raise Refusal("The timestamp is in the future.", code="timestamp_in_future", param="timestamp")
    try:
        value = int(str(payload.get(meter["value_settings"]["event_payload_key"])))
    except (TypeError, ValueError):
        raise Refusal(
            "The value must be a whole number.", code="meter_event_invalid_value", param="payload"
        ) from None
    book.seen[identifier] = now
    entry = {
        "identifier": identifier, "event_name": meter["event_name"], "value": value, "at": at, "received": now,
    }  # fmt: skip
    book.usage.setdefault(customer, []).append(entry)
    book.changed = True
    return {
        "object": "billing.meter_event", "created": now, "event_name": meter["event_name"],
        "identifier": identifier, "livemode": False, "payload": dict(payload), "timestamp": at,
    }  # fmt: skip


def cancel(book: Book, params: Row) -> Row:
    """POST /v1/billing/meter_event_adjustments: take an event back, within a day of its receipt."""
    wanted = (params.get("cancel") or {}).get("identifier")
    for customer, entries in book.usage.items():
        for entry in entries:
            if entry["identifier"] == wanted and entry["event_name"] == params.get("event_name"):
                now = book.now(customer)
                if now - entry["received"] >= REMEMBERED_S:
                    raise Refusal("The meter event can no longer be cancelled.", param="cancel[identifier]")
                if "cancelled" in entry:
                    raise Refusal("The meter event is cancelled already.", param="cancel[identifier]")
                entry |= {"was": entry["value"], "value": 0, "cancelled": now}
                book.changed = True
                return {
                    "object": "billing.meter_event_adjustment", "cancel": {"identifier": wanted},
                    "event_name": entry["event_name"], "livemode": False, "status": "pending",
                    "type": "cancel",
                }  # fmt: skip
    raise Refusal(f"No meter event with identifier {wanted}.", param="cancel[identifier]")


def summaries(book: Book, meter: Row, params: Row) -> list[Row]:
    """GET /v1/billing/meters/{id}/event_summaries. An event shows up once it is older than the account's lag."""
    customer = str(params.get("customer") or "")
    start, end = whole(params, "start_time"), whole(params, "end_time")
    if not customer or start is None or end is None:
        raise needed("customer, start_time and end_time")
    step = WINDOWS.get(str(params.get("value_grouping_window") or ""), max(end - start, 1))
    least = step if step in WINDOWS.values() and "value_grouping_window" in params else 60
    if start % least or end % least or end <= start:
        raise Refusal("start_time and end_time must be aligned with the window.", param="start_time")
    lag = int(book.hidden("account").get("meter_lag", 0))
    ready = book.now(customer) - lag
    rows = []
    for begin in range(start, end, step):
        value = total(book, customer, meter["event_name"], begin, min(begin + step, end), received_by=ready)
        rows.append(
            {
                "id": f"mtrusg_{begin}",
                "object": "billing.meter_event_summary",
                "aggregated_value": float(value),
                "end_time": min(begin + step, end),
                "livemode": False,
                "meter": meter["id"],
                "start_time": begin,
            }
        )
    return rows[::-1]


def total(
    book: Book, customer: str, event_name: str, start: int, end: int, *, received_by: int | None = None
) -> int:
    """What a customer's events of a meter come to, from `start` up to and without `end`; `received_by`: as it was known
    then, with what was cancelled since."""
    return sum(
        entry["was"]
        if received_by is not None and entry.get("cancelled", 0) > received_by
        else entry["value"]
        for entry in book.usage.get(customer, ())
        if entry["event_name"] == event_name
        and start <= entry["at"] < end
        and (received_by is None or entry["received"] <= received_by)
    )


def _meter_of(book: Book, event_name: Any) -> Row:
    for meter in book.all("billing.meter"):
        if meter["event_name"] == event_name:
            if meter["status"] != "active":
                raise Refusal("The meter is archived.", code="archived_meter", param="event_name")
            return meter
    raise Refusal(f"No meter has the event name '{event_name}'.", code="no_meter", param="event_name")
