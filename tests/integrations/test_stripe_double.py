"""The double of Stripe, asked through the real SDK: what our billing relies on, it does as Stripe does."""

import json
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlencode

import pytest
import stripe

from tests.stripe_double import DAY, KEY, Double

NOT_ALWAYS = {"quantity"}


@pytest.fixture(scope="module")
def process(sandbox_process):
    return sandbox_process


@pytest.fixture
def double(process):
    process.reset()
    found = Double(process)
    found.control("POST", "hold_hooks", {"hold": True})
    return found


@pytest.fixture
def v1(double):
    return double.client().v1


@pytest.fixture
def shop(v1):
    return make_shop(v1)


def make_shop(v1):
    meter = v1.billing.meters.create(
        {"display_name": "Records", "event_name": "records", "default_aggregation": {"formula": "sum"}}
    )
    product = v1.products.create({"name": "Pro"})
    base = v1.prices.create(
        {"currency": "usd", "product": product.id, "unit_amount": 3000, "recurring": {"interval": "month"}}
    )
    over = v1.prices.create(
        {
            "currency": "usd", "product": product.id, "billing_scheme": "tiered", "tiers_mode": "graduated",
            "tiers": [
                {"up_to": 100, "unit_amount_decimal": "0"}, {"up_to": "inf", "unit_amount_decimal": "0.5"},
            ],
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
        }
    )  # fmt: skip
    return {"meter": meter, "base": base, "over": over}


def make_customer(v1, *, card="4242", clock=True, double=None):
    options = {"email": "a@tenant.example", "metadata": {"tenant_id": "t"}}
    if clock:
        options["test_clock"] = v1.test_helpers.test_clocks.create({"frozen_time": int(time.time())}).id
    customer = v1.customers.create(options)
    if card:
        double.control("POST", "card", {"customer": customer.id, "last4": card})
    return v1.customers.retrieve(customer.id)


def subscribe(v1, shop, customer, **options):
    return v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": shop["base"].id}, {"price": shop["over"].id}],
            **options,
        }
    )


def advance(v1, customer, seconds):
    clock = v1.test_helpers.test_clocks.retrieve(customer.test_clock)
    return v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": clock.frozen_time + seconds})


def types_of(v1):
    return [event.type for event in v1.events.list({"limit": 100}).data][::-1]


def required_by_the_sdk(kind):
    hints = {k: str(v) for k, v in kind.__annotations__.items() if k not in ("OBJECT_NAME", "deleted")}
    required = {name for name, hint in hints.items() if "Optional[" not in hint}
    return set(hints), required - NOT_ALWAYS


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (stripe.Customer, lambda v1, shop, sub: v1.customers.retrieve(sub.customer)),
        (stripe.Price, lambda v1, shop, sub: shop["base"]),
        (stripe.Product, lambda v1, shop, sub: v1.products.retrieve(shop["base"].product)),
        (stripe.Subscription, lambda v1, shop, sub: sub),
        (stripe.SubscriptionItem, lambda v1, shop, sub: sub.items.data[0]),
        (stripe.Invoice, lambda v1, shop, sub: v1.invoices.retrieve(sub.latest_invoice)),
        (
            stripe.InvoiceLineItem,
            lambda v1, shop, sub: v1.invoices.retrieve(sub.latest_invoice).lines.data[0],
        ),
        (stripe.billing.Meter, lambda v1, shop, sub: shop["meter"]),
        (stripe.Event, lambda v1, shop, sub: v1.events.list().data[0]),
        (
            stripe.checkout.Session,
            lambda v1, shop, sub: v1.checkout.sessions.create(
                {
                    "mode": "subscription",
                    "success_url": "https://a.example/",
                    "line_items": [{"price": shop["base"].id, "quantity": 1}],
                }
            ),
        ),
        (
            stripe.billing_portal.Session,
            lambda v1, shop, sub: v1.billing_portal.sessions.create({"customer": sub.customer}),
        ),
    ],
)
def test_objects_have_the_fields_of_the_pinned_version(v1, shop, double, kind, make):
    customer = make_customer(v1, double=double)
    made = make(v1, shop, subscribe(v1, shop, customer)).to_dict()
    known, required = required_by_the_sdk(kind)
    assert len(required) > 4
    assert set(made) <= known
    assert required <= set(made)


