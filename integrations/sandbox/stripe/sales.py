"""Routes of customers, cards, products and prices, the hosted pages' sessions."""

from integrations.sandbox.stripe import cycle, shapes
from integrations.sandbox.stripe.api import Api, change_fields, route
from integrations.sandbox.stripe.book import Book, copied
from integrations.sandbox.stripe.forms import Refusal, needed, whole
from integrations.sandbox.stripe.shapes import Row

SHORTEST_S = 1_800


@route("POST", "customers")
def _new_customer(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    clock = params.get("test_clock")
    at = (
        api.book.get("test_helpers.test_clock", clock, "test_clock")["frozen_time"]
        if clock
        else api.book.now()
    )
    row = shapes.customer(
        at, email=params.get("email"), name=params.get("name"), description=params.get("description"),
        metadata=params.get("metadata") or {}, test_clock=clock,
    )  # fmt: skip
    api.book.add(row)
    api.book.tell("customer.created", row)
    return row


@route("GET", "customers")
def _customers(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.listed(api.book.all("customer"), params, "/v1/customers", ("email",))


@route("GET", "customers/{}")
def _customer(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("customer", ids[0])


@route("POST", "customers/{}")
def _change_customer(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("customer", ids[0])
    before = change_fields(api.book, row, params, ("email", "name", "description", "metadata"))
    api.book.tell("customer.updated", row, before)
    return row


@route("GET", "payment_methods/{}")
def _card(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("payment_method", ids[0])


def enter_card(book: Book, customer: Row, last4: str) -> Row:
    """Make a card the one that is charged, as the hosted pages do. Raises Refusal for one that is declined at once."""
    if last4 == "0002":
        raise Refusal(
            "Your card was declined.", status=402, kind="card_error", code="card_declined", kept=True
        )
    row = book.add(shapes.card(book.now(customer["id"]), last4=last4, customer=customer["id"]))
    before = {"invoice_settings": copied(customer["invoice_settings"])}
    customer["invoice_settings"]["default_payment_method"] = row["id"]
    book.tell("payment_method.attached", row)
    book.tell("customer.updated", customer, before)
    return row


@route("POST", "products")
def _new_product(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    if not params.get("name"):
        raise needed("name")
    row = shapes.product(
        api.book.now(), name=params["name"], description=params.get("description"),
        metadata=params.get("metadata") or {}, unit_label=params.get("unit_label"),
    )  # fmt: skip
    if params.get("id"):
        row["id"] = params["id"]
    return api.book.add(row)


@route("GET", "products")
def _products(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.listed(api.book.all("product"), params, "/v1/products", ("active",))


@route("GET", "products/{}")
def _product(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("product", ids[0])


@route("POST", "prices")
def _new_price(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    for name in ("currency", "product"):
        if not params.get(name):
            raise needed(name)
    api.book.get("product", params["product"], "product")
    recurring = params.get("recurring")
    row = shapes.price(
        api.book.now(), currency=params["currency"], product=params["product"], nickname=params.get("nickname"),
        lookup_key=params.get("lookup_key"), metadata=params.get("metadata") or {},
        billing_scheme=params.get("billing_scheme", "per_unit"), tiers_mode=params.get("tiers_mode"),
        type="recurring" if recurring else "one_time",
    )  # fmt: skip
    if recurring:
        metered = recurring.get("usage_type") == "metered"
        if metered and not recurring.get("meter"):
            raise Refusal("A metered price must name a meter.", param="recurring[meter]")
        if metered:
            api.book.get("billing.meter", recurring["meter"], "recurring[meter]")
        row["recurring"] = {
            "interval": recurring.get("interval"), "interval_count": int(recurring.get("interval_count", 1)),
            "meter": recurring.get("meter"), "trial_period_days": None,
            "usage_type": recurring.get("usage_type", "licensed"),
        }  # fmt: skip
    if row["billing_scheme"] == "tiered":
        api.book.hidden(row["id"])["tiers"] = [_tier(tier) for tier in params.get("tiers") or []]
    else:
        amount = params.get("unit_amount_decimal", params.get("unit_amount"))
        if amount is None:
            raise needed("unit_amount")
        row["unit_amount_decimal"] = str(amount)
        row["unit_amount"] = int(amount) if str(amount).isdigit() else None
    return api.book.add(row)


def _tier(tier: Row) -> Row:
    up_to = tier.get("up_to")
    return {
        "flat_amount": None, "flat_amount_decimal": None, "unit_amount": None,
        "unit_amount_decimal": str(tier.get("unit_amount_decimal", tier.get("unit_amount", "0"))),
        "up_to": None if up_to == "inf" else int(str(up_to)),
    }  # fmt: skip


@route("GET", "prices")
def _prices(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    rows = api.book.all("price")
    if "lookup_keys" in params:
        rows = [row for row in rows if row["lookup_key"] in params["lookup_keys"]]
    for name, value in (params.get("recurring") or {}).items():
        rows = [row for row in rows if row["recurring"] and row["recurring"].get(name) == value]
    return api.listed(rows, params, "/v1/prices", ("active", "product"))


@route("GET", "prices/{}")
def _price(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("price", ids[0])


@route("POST", "prices/{}")
def _change_price(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("price", ids[0])
    change_fields(api.book, row, params, ("metadata", "nickname", "active", "lookup_key"))
    return row


@route("POST", "checkout/sessions")
def _new_session(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    book = api.book
    if params.get("mode") != "subscription":
        raise Refusal("This double sells subscriptions alone.", param="mode")
    if not params.get("success_url"):
        raise needed("success_url")
    wanted = params.get("line_items") or []
    if not wanted:
        raise needed("line_items")
    total, currency = 0, "usd"
    for line in wanted:
        price = book.get("price", line.get("price"), "line_items[price]")
        currency = price["currency"]
        metered = (price["recurring"] or {}).get("usage_type") == "metered"
        if metered and "quantity" in line:
            raise Refusal("A metered price takes no quantity.", param="line_items[quantity]")
        total += 0 if metered else (price["unit_amount"] or 0) * int(line.get("quantity", 1))
    customer = params.get("customer")
    if customer:
        book.get("customer", customer, "customer")
    anchor = whole(params.get("subscription_data") or {}, "billing_cycle_anchor")
    if anchor is not None and anchor <= book.now(customer):
        raise Refusal("The anchor has to be in the future.", param="subscription_data[billing_cycle_anchor]")
    row = shapes.session(
        book.now(customer), customer=customer, customer_email=params.get("customer_email"),
        client_reference_id=params.get("client_reference_id"), success_url=params["success_url"],
        cancel_url=params.get("cancel_url"), metadata=params.get("metadata") or {}, amount_total=total,
        amount_subtotal=total, currency=currency,
    )  # fmt: skip
    expires = whole(params, "expires_at", row["created"] + shapes.DAY)
    assert expires is not None
    if not SHORTEST_S <= expires - row["created"] <= shapes.DAY:
        raise Refusal(
            "A session expires between 30 minutes and 24 hours after it was made.", param="expires_at"
        )
    row["expires_at"] = expires
    row["url"] = f"{api.url}/pay/{row['id']}"
    book.hidden(row["id"])["asked"] = {
        "line_items": wanted, "subscription_data": params.get("subscription_data") or {},
    }  # fmt: skip
    return book.add(row)


@route("GET", "checkout/sessions")
def _sessions(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.listed(
        api.book.all("checkout.session"), params, "/v1/checkout/sessions", ("customer", "status")
    )


@route("GET", "checkout/sessions/{}")
def _session(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    return api.book.get("checkout.session", ids[0])


@route("POST", "checkout/sessions/{}/expire")
def _expire(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    row = api.book.get("checkout.session", ids[0])
    if row["status"] != "open":
        raise Refusal("Only open sessions can be expired.")
    cycle.expire(api.book, row)
    return row


@route("POST", "billing_portal/sessions")
def _new_portal(api: Api, params: Row, ids: tuple[str, ...]) -> Row:
    customer = api.book.get("customer", params.get("customer"), "customer")
    row = shapes.portal(
        api.book.now(customer["id"]), customer=customer["id"], return_url=params.get("return_url")
    )
    row["url"] = f"{api.url}/portal/{row['id']}"
    return api.book.add(row)
