"""The life of a subscription: begun, renewed, overdue, recovered, changed, paused, cancelled, as time goes on."""

import calendar
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from integrations.sandbox.stripe import invoices, shapes
from integrations.sandbox.stripe.book import Book, copied
from integrations.sandbox.stripe.forms import Refusal
from integrations.sandbox.stripe.shapes import DAY, Row

ENDED = ("canceled", "incomplete_expired")
INCOMPLETE_S = 23 * 3_600
NOTICE_S = 3 * DAY
MOST_STEPS = 10_000


def begin(
    book: Book, *, customer: Row, prices: list[tuple[Row, int | None]], metadata: Row, trial_end: int | None = None,
    anchor: int | None = None,
) -> Row:  # fmt: skip
    """Make a subscription and charge its first invoice; `anchor`: when the first whole period begins."""
    now = book.now(customer["id"])
    currency = prices[0][0]["currency"]
    row = book.add(
        shapes.subscription(
            now, customer=customer["id"], currency=currency, metadata=dict(metadata),
            test_clock=customer["test_clock"],
        )
    )  # fmt: skip
    first = trial_end or anchor
    interval = prices[0][0]["recurring"]
    late = anchor is not None and anchor <= now and not trial_end
    if anchor is not None and late:  # paid after the month's turn: the period is a whole one
        first = later(anchor, interval, anchor)
    end = first or later(now, interval, now)
    row["items"] = shapes.listed(
        [
            shapes.item(now, price=copied(p), subscription=row["id"], start=now, end=end, quantity=q)
            for p, q in prices
        ],
        f"/v1/subscription_items?subscription={row['id']}",
    )
    row["billing_cycle_anchor"] = first or now
    if customer["currency"] is None:
        customer["currency"] = currency
    row["default_payment_method"] = customer["invoice_settings"]["default_payment_method"]
    if trial_end:
        row |= {"trial_start": now, "trial_end": trial_end}
    invoice = invoices.start(book, row, "subscription_create", first=now, last=now)
    if not trial_end:
        whole = later(now, interval, now) - now
        share = Decimal(end - now) / Decimal(whole) if anchor and not late else Decimal(1)
        invoices.charge_ahead(invoice, row, share=min(Decimal(1), share))
    row["latest_invoice"] = invoice["id"]
    book.tell("customer.subscription.created", row)
    book.tell("invoice.created", invoice)
    invoices.finalise(book, invoice)
    if invoices.attempt(book, invoice):
        change(book, row, status="trialing" if trial_end else "active")
    else:
        invoice["next_payment_attempt"] = None  # the first one is the customer's to pay
    return row


def change(book: Book, row: Row, **fields: Any) -> None:
    """Set fields and tell of it, when any is another than before."""
    before = {name: invoices.told_by(row[name]) for name in fields}
    if all(before[name] == value for name, value in fields.items()):
        return
    row |= fields
    book.tell("customer.subscription.updated", row, before)


def end(book: Book, row: Row, *, reason: str = "cancellation_requested", bill: bool = True) -> None:
    """Cancel for good: what was used is billed, what is unpaid is left as it is."""
    if row["status"] in ENDED:
        raise Refusal("This subscription is cancelled.", code="resource_missing", status=404)
    now = book.now(row["customer"])
    usage = any(invoices.is_metered(item) for item in row["items"]["data"])
    if bill and usage and row["status"] in ("active", "past_due"):
        first = min(item["current_period_start"] for item in row["items"]["data"])
        final = invoices.start(book, row, "subscription_cycle", first=first, last=now)
        invoices.await_usage(book, final, row, first=first, last=now)
        final["automatically_finalizes_at"] = now + invoices.DRAFT_S
        book.tell("invoice.created", final)
    row |= {
        "status": "canceled",
        "ended_at": now,
        "canceled_at": row["canceled_at"] or now,
        "cancel_at": None,
    }
    row["cancellation_details"]["reason"] = reason
    for invoice in invoices.invoices_of(book, row):
        if invoice["status"] == "open":
            invoice |= {"next_payment_attempt": None, "auto_advance": False}
    book.tell("customer.subscription.deleted", row)