def test_what_moved_is_where_it_moved_to(v1, shop, double):
    customer = make_customer(v1, double=double)
    sub = subscribe(v1, shop, customer)
    assert "current_period_end" not in sub.to_dict()
    assert sub.items.data[0].current_period_end > sub.start_date
    invoice = v1.invoices.retrieve(sub.latest_invoice)
    assert invoice.parent.subscription_details.subscription == sub.id
    assert {"subscription", "payment_intent"}.isdisjoint(invoice.to_dict())
    assert invoice.lines.data[0].pricing.price_details.price == shop["base"].id
    assert stripe.api_version == v1.events.list().data[0].api_version


def test_a_renewal_bills_the_next_period_and_the_usage_of_the_last(v1, shop, double):
    customer = make_customer(v1, double=double)
    sub = subscribe(v1, shop, customer)
    first_end = sub.items.data[0].current_period_end
    now = v1.test_helpers.test_clocks.retrieve(customer.test_clock).frozen_time
    usage(v1, customer, 150, at=now)
    advance(v1, customer, first_end - now + 1800)
    draft = v1.invoices.retrieve(v1.subscriptions.retrieve(sub.id).latest_invoice)
    assert (draft.status, draft.billing_reason) == ("draft", "subscription_cycle")
    usage(v1, customer, 51, at=first_end - 1)  # late, but the draft is still open
    advance(v1, customer, 3600)
    invoice = v1.invoices.retrieve(draft.id)
    assert (invoice.status, invoice.amount_paid) == ("paid", 3000 + 51)  # (201 - 100) * 0.5 cents, rounded
    assert [line.quantity for line in invoice.lines.data] == [1, 201]


def test_a_card_that_fails_is_tried_again_and_recovers(v1, shop, double):
    customer = make_customer(v1, double=double)
    sub = subscribe(v1, shop, customer)
    double.control("POST", "card", {"customer": customer.id, "last4": "0341"})
    advance(v1, customer, 32 * DAY)
    sub = v1.subscriptions.retrieve(sub.id, {"expand": ["latest_invoice"]})
    assert (sub.status, sub.latest_invoice.status) == ("past_due", "open")
    assert sub.latest_invoice.attempt_count == 1
    double.control("POST", "card", {"customer": customer.id, "last4": "4242"})
    advance(v1, customer, 4 * DAY)
    assert v1.subscriptions.retrieve(sub.id).status == "active"
    assert {"invoice.payment_failed", "invoice.paid"} <= set(types_of(v1))


def test_a_card_that_goes_on_failing_ends_the_subscription(v1, shop, double):
    customer = make_customer(v1, double=double)
    sub = subscribe(v1, shop, customer)
    double.control("POST", "card", {"customer": customer.id, "last4": "0341"})
    advance(v1, customer, 50 * DAY)
    sub = v1.subscriptions.retrieve(sub.id)
    assert (sub.status, sub.cancellation_details.reason) == ("canceled", "payment_failed")


def test_a_change_of_price_is_prorated_on_the_next_invoice(v1, shop, double):
    customer = make_customer(v1, double=double)
    sub = subscribe(v1, shop, customer)
    dear = v1.prices.create(
        {
            "currency": "usd", "product": shop["base"].product, "unit_amount": 9000,
            "recurring": {"interval": "month"},
        }
    )  # fmt: skip
    v1.subscriptions.update(sub.id, {"items": [{"id": sub.items.data[0].id, "price": dear.id}]})
    advance(v1, customer, 32 * DAY)
    invoice = v1.invoices.retrieve(v1.subscriptions.retrieve(sub.id).latest_invoice)
    amounts = [line.amount for line in invoice.lines.data]
    assert amounts[:3] == [-3000, 9000, 9000]


