"""The hosted pages: Checkout to pay on, the portal for card, invoices and cancelling, and a clock to turn forward."""

from datetime import UTC, datetime
from html import escape

from aiohttp import web

from integrations.sandbox.stripe import cycle, invoices, sales, shapes
from integrations.sandbox.stripe.api import Api
from integrations.sandbox.stripe.forms import Refusal
from integrations.sandbox.stripe.shapes import Row

CARDS = (
    ("4242", "Visa ending in 4242: always pays"),
    ("0341", "Visa ending in 0341: pays nothing (declined when it is charged)"),
    ("0002", "Visa ending in 0002: declined when it is entered"),
)
_STYLE = """
:root{color-scheme:light dark;--line:#d5dbe0;--soft:#f4f7f8;--text:#17242b;--accent:#0b6b78;--on:#fff;--page:#fff}
@media (prefers-color-scheme:dark){:root{--line:#33424a;--soft:#1b262c;--text:#e6edf0;--accent:#4cb8c4;
--on:#0b1a1e;--page:#121a1e}}
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--soft)}
main{max-width:34rem;margin:2rem auto;padding:1.5rem;background:var(--page);border:1px solid var(--line);border-radius:6px}
.note{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.75rem 1rem}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
td{padding:.4rem 0;border-top:1px solid var(--line)}
td:last-child{text-align:right}label{display:block;padding:.5rem 0}h1{font-size:26px}h2{font-size:20px;margin-top:2rem}
button{font:inherit;font-weight:600;min-height:44px;padding:0 1rem;border:1px solid var(--accent);border-radius:6px;
background:var(--accent);color:var(--on)}
select{font:inherit;min-height:44px;max-width:100%}
button.plain{background:none;color:var(--accent)}form{margin:.5rem 0}a{color:var(--accent)}
"""
_NOTE = (
    '<p class="note"><strong>This is not Stripe.</strong> It is the sandbox that comes with Weir: no card is charged, '
    "no account is needed, nothing leaves this machine.</p>"
)


def answer(api: Api, method: str, path: str, form: Row) -> web.Response:
    """A page under /pay/, /portal/ or /invoice/; what is posted there sends the browser on."""
    parts = path.strip("/").split("/")
    try:
        if parts[0] == "pay":
            return _pay(api, method, parts[1], form)
        if parts[0] == "portal":
            return _portal(api, method, parts[1], form)
        if parts[0] == "invoice":
            return _page("Invoice", _lines(api.book.get("invoice", parts[1])))
    except (Refusal, IndexError) as refusal:
        return _page("There is no such page", f"<p>{escape(str(refusal))}</p>", status=404)
    return _page("There is no such page", "", status=404)


def _pay(api: Api, method: str, wanted: str, form: Row) -> web.Response:
    session = api.book.get("checkout.session", wanted)
    if session["status"] != "open":
        return _page("This checkout is over", f"<p>It is {session['status']}.</p>")
    problem = ""
    if method == "POST":
        try:
            return _to(complete(api, session, str(form.get("card", "4242"))))
        except Refusal as refusal:
            problem = f'<p class="note" role="alert">{escape(str(refusal))} Choose another card.</p>'
    book = api.book
    rows = ""
    for line in book.hidden(session["id"])["asked"]["line_items"]:
        price = book.get("price", line["price"])
        metered = price["recurring"]["usage_type"] == "metered"
        what = "by use" if metered else f"{_money(price['unit_amount'] or 0, price['currency'])} a month"
        name = book.get("product", price["product"])["name"]
        rows += f"<tr><td>{escape(price['nickname'] or name)}</td><td>{what}</td></tr>"
    back = escape(session["cancel_url"] or "/")
    choices = "".join(
        f'<label><input type="radio" name="card" value="{digits}"{" checked" if digits == "4242" else ""}> {text}</label>'
        for digits, text in CARDS
    )
    return _page(
        "Subscribe",
        f'{_NOTE}{problem}<table>{rows}</table><form method="post"><h2>Pay with</h2>{choices}'
        f'<button>Subscribe</button></form><p><a href="{back}">Back without paying</a></p>',
        status=402 if problem else 200,
    )


def complete(api: Api, session: Row, last4: str) -> str:
    """Pay a checkout with this card; where the browser goes. Raises Refusal for a card that is declined."""
    book = api.book
    asked = book.hidden(session["id"])["asked"]
    data = asked["subscription_data"]
    if session["customer"]:
        customer = book.get("customer", session["customer"])
    else:
        customer = book.add(shapes.customer(book.now(), email=session["customer_email"]))
        book.tell("customer.created", customer)
    sales.enter_card(book, customer, last4)
    prices = []
    for line in asked["line_items"]:
        price = book.get("price", line["price"])
        metered = price["recurring"]["usage_type"] == "metered"
        prices.append((price, None if metered else int(line.get("quantity", 1))))
    days, anchor = data.get("trial_period_days"), data.get("billing_cycle_anchor")
    trial_end = book.now(customer["id"]) + int(days) * shapes.DAY if days else None
    subscription = cycle.begin(
        book, customer=customer, prices=prices, metadata=data.get("metadata") or {}, trial_end=trial_end,
        anchor=int(anchor) if anchor else None,
    )  # fmt: skip
    if subscription["status"] == "incomplete":
        cycle.end(book, subscription, reason="payment_failed", bill=False)
        raise Refusal("Your card was declined.", status=402, kind="card_error", code="card_declined")
    session |= {
        "customer": customer["id"], "customer_details": {"email": customer["email"], "name": customer["name"]},
        "invoice": subscription["latest_invoice"], "payment_status": "paid", "status": "complete",
        "subscription": subscription["id"], "url": None,
    }  # fmt: skip
    book.tell("checkout.session.completed", session)
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _portal(api: Api, method: str, wanted: str, form: Row) -> web.Response:
    session = api.book.get("billing_portal.session", wanted)
    customer = api.book.get("customer", session["customer"])
    note = ""
    if method == "POST":
        try:
            _act(api, customer, form)
            return _to(f"{api.url}/portal/{session['id']}")
        except Refusal as refusal:
            note = f'<p class="note" role="alert">{escape(str(refusal))}</p>'
    return _page("Billing", _NOTE + note + _portal_body(api, session, customer))


