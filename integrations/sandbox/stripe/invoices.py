"""Invoices: lines in advance, lines by the meter, prorations; finalised, paid, failed, tried again."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from integrations.sandbox.stripe import meters, shapes
from integrations.sandbox.stripe.book import Book, copied
from integrations.sandbox.stripe.shapes import DAY, Row

DRAFT_S = 3_600
"""How long a renewal stays a draft, in which late usage still counts."""
RETRIES = (3 * DAY, 5 * DAY, 7 * DAY)
DECLINED = ("0341", "0002")
"""Last four digits of cards whose charges fail; 0002 is refused when it is entered, too."""


def is_metered(item: Row) -> bool:
    return (item["price"]["recurring"] or {}).get("usage_type") == "metered"


def base_item(subscription: Row) -> Row | None:
    return next((item for item in subscription["items"]["data"] if not is_metered(item)), None)


def start(book: Book, subscription: Row, reason: str, *, first: int, last: int) -> Row:
    """A draft for a subscription, with the prorations that wait for an invoice."""
    customer = book.get("customer", subscription["customer"])
    invoice = book.add(
        shapes.invoice(
            book.now(customer["id"]), customer=customer, subscription=subscription, reason=reason, start=first,
            end=last,
        )
    )  # fmt: skip
    waiting = book.hidden(subscription["id"]).pop("prorations", [])
    for line in waiting:
        line["invoice"] = invoice["id"]
        if item := line["parent"]["invoice_item_details"]:
            book.get("invoiceitem", item["invoice_item"])["invoice"] = invoice["id"]
        invoice["lines"]["data"].append(line)
    return invoice


def charge_ahead(invoice: Row, subscription: Row, *, share: Decimal = Decimal(1)) -> None:
    """Add the coming period of what is paid in advance, or a share of it."""
    for item in subscription["items"]["data"]:
        if is_metered(item):
            continue
        quantity = item.get("quantity", 1)
        full = Decimal(item["price"]["unit_amount"]) * quantity
        invoice["lines"]["data"].append(
            shapes.line(
                invoice=invoice["id"], subscription=subscription["id"], item=item, price=item["price"],
                amount=cents(full * share), quantity=quantity, start=item["current_period_start"],
                end=item["current_period_end"], proration=share != 1,
                text=f"{quantity} × {item['price']['nickname'] or item['price']['product']}",
            )
        )  # fmt: skip


def await_usage(book: Book, invoice: Row, subscription: Row, *, first: int, last: int) -> None:
    """Have a draft bill, at the prices of this moment, what the meters counted from `first` up to `last`: read when it is
    finalised, not before. What becomes of the items meanwhile is of the next period."""
    book.hidden(invoice["id"])["usage"] = [
        {"item": copied(item), "first": since(book, item, first), "last": last}
        for item in subscription["items"]["data"]
        if is_metered(item)
    ]


def charge_usage(book: Book, invoice: Row, subscription: Row) -> None:
    """Add what `await_usage` noted."""
    invoice["lines"]["data"] += coming_usage(book, invoice, subscription)
    book.hidden(invoice["id"]).pop("usage", None)


def coming_usage(book: Book, invoice: Row, subscription: Row) -> list[Row]:
    """The lines of what `await_usage` noted, as the meters are now: a draft shows them, and they go on growing."""
    return [
        usage_line(book, subscription, noted["item"], first=noted["first"], last=noted["last"])
        | {"invoice": invoice["id"]}
        for noted in book.hidden(invoice["id"]).get("usage", [])
    ]


def since(book: Book, item: Row, first: int) -> int:
    """From when usage counts for an item: `first`, or when it was given its price; tiers begin anew with a price."""
    return max(first, book.hidden(item["id"]).get("since", first))


def usage_line(book: Book, subscription: Row, item: Row, *, first: int, last: int) -> Row:
    """What was used of an item from `first` up to `last`."""
    price = item["price"]
    meter = book.get("billing.meter", price["recurring"]["meter"])
    used = meters.total(book, subscription["customer"], meter["event_name"], first, last)
    return shapes.line(
        invoice="", subscription=subscription["id"], item=item, price=copied(price),
        amount=priced(book, price, used), quantity=used, start=first, end=last, proration=False,
        text=f"{used} × {price['nickname'] or price['product']}",
    )  # fmt: skip


def priced(book: Book, price: Row, quantity: int) -> int:
    """What so many units cost, in cents: one price for each, or graduated tiers."""
    if price["billing_scheme"] != "tiered":
        each = Decimal(price["unit_amount_decimal"] or price["unit_amount"] or 0)
        return cents(each * quantity)
    total, below = Decimal(0), 0
    for tier in book.hidden(price["id"])["tiers"]:
        top = quantity if tier["up_to"] is None else min(quantity, tier["up_to"])
        if top > below:
            total += (top - below) * Decimal(tier["unit_amount_decimal"] or tier["unit_amount"] or 0)
        below = max(below, top)
    return cents(total)


def cents(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def finalise(book: Book, invoice: Row) -> None:
    """From draft to open; one of nothing is paid by that."""
    now = book.now(invoice["customer"])
    subscription = subscription_of(book, invoice)
    charge_usage(book, invoice, subscription)
    total = sum(line["amount"] for line in invoice["lines"]["data"])
    customer = book.get("customer", invoice["customer"])
    number = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] += 1
    credit = customer["balance"]  # negative: in the customer's favour
    due = max(0, total + credit)
    customer["balance"] = min(0, total + credit)
    invoice |= {
        "status": "open", "subtotal": total, "subtotal_excluding_tax": total, "total": total,
        "total_excluding_tax": total, "amount_due": due, "amount_remaining": due, "starting_balance": credit,
        "ending_balance": customer["balance"], "number": f"{customer['invoice_prefix']}-{number:04}",
        "effective_at": now, "automatically_finalizes_at": None,
        "hosted_invoice_url": f"{book.hidden('account').get('url', '')}/invoice/{invoice['id']}",
    }  # fmt: skip
    invoice["status_transitions"]["finalized_at"] = now
    subscription["latest_invoice"] = invoice["id"]
    book.tell("invoice.finalized", invoice)


def attempt(book: Book, invoice: Row) -> bool:
    """Charge the card; whether it was paid. Tells of the invoice; the subscription's own state is the caller's."""
    now = book.now(invoice["customer"])
    customer = book.get("customer", invoice["customer"])
    invoice["attempted"] = True
    if invoice["amount_due"] > 0:
        invoice["attempt_count"] += 1
        if card_of(book, customer) in (None, *DECLINED):
            count = invoice["attempt_count"]
            after = RETRIES[count - 1] if count <= len(RETRIES) else None
            invoice["next_payment_attempt"] = None if after is None else now + after
            book.tell("invoice.payment_failed", invoice)
            return False
        charge = book.add(shapes.charge(now, invoice=invoice))
        book.hidden(invoice["id"])["charge"] = charge["id"]
    settle(book, invoice)
    return True


def settle(book: Book, invoice: Row) -> None:
    now = book.now(invoice["customer"])
    invoice |= {
        "status": "paid", "amount_paid": invoice["amount_due"], "amount_remaining": 0, "auto_advance": False,
        "next_payment_attempt": None,
    }  # fmt: skip
    invoice["status_transitions"]["paid_at"] = now
    book.tell("invoice.paid", invoice)
    book.tell("invoice.payment_succeeded", invoice)


def void(book: Book, invoice: Row) -> None:
    invoice |= {"status": "void", "next_payment_attempt": None, "auto_advance": False}
    invoice["status_transitions"]["voided_at"] = book.now(invoice["customer"])
    book.tell("invoice.voided", invoice)


def card_of(book: Book, customer: Row) -> str | None:
    """The last four digits of the card that is charged."""
    wanted = customer["invoice_settings"]["default_payment_method"]
    return book.get("payment_method", wanted)["card"]["last4"] if wanted else None


def subscription_of(book: Book, invoice: Row) -> Row:
    return book.get("subscription", invoice["parent"]["subscription_details"]["subscription"])


def invoices_of(book: Book, subscription: Row) -> list[Row]:
    """Newest first."""
    return [
        invoice
        for invoice in book.all("invoice")
        if invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]
    ]


def proration(
    book: Book, subscription: Row, item: Row, *, old: Row, new: Row, quantity: int, now: int
) -> list[Row]:
    """What changing the price now gives back and charges for the rest of the period."""
    first, last = item["current_period_start"], item["current_period_end"]
    share = Decimal(max(0, last - now)) / Decimal(max(1, last - first))
    lines = []
    for price, sign, word in ((old, -1, "Unused time on"), (new, 1, "Remaining time on")):
        amount = cents(sign * Decimal(price["unit_amount"] or 0) * quantity * share)
        lines.append(
            shapes.line(
                invoice="", subscription=subscription["id"], item=item, price=copied(price), amount=amount,
                quantity=quantity, start=now, end=last, proration=True,
                text=f"{word} {price['nickname'] or price['product']}",
            )
        )  # fmt: skip
    return lines


def told_by(value: Any) -> Any:
    """Next to nothing: a value as it stands in `previous_attributes`."""
    return copied({"v": value})["v"]