def test_cancelling_at_the_end_of_the_period_bills_what_was_used(v1, shop, double):
    customer = make_customer(v1, double=double)
    sub = subscribe(v1, shop, customer)
    usage(v1, customer, 300, at=sub.created)
    assert v1.subscriptions.update(sub.id, {"cancel_at_period_end": True}).status == "active"
    advance(v1, customer, 32 * DAY)
    assert v1.subscriptions.retrieve(sub.id).status == "canceled"
    last = v1.invoices.list({"customer": customer.id}).data[0]
    assert (last.status, last.total) == ("paid", 100)


def test_a_trial_warns_and_ends(v1, shop, double):
    customer = make_customer(v1, double=double)
    sub = subscribe(v1, shop, customer, trial_period_days=14)
    assert sub.status == "trialing"
    advance(v1, customer, 15 * DAY)
    assert v1.subscriptions.retrieve(sub.id).status == "active"
    assert "customer.subscription.trial_will_end" in types_of(v1)


def usage(v1, customer, value, *, at, identifier=None, key=None):
    params = {
        "event_name": "records", "timestamp": at,
        "payload": {"stripe_customer_id": customer.id, "value": str(value)},
    }  # fmt: skip
    if identifier:
        params["identifier"] = identifier
    return v1.billing.meter_events.create(params, {"idempotency_key": key} if key else {})


def summed(v1, shop, customer, at):
    minute = at - at % 60
    return (
        v1.billing.meters.event_summaries.list(
            shop["meter"].id, {"customer": customer.id, "start_time": minute, "end_time": minute + 60}
        )
        .data[0]
        .aggregated_value
    )


def test_an_identifier_counts_once_for_a_day(v1, shop, double):
    customer = make_customer(v1, double=double)
    now = v1.test_helpers.test_clocks.retrieve(customer.test_clock).frozen_time
    usage(v1, customer, 5, at=now, identifier="a")
    with pytest.raises(stripe.InvalidRequestError, match="identifier"):
        usage(v1, customer, 5, at=now, identifier="a")
    assert summed(v1, shop, customer, now) == 5
    advance(v1, customer, DAY + 60)
    usage(v1, customer, 5, at=now, identifier="a")  # forgotten: a second one counts
    assert summed(v1, shop, customer, now) == 10
    for wrong in (now - 35 * DAY, now + DAY + 60 + 301):
        with pytest.raises(stripe.InvalidRequestError, match="timestamp"):
            usage(v1, customer, 5, at=wrong)


def test_a_key_keeps_its_answer_even_a_500(v1, shop, double):
    customer = make_customer(v1, double=double)
    now = v1.test_helpers.test_clocks.retrieve(customer.test_clock).frozen_time
    double.fault("error_after", count=1)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            usage(v1, customer, 7, at=now, identifier="a", key="k")
    assert summed(v1, shop, customer, now) == 7
    with pytest.raises(stripe.IdempotencyError):
        usage(v1, customer, 8, at=now, identifier="b", key="k")
    double.control("POST", "forget_keys", {})
    with pytest.raises(stripe.InvalidRequestError, match="identifier"):
        usage(v1, customer, 7, at=now, identifier="a", key="k")


@pytest.mark.parametrize(
    ("fault", "error", "done"),
    [
        ("error_before", stripe.APIError, False),
        ("error_after", stripe.APIError, True),
        ("lost_before", stripe.APIConnectionError, False),
        ("lost_after", stripe.APIConnectionError, True),
        ("rate_limit", stripe.RateLimitError, False),
    ],
)
def test_faults_strike_before_or_after_the_work(v1, double, fault, error, done):
    double.fault(fault, count=1, path="/customers")
    with pytest.raises(error):
        v1.customers.create({"email": "a@tenant.example"})
    assert len(v1.customers.list().data) == done


