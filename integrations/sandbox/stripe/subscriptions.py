"""Routes of subscriptions and invoices."""

from integrations.sandbox.stripe import cycle, invoices, shapes
from integrations.sandbox.stripe.api import Api, route
from integrations.sandbox.stripe.book import Book
from integrations.sandbox.stripe.forms import Refusal, needed, truth, whole
from integrations.sandbox.stripe.shapes import Row


@route("POST", "subscriptions")
def _new_subscription(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    book = api.book
    customer = book.get("customer", params.get("customer"), "customer")
    prices = [
        (book.get("price", item.get("price"), "items[price]"), whole(item, "quantity", 1))
        for item in params.get("items") or []
    ]
    if not prices:
        raise needed("items")
    return cycle.begin(
        book, customer=customer, prices=[_with_quantity(p, q) for p, q in prices],
        metadata=params.get("metadata") or {}, trial_end=_trial_end(book, params, customer["id"]),
        anchor=whole(params, "billing_cycle_anchor"),
    )  # fmt: skip


def _with_quantity(price: Row, quantity: int | None) -> tuple[Row, int | None]:
    return price, None if price["recurring"]["usage_type"] == "metered" else quantity


def _trial_end(book: Book, params: Row, customer: str) -> int | None:
    days = whole(params, "trial_period_days")
    return book.now(customer) + days * shapes.DAY if days else whole(params, "trial_end")


@route("GET", "subscriptions")
def _subscriptions(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    rows = api.book.all("subscription")
    status = params.pop("status", None)
    if status == "ended":
        rows = [row for row in rows if row["status"] in cycle.ENDED]
    elif status is None:
        rows = [row for row in rows if row["status"] != "canceled"]
    elif status != "all":
        rows = [row for row in rows if row["status"] == status]
    return api.listed(rows, params, "/v1/subscriptions", ("customer",))


@route("GET", "subscriptions/{}")
def _subscription(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("subscription", ids[0])


@route("POST", "subscriptions/{}")
def _change_subscription(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("subscription", ids[0])
    if row["status"] in cycle.ENDED:
        raise Refusal("A cancelled subscription can only update its metadata.", param="status")
    if params.get("items"):
        cycle.reprice(
            api.book, row, params["items"], params.get("proration_behavior", "create_prorations"),
            whole_or_nothing=params.get("payment_behavior") == "error_if_incomplete",
        )  # fmt: skip
    changes: Row = {}
    if "cancel_at_period_end" in params:
        asked = truth(params["cancel_at_period_end"])
        ends = max(item["current_period_end"] for item in row["items"]["data"])
        now = api.book.now(row["customer"])
        changes |= {
            "cancel_at_period_end": asked, "cancel_at": ends if asked else None,
            "canceled_at": now if asked else None,
        }  # fmt: skip
    if "cancel_at" in params:
        changes["cancel_at"] = whole(params, "cancel_at")
    if params.get("trial_end") == "now" and row["status"] == "trialing":
        for item in row["items"]["data"]:
            item["current_period_end"] = api.book.now(row["customer"])
    if "pause_collection" in params:
        changes["pause_collection"] = params["pause_collection"] or None
    if "metadata" in params:
        changes["metadata"] = {**row["metadata"], **(params["metadata"] or {})}
    if changes:
        cycle.change(api.book, row, **changes)
    return row


@route("DELETE", "subscriptions/{}")
def _cancel_subscription(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("subscription", ids[0])
    cycle.end(api.book, row, bill=truth(params.get("invoice_now", "true")))
    return row


@route("POST", "subscriptions/{}/pause")
def _pause(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("subscription", ids[0])
    if row["status"] not in ("active", "past_due", "trialing"):
        raise Refusal(f"A subscription that is {row['status']} cannot be paused.")
    before = {"status": row["status"], "status_details": row["status_details"]}
    row |= {
        "status": "paused", "status_details": {"paused": {"subscription": {"type": "pause_requested"}}},
    }  # fmt: skip
    api.book.tell("customer.subscription.updated", row, before)
    api.book.tell("customer.subscription.paused", row)
    return row


@route("POST", "subscriptions/{}/resume")
def _resume(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("subscription", ids[0])
    if row["status"] != "paused":
        raise Refusal("Only a paused subscription can be resumed.")
    now = api.book.now(row["customer"])
    for item in row["items"]["data"]:
        item |= {
            "current_period_start": now, "current_period_end": cycle.later(now, item["price"]["recurring"], now),
        }  # fmt: skip
    row |= {"billing_cycle_anchor": now}
    cycle.change(api.book, row, status="active", status_details=None)
    api.book.tell("customer.subscription.resumed", row)
    return row


LINES_SHOWN = 10


def _shown(book: Book, row: Row) -> Row:
    """An invoice as Stripe answers it: with the first of its lines alone (all of them have a route of their own), those of
    usage in a draft too."""
    lines = _lines_of(book, row)
    shown = {"data": lines[:LINES_SHOWN], "has_more": len(lines) > LINES_SHOWN}
    return row | {"lines": row["lines"] | shown}


def _lines_of(book: Book, row: Row) -> list[Row]:
    lines: list[Row] = row["lines"]["data"]
    return lines + invoices.coming_usage(book, row, invoices.subscription_of(book, row))


@route("GET", "invoices")
def _invoices(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    rows = api.book.all("invoice")
    wanted = params.pop("subscription", None)
    if wanted:
        rows = invoices.invoices_of(api.book, api.book.get("subscription", wanted))
    found = api.listed(rows, params, "/v1/invoices", ("customer", "status"))
    return found | {"data": [_shown(api.book, row) for row in found["data"]]}


@route("GET", "invoices/{}")
def _invoice(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return _shown(api.book, api.book.get("invoice", ids[0]))


@route("GET", "invoices/{}/lines")
def _lines(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    lines = _lines_of(api.book, api.book.get("invoice", ids[0]))
    return api.listed(lines, params, f"/v1/invoices/{ids[0]}/lines")


@route("POST", "invoices/{}/pay")
def pay(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    invoice = api.book.get("invoice", ids[0])
    if invoice["status"] != "open":
        raise Refusal(f"Invoice is {invoice['status']}.")
    if not invoices.attempt(api.book, invoice):
        raise Refusal(
            "Your card was declined.", status=402, kind="card_error", code="card_declined", kept=True
        )
    cycle.paid(api.book, invoice)
    return invoice


@route("GET", "charges/{}")
def _charge(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("charge", ids[0])


# --- Invoice items
@route("POST", "invoiceitems")
def _new_invoice_item(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    """A charge that waits for the subscription's next invoice."""
    book = api.book
    for name in ("customer", "subscription", "amount", "currency"):
        if not params.get(name):
            raise needed(name)
    customer = book.get("customer", params["customer"], "customer")
    subscription = book.get("subscription", params["subscription"], "subscription")
    if subscription["status"] in cycle.ENDED:
        raise Refusal("This subscription is cancelled: no invoice follows.", param="subscription")
    amount = whole(params, "amount")
    assert amount is not None
    item = book.add(
        shapes.invoice_item(
            book.now(customer["id"]), customer=customer["id"], amount=amount, currency=params["currency"],
            subscription=subscription["id"], description=params.get("description"),
            metadata=dict(params.get("metadata") or {}),
        )
    )  # fmt: skip
    book.hidden(subscription["id"]).setdefault("prorations", []).append(shapes.line_of_item(item))
    return item


@route("GET", "invoiceitems")
def _invoice_items(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.listed(api.book.all("invoiceitem"), params, "/v1/invoiceitems", ("customer", "invoice"))
