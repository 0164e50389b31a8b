"""Routes of meters, events, webhook endpoints and test clocks."""

import secrets
from typing import Any

from integrations.sandbox.stripe import cycle, meters, shapes
from integrations.sandbox.stripe.api import Api, change_fields, route
from integrations.sandbox.stripe.book import Book
from integrations.sandbox.stripe.forms import Refusal, needed, truth, whole
from integrations.sandbox.stripe.shapes import Row


@route("POST", "billing/meters")
def _new_meter(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    name = params.get("event_name")
    if not name:
        raise needed("event_name")
    if any(row["event_name"] == name and row["status"] == "active" for row in api.book.all("billing.meter")):
        raise Refusal(f"A meter with the event name {name} exists.", param="event_name")
    row = shapes.meter(
        api.book.now(), event_name=name, display_name=params.get("display_name", ""),
        default_aggregation=params.get("default_aggregation") or {"formula": "sum"},
    )  # fmt: skip
    for field in ("customer_mapping", "value_settings"):
        row[field] = params.get(field) or row[field]
    return api.book.add(row)


@route("GET", "billing/meters")
def _meters(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.listed(api.book.all("billing.meter"), params, "/v1/billing/meters", ("status",))


@route("GET", "billing/meters/{}")
def _meter(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("billing.meter", ids[0])


@route("POST", "billing/meters/{}/deactivate")
def _stop_meter(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return _set_meter(api, ids[0], "inactive")


@route("POST", "billing/meters/{}/reactivate")
def _start_meter(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return _set_meter(api, ids[0], "active")


def _set_meter(api: Api, wanted: str, status: str) -> Row:
    row = api.book.get("billing.meter", wanted)
    row["status"] = status
    return row


@route("GET", "billing/meters/{}/event_summaries")
def _summaries(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    rows = meters.summaries(api.book, api.book.get("billing.meter", ids[0]), params)
    return api.listed(rows, params, f"/v1/billing/meters/{ids[0]}/event_summaries")


@route("POST", "billing/meter_events")
def _meter_event(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return meters.take(api.book, params)


@route("POST", "billing/meter_event_adjustments")
def _meter_adjustment(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return meters.cancel(api.book, params)


# --- Events and their endpoints
@route("GET", "events")
def _events(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    rows = api.book.events[::-1]
    if "types" in params:
        rows = [row for row in rows if row["type"] in params["types"]]
    if "delivery_success" in params:
        rows = [row for row in rows if (row["pending_webhooks"] == 0) == truth(params["delivery_success"])]
    return api.listed(rows, params, "/v1/events", ("type",))


@route("GET", "events/{}")
def _event(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.event(ids[0])


@route("POST", "webhook_endpoints")
def _new_endpoint(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    for name in ("url", "enabled_events"):
        if not params.get(name):
            raise needed(name)
    return add_endpoint(
        api.book, params["url"], f"whsec_{secrets.token_hex(16)}", enabled_events=params["enabled_events"],
        api_version=params.get("api_version") or shapes.API_VERSION,
    )  # fmt: skip


def add_endpoint(book: Book, url: str, secret: str, **given: Any) -> Row:
    """Send events there, signed with this secret, which the answer alone shows."""
    row = book.add(shapes.endpoint(book.now(), url=url, **given))
    book.hidden(row["id"])["secret"] = secret
    return row | {"secret": secret}


@route("GET", "webhook_endpoints")
def _endpoints(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.listed(api.book.all("webhook_endpoint"), params, "/v1/webhook_endpoints")


@route("GET", "webhook_endpoints/{}")
def _endpoint(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("webhook_endpoint", ids[0])


@route("POST", "webhook_endpoints/{}")
def _change_endpoint(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("webhook_endpoint", ids[0])
    if "disabled" in params:
        row["status"] = "disabled" if truth(params["disabled"]) else "enabled"
    change_fields(api.book, row, params, ("url", "enabled_events", "metadata", "description"))
    return row


@route("DELETE", "webhook_endpoints/{}")
def _drop_endpoint(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    api.book.get("webhook_endpoint", ids[0])
    del api.book.rows["webhook_endpoint"][ids[0]]
    return {"id": ids[0], "object": "webhook_endpoint", "deleted": True}


# --- Test clocks
@route("POST", "test_helpers/test_clocks")
def _new_clock(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    frozen = whole(params, "frozen_time")
    if frozen is None:
        raise needed("frozen_time")
    return api.book.add(shapes.clock(api.book.now(), frozen_time=frozen, name=params.get("name")))


@route("GET", "test_helpers/test_clocks/{}")
def _clock(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("test_helpers.test_clock", ids[0])


@route("POST", "test_helpers/test_clocks/{}/advance")
def _advance(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("test_helpers.test_clock", ids[0])
    until = whole(params, "frozen_time")
    if until is None or until <= row["frozen_time"]:
        raise Refusal("A clock moves forward alone.", param="frozen_time")
    for customer in api.book.all("customer"):
        if customer["test_clock"] == row["id"]:
            cycle.go_on(api.book, customer, until)
    row["frozen_time"] = until
    return row