@pytest.mark.parametrize(
    ("fault", "done_while_it_hangs", "done_after"),
    [("hang_before", 0, 0), ("hang_after", 1, 1), ("hang_late", 0, 1)],
)
def test_no_answer_comes_until_the_caller_gives_up(v1, double, fault, done_while_it_hangs, done_after):
    impatient = stripe.StripeClient(
        KEY, base_addresses={"api": double.url}, http_client=stripe.RequestsClient(timeout=0.8)
    )
    double.fault(fault, count=1, path="/customers")
    failed = []

    def make():
        try:
            impatient.v1.customers.create({"email": "a@tenant.example"})
        except stripe.APIConnectionError as error:
            failed.append(error)

    caller = threading.Thread(target=make)
    caller.start()
    assert _soon(lambda: double.control("GET", "state")["struck"] == {fault: 1})
    assert len(v1.customers.list().data) == done_while_it_hangs
    caller.join()
    assert failed
    assert _soon(lambda: len(v1.customers.list().data) == done_after)
    time.sleep(0.1)
    assert len(v1.customers.list().data) == done_after


def _soon(true, seconds=5.0):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def test_events_are_signed_and_sent_as_the_endpoint_asked(v1, shop, double):
    endpoint = v1.webhook_endpoints.create(
        {"url": "http://127.0.0.1:9/hooks/stripe", "enabled_events": ["customer.created"]}
    )
    v1.customers.create({"email": "a@tenant.example"})
    v1.products.create({"name": "None listens"})
    [delivery] = double.deliveries()
    event = stripe.Webhook.construct_event(
        delivery["body"], delivery["headers"]["Stripe-Signature"], endpoint.secret
    )
    assert (event.type, event.data.object.email) == ("customer.created", "a@tenant.example")
    assert double.deliveries() == []


def test_a_checkout_is_clicked_through(v1, shop, double):
    customer = make_customer(v1, card=None, double=double)
    session = v1.checkout.sessions.create(
        {
            "mode": "subscription", "customer": customer.id, "client_reference_id": "t",
            "line_items": [{"price": shop["base"].id, "quantity": 1}, {"price": shop["over"].id}],
            "success_url": "http://127.0.0.1:9/back?session_id={CHECKOUT_SESSION_ID}",
            "subscription_data": {"metadata": {"tenant_id": "t"}},
        }
    )  # fmt: skip
    assert "not Stripe" in page(session.url)[1]
    status, text = page(session.url, card="0002")
    assert (status, "declined" in text) == (402, True)
    assert v1.checkout.sessions.retrieve(session.id).status == "open"
    status, target = page(session.url, card="4242")
    assert (status, target) == (303, f"http://127.0.0.1:9/back?session_id={session.id}")
    session = v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert (session.status, session.payment_status, session.url) == ("complete", "paid", None)
    assert session.subscription.metadata.tenant_id == "t"
    portal = v1.billing_portal.sessions.create({"customer": customer.id, "return_url": "http://127.0.0.1:9/"})
    assert page(portal.url, act="cancel")[0] == 303
    assert v1.subscriptions.retrieve(session.subscription.id).cancel_at_period_end
    assert "ends on" in page(portal.url)[1]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


def page(url, **form):
    """(status, text or where it leads) of a hosted page; a form is sent when there is one."""
    data = urlencode(form).encode() if form else None
    try:
        with urllib.request.build_opener(_Stay).open(url, data=data, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers.get("Location") or answer.read().decode()


def test_it_is_all_there_after_a_restart(tmp_path):
    from tests.sandbox import Sandbox

    file = tmp_path / "stripe.json"
    first = Sandbox(stripe_file=file)
    customer = Double(first).client().v1.customers.create({"email": "a@tenant.example"})
    first.stop()
    assert json.loads(file.read_text())["events"]
    second = Sandbox(stripe_file=file)
    assert Double(second).client().v1.customers.retrieve(customer.id).email == "a@tenant.example"
    second.stop()