def _act(api: Api, customer: Row, form: Row) -> None:
    book, act = api.book, form.get("act")
    rows = [
        row for row in book.all("subscription")
        if row["customer"] == customer["id"] and row["status"] not in cycle.ENDED
    ]  # fmt: skip
    if act == "card":
        sales.enter_card(book, customer, str(form.get("card", "4242")))
        cycle.collect(book, customer)
    elif act in ("cancel", "keep") and rows:
        api.answer(
            "POST",
            f"/v1/subscriptions/{rows[0]['id']}",
            {"cancel_at_period_end": str(act == "cancel").lower()},
        )
    elif act == "month" and not customer["test_clock"]:
        due = [max(i["current_period_end"] for i in row["items"]["data"]) for row in rows]
        due += [
            i["automatically_finalizes_at"] for i in book.all("invoice") if i["automatically_finalizes_at"]
        ]
        due += [i["next_payment_attempt"] for i in book.all("invoice") if i["next_payment_attempt"]]
        if due:
            book.offset += max(0, min(due) - book.now()) + 1
            cycle.go_on(book, customer, book.now())
    book.changed = True


def _portal_body(api: Api, session: Row, customer: Row) -> str:
    book = api.book
    parts = []
    for row in book.all("subscription"):
        if row["customer"] != customer["id"]:
            continue
        base = invoices.base_item(row) or row["items"]["data"][0]
        name = escape(book.get("product", base["price"]["product"])["name"])
        ends = _day(max(i["current_period_end"] for i in row["items"]["data"]))
        state = (
            f"ends on {ends}" if row["cancel_at"] else f"{row['status'].replace('_', ' ')}, paid until {ends}"
        )
        if row["status"] in cycle.ENDED:
            parts.append(f"<p>{name}: cancelled</p>")
            continue
        act, word = (
            ("keep", "Do not cancel") if row["cancel_at"] else ("cancel", "Cancel at the end of the period")
        )
        parts.append(f"<p><strong>{name}</strong>: {state}</p>{_button(act, word)}")
    last4 = invoices.card_of(book, customer)
    choices = "".join(
        f'<option value="{digits}"{" selected" if digits == last4 else ""}>{text}</option>'
        for digits, text in CARDS
    )
    rows = "".join(
        f"<tr><td>{invoice['number'] or 'Draft'} · {_day(invoice['created'])} · {invoice['status']}</td>"
        f"<td>{_money(invoice['total'], invoice['currency'])}</td></tr>"
        for invoice in book.all("invoice")
        if invoice["customer"] == customer["id"]
    )
    return (
        f"{''.join(parts) or '<p>No subscription.</p>'}<h2>Card</h2>"
        f'<form method="post"><input type="hidden" name="act" value="card"><label>Card '
        f'<select name="card">{choices}</select></label><button class="plain">Use this card</button></form>'
        f"<h2>Invoices</h2><table>{rows or '<tr><td>None yet.</td><td></td></tr>'}</table>"
        f"<h2>Time</h2><p>It is {_day(book.now(customer['id']))} here. Turn the clock to what comes next: a renewal, "
        f"an invoice, another try with the card.</p>{_button('month', 'Go on in time')}"
        f'<p><a href="{escape(session["return_url"] or "/")}">Back to Weir</a></p>'
    )


def _button(act: str, text: str) -> str:
    return (
        f'<form method="post"><input type="hidden" name="act" value="{act}">'
        f'<button class="plain">{text}</button></form>'
    )


def _lines(invoice: Row) -> str:
    rows = "".join(
        f"<tr><td>{escape(line['description'] or '')}</td><td>{_money(line['amount'], line['currency'])}</td></tr>"
        for line in invoice["lines"]["data"]
    )
    total = _money(invoice["total"], invoice["currency"])
    return f"{_NOTE}<table>{rows}<tr><td>Total</td><td>{total}</td></tr></table>"


def _money(amount: int, currency: str) -> str:
    return f"{amount / 100:,.2f} {currency.upper()}"


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%-d %B %Y}"


def _to(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url})


def _page(title: str, body: str, *, status: int = 200) -> web.Response:
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} · Stripe sandbox</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>"
    )
    return web.Response(status=status, text=text, content_type="text/html")