def reprice(
    book: Book, row: Row, changes: list[Row], behaviour: str, *, whole_or_nothing: bool = False
) -> None:
    """Give items other prices, add and remove some; what is paid in advance is prorated by `proration_behavior`.

    `whole_or_nothing`: raises Refusal where it is charged at once and the card pays nothing; nothing is changed then.
    """
    now = book.now(row["customer"])
    before = {"items": copied(row["items"])}
    todo = [(_item_of(row, wanted), wanted) for wanted in changes]
    # Billing mode flexible: a metered price that is taken away bills what was used so far.
    lines = [
        invoices.usage_line(
            book, row, item, first=invoices.since(book, item, item["current_period_start"]), last=now
        )
        for item, _ in todo
        if item is not None and invoices.is_metered(item) and behaviour != "none"
    ]
    lines += [
        line
        for item, wanted in todo
        if item is not None and not _goes(wanted) and not invoices.is_metered(item)
        and behaviour != "none" and row["status"] != "trialing"
        for line in invoices.proration(
            book, row, item, old=item["price"], new=_price_of(book, wanted), quantity=item.get("quantity", 1), now=now
        )
    ]  # fmt: skip
    if whole_or_nothing and lines and behaviour == "always_invoice":
        _require_paid(book, row, lines)
    for item, wanted in todo:
        if item is not None and _goes(wanted):
            row["items"]["data"].remove(item)
            continue
        price = _price_of(book, wanted)
        if item is not None:
            item |= {"price": price, "plan": shapes.plan_of(price)}
            book.hidden(item["id"])["since"] = now
            continue
        start, stop = _period(row)
        metered = (price["recurring"] or {}).get("usage_type") == "metered"
        quantity = None if metered else int(wanted.get("quantity", 1))
        item = shapes.item(now, price=price, subscription=row["id"], start=start, end=stop, quantity=quantity)
        book.hidden(item["id"])["since"] = now
        row["items"]["data"].append(item)
    if lines:
        book.hidden(row["id"]).setdefault("prorations", []).extend(lines)
    book.tell("customer.subscription.updated", row, before)
    if lines and behaviour == "always_invoice":
        _invoice_now(book, row, now)


def _item_of(row: Row, wanted: Row) -> Row | None:
    item = next((i for i in row["items"]["data"] if i["id"] == wanted.get("id")), None)
    if wanted.get("id") and item is None:
        raise Refusal(f"Invalid subscription item id: {wanted['id']}", param="items")
    return item


def _goes(wanted: Row) -> bool:
    return str(wanted.get("deleted")).lower() == "true"


def _price_of(book: Book, wanted: Row) -> Row:
    return copied(book.get("price", wanted["price"], "items[price]"))


def _require_paid(book: Book, row: Row, lines: list[Row]) -> None:
    customer = book.get("customer", row["customer"])
    due = sum(line["amount"] for line in [*lines, *book.hidden(row["id"]).get("prorations", [])])
    if due + customer["balance"] > 0 and invoices.card_of(book, customer) in (None, *invoices.DECLINED):
        raise Refusal(
            "Your card was declined.", status=402, kind="card_error", code="card_declined", kept=True
        )


def _invoice_now(book: Book, row: Row, now: int) -> None:
    invoice = invoices.start(book, row, "subscription_update", first=now, last=now)
    book.tell("invoice.created", invoice)
    invoices.finalise(book, invoice)
    if not invoices.attempt(book, invoice):
        change(book, row, status="past_due")


def paid(book: Book, invoice: Row) -> None:
    """What a subscription makes of an invoice that was paid at last."""
    row = invoices.subscription_of(book, invoice)
    still_open = [i for i in invoices.invoices_of(book, row) if i["status"] == "open" and i["amount_due"] > 0]
    if row["status"] in ("past_due", "unpaid", "incomplete") and not still_open:
        change(book, row, status="active")


def collect(book: Book, customer: Row) -> None:
    """A new card was entered: try what is open with it, as the portal does."""
    for invoice in book.all("invoice")[::-1]:
        if (
            invoice["customer"] == customer["id"]
            and invoice["status"] == "open"
            and invoices.attempt(book, invoice)
        ):
            paid(book, invoice)


# --- Time
def go_on(book: Book, customer: Row, until: int) -> None:
    """Work off everything of a customer's that is due by `until`, each thing at the time that it was due."""
    for _ in range(MOST_STEPS):
        due = _next(book, customer)
        if due is None or due[0] > until:
            return
        moment, act, row = due
        with book.at(moment):
            act(book, row)
            book.changed = True


def _next(book: Book, customer: Row) -> tuple[int, Any, Row] | None:
    found: list[tuple[int, int, Any, Row]] = []
    for row in book.rows.get("subscription", {}).values():
        if row["customer"] != customer["id"] or row["status"] in ENDED:
            continue
        _, stop = _period(row)
        if row["status"] == "incomplete":
            found.append((row["created"] + INCOMPLETE_S, 0, _give_up_start, row))
            continue
        if row["status"] == "paused":
            continue
        if row["status"] == "trialing" and not book.hidden(row["id"]).get("noticed"):
            found.append((max(row["created"], row["trial_end"] - NOTICE_S), 0, _notice, row))
        if row["cancel_at"] is not None and row["cancel_at"] <= stop:
            found.append((row["cancel_at"], 1, _end_as_asked, row))
        found.append((stop, 2, _roll, row))
    found += _due_invoices(book, customer)
    found += [
        (row["expires_at"], 5, expire, row)
        for row in book.rows.get("checkout.session", {}).values()
        if row["customer"] == customer["id"] and row["status"] == "open"
    ]
    if not found:
        return None
    moment, _, act, row = min(found, key=lambda entry: entry[:2])
    return moment, act, row


def _due_invoices(book: Book, customer: Row) -> list[tuple[int, int, Any, Row]]:
    found: list[tuple[int, int, Any, Row]] = []
    for invoice in book.rows.get("invoice", {}).values():
        if invoice["customer"] != customer["id"]:
            continue
        if invoice["status"] == "draft" and invoice["automatically_finalizes_at"]:
            found.append((invoice["automatically_finalizes_at"], 3, _finalise_draft, invoice))
        elif invoice["status"] == "open" and invoice["next_payment_attempt"]:
            found.append((invoice["next_payment_attempt"], 4, _try_again, invoice))
    return found


def expire(book: Book, session: Row) -> None:
    """A page that can be paid no more."""
    session |= {"status": "expired", "url": None}
    book.tell("checkout.session.expired", session)


def _period(row: Row) -> tuple[int, int]:
    items = row["items"]["data"]
    return max(i["current_period_start"] for i in items), max(i["current_period_end"] for i in items)


def _notice(book: Book, row: Row) -> None:
    book.hidden(row["id"])["noticed"] = True
    book.tell("customer.subscription.trial_will_end", row)


def _give_up_start(book: Book, row: Row) -> None:
    row["status"] = "incomplete_expired"
    row["ended_at"] = book.now()
    for invoice in invoices.invoices_of(book, row):
        if invoice["status"] == "open":
            invoices.void(book, invoice)
    book.tell("customer.subscription.updated", row, {"status": "incomplete"})


def _end_as_asked(book: Book, row: Row) -> None:
    end(book, row)


def _roll(book: Book, row: Row) -> None:
    """The period is over: a draft for the coming one, with what the meters counted in the last."""
    if row["cancel_at_period_end"]:
        end(book, row)
        return
    start, stop = _period(row)
    item = row["items"]["data"][0]
    following = later(stop, item["price"]["recurring"], row["billing_cycle_anchor"])
    was_trial = row["status"] == "trialing"
    before = {"items": copied(row["items"]), "status": row["status"], "latest_invoice": row["latest_invoice"]}
    for each in row["items"]["data"]:
        each |= {"current_period_start": stop, "current_period_end": following}
    if was_trial:
        row["status"] = "active"
    invoice = invoices.start(book, row, "subscription_cycle", first=start, last=stop)
    invoices.charge_ahead(invoice, row)
    if not was_trial:
        invoices.await_usage(book, invoice, row, first=start, last=stop)
    invoice["automatically_finalizes_at"] = stop + invoices.DRAFT_S
    row["latest_invoice"] = invoice["id"]
    book.tell("invoice.created", invoice)
    book.tell("customer.subscription.updated", row, before)


def _finalise_draft(book: Book, invoice: Row) -> None:
    invoices.finalise(book, invoice)
    row = invoices.subscription_of(book, invoice)
    if not invoices.attempt(book, invoice) and row["status"] not in ENDED:
        change(book, row, status="past_due")


def _try_again(book: Book, invoice: Row) -> None:
    row = invoices.subscription_of(book, invoice)
    if invoices.attempt(book, invoice):
        paid(book, invoice)
    elif invoice["next_payment_attempt"] is None:
        # Out of tries: what happens then is a setting of the account.
        after = book.hidden("account").get("after_retries", "canceled")
        if after == "canceled":
            end(book, row, reason="payment_failed", bill=False)
        elif after == "unpaid":
            change(book, row, status="unpaid")


def later(moment: int, recurring: Row | None, anchor: int) -> int:
    """The end of the period that begins at `moment`, on the anchor's day of the month where the month has it."""
    every = recurring or {"interval": "month", "interval_count": 1}
    count = int(every.get("interval_count") or 1)
    if every["interval"] in ("day", "week"):
        return moment + count * DAY * (7 if every["interval"] == "week" else 1)
    at, day = datetime.fromtimestamp(moment, UTC), datetime.fromtimestamp(anchor, UTC).day
    months = at.year * 12 + at.month - 1 + count * (12 if every["interval"] == "year" else 1)
    year, month = divmod(months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return int(at.replace(year=year, month=month + 1, day=min(day, last)).timestamp())
