"""/hooks/stripe: what is signed is stored once and answered at once; what is not leaves no trace but a line and a count."""

import hashlib
import hmac
import json
import time
from datetime import timedelta

import pytest
import stripe
import structlog
from django.conf import settings
from prometheus_client import REGISTRY

from billing import stripe_answers, stripe_gateway, tasks
from billing.models import StripeEvent
from billing.operations import stripe_events, subscriptions
from tenants.scope import OPS_ALIAS, ops_scope
from tests.billing.stripe_rig import HOOK, SECRET, Rig

BODY = json.dumps(
    {
        "id": "evt_1", "object": "event", "type": "customer.subscription.updated", "created": 1_700_000_000,
        "api_version": "2026-10-28.endive", "data": {"object": {"id": "sub_1", "customer": "cus_nobody"}},
    }
)  # fmt: skip


@pytest.fixture
def keys(committed, monkeypatch):
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", "sk_test_1")
    monkeypatch.setattr(settings, "STRIPE_WEBHOOK_SECRET", SECRET)


def stored():
    with ops_scope("tests"):
        return list(StripeEvent.objects.using(OPS_ALIAS).order_by("id"))


def signed(body=BODY, secret=SECRET, at=None):
    return stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=at or int(time.time()))


def refusals():
    return REGISTRY.get_sample_value("weir_stripe_webhooks_refused_total", {"why": "signature"}) or 0


def post(client, header, body=BODY):
    headers = {"HTTP_STRIPE_SIGNATURE": header} if header is not None else {}
    return client.post(HOOK, body, content_type="application/json", **headers)


FORGED = {
    "no signature": lambda: (None, BODY),
    "an empty one": lambda: ("", BODY),
    "nonsense": lambda: ("t=,v1=", BODY),
    "another secret": lambda: (signed(secret="whsec_other"), BODY),
    "an older scheme alone": lambda: (signed().replace("v1=", "v0="), BODY),
    "another body": lambda: (signed(), BODY.replace("sub_1", "sub_2")),
    "the same JSON in other bytes": lambda: (signed(), json.dumps(json.loads(BODY), indent=1)),
    "truncated": lambda: (signed(), BODY[:-20]),
    "stale": lambda: (signed(at=int(time.time()) - 301), BODY),
    "from the future": lambda: (signed(at=int(time.time()) + 330), BODY),
    "re-dated": lambda: (
        signed(at=int(time.time()) - 900).replace(f"t={int(time.time()) - 900}", "t=9999999999"),
        BODY,
    ),
    "two times": lambda: (f"t={int(time.time()) + 9999},{signed()}", BODY),
    "signed, and no JSON": lambda: (signed("nonsense"), "nonsense"),
    "signed, and no event": lambda: (signed("{}"), "{}"),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_stripe_did_not_sign_is_refused_and_leaves_a_line_and_a_count(keys, client, how):
    before = refusals()
    with structlog.testing.capture_logs() as lines:
        answer = post(client, *FORGED[how]())
    assert answer.status_code == 400
    assert answer.content == b""
    assert not answer.cookies
    assert refusals() == before + 1
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["stripe_webhook_refused"]
    assert stored() == []


def test_the_documented_scheme_passes_and_is_nobody_elses(keys, client):
    """HMAC-SHA256 over "time.body" with the whole secret as the key, worked out here by hand."""
    now = int(time.time())
    digest = hmac.new(SECRET.encode(), f"{now}.{BODY}".encode(), hashlib.sha256).hexdigest()
    answer = post(client, f"t={now},v1={digest}")
    assert (answer.status_code, len(answer.cookies)) == (202, 0)
    assert len(stored()) == 1


def event(**changed):
    return json.loads(BODY) | changed


ODD = {
    "a list": [],
    "a number": 5,
    "nothing": None,
    "no data": event(data=None),
    "an object that is a list": event(data={"object": []}),
    "a NUL in the id": event(id="evt\0"),
    "a long id": event(id="e" * 300),
    "a long type": event(type="t" * 300),
    "a time that no date holds": event(created=10**18),
    "a time in words": event(created="soon"),
    "a NUL in the customer": event(data={"object": {"id": "sub_1", "customer": "cus\0"}}),
    "a customer of a long id": event(data={"object": {"id": "sub_1", "customer": {"id": "c" * 300}}}),
    "a thin one of no time": {"id": "evt_1", "object": "v2.core.event", "type": "x", "created": "soon"},
}


@pytest.mark.parametrize("how", ODD)
def test_what_is_signed_and_no_event_is_refused(keys, client, how):
    body = json.dumps(ODD[how])
    assert post(client, signed(body), body).status_code == 400
    assert stored() == []


def test_what_the_meter_dropped_is_told_to_the_operators(keys, client):
    body = json.dumps(
        {
            "id": "evt_thin_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
            "created": "2026-11-28T09:00:00.000Z",
            "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
        }
    )  # fmt: skip
    assert post(client, signed(body), body).status_code == 202
    [kept] = stored()
    assert kept.object_id == "mtr_1"
    with structlog.testing.capture_logs() as lines:
        assert stripe_events.handle(kept.pk) == "kept"
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["stripe_dropped_usage"]


def test_a_secret_that_is_being_rolled_passes(keys, client):
    now = int(time.time())
    old = signed(secret="whsec_old", at=now).partition("v1=")[2]
    assert post(client, f"{signed(at=now)},v1={old}").status_code == 202


def test_endpoints_may_have_secrets_of_their_own(keys, client, monkeypatch):
    monkeypatch.setattr(settings, "STRIPE_WEBHOOK_SECRET", f"{SECRET},whsec_of_another")
    assert post(client, signed(secret="whsec_of_another")).status_code == 202
    assert post(client, signed(secret="whsec_of_nobody")).status_code == 400


def test_it_is_stored_before_it_is_answered_and_once(keys, client):
    for _ in range(3):
        assert post(client, signed()).status_code == 202
    [event] = stored()
    assert (event.event_id, event.posts, event.state, event.tries) == ("evt_1", 3, "new", 0)
    assert event.body == BODY


def test_without_keys_nothing_is_taken(committed, client, monkeypatch):
    monkeypatch.setattr(settings, "STRIPE_WEBHOOK_SECRET", "")
    assert post(client, signed()).status_code == 400
    assert stored() == []


def test_what_is_too_large_is_refused(keys, client):
    body = BODY + " " * 1024 * 1024
    assert post(client, signed(body), body).status_code == 413
    assert stored() == []


def test_an_unknown_kind_is_kept(keys, client):
    body = BODY.replace("customer.subscription.updated", "tax.settings.updated")
    post(client, signed(body), body)
    [event] = stored()
    assert stripe_events.handle(event.pk) == "kept"
    assert stripe_events.due() == []


def test_a_customer_of_nobody_here_is_kept(double, committed, client):
    post(client, signed())
    [event] = stored()
    assert stripe_events.handle(event.pk) == "kept"


def test_a_customer_of_another_product_with_tenants_of_its_own_is_kept(rig):
    """In the same account at Stripe, and it calls its ids as we do."""
    v1 = rig.double.client().v1
    customer = v1.customers.create({"email": "a@b.example", "metadata": {"tenant_id": "42"}})
    product = v1.products.create({"name": "Consulting"})
    price = v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 0, "recurring": {"interval": "month"}}
    )
    v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    rig.deliver()
    assert {event.state for event in rig.events()} == {"kept"}


def test_what_fails_is_tried_again_for_two_days_and_then_shown(rig, client, monkeypatch):
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)
    rig.buy()
    rig.double.fault("error_before", path="/subscriptions")
    deliveries = [d for d in rig.fetch() if '"checkout.session.completed"' in d["body"]]
    rig.deliver(deliveries)
    [event] = rig.events()
    assert (event.state, event.tries) == ("new", 1)
    assert "StripeAway" in event.error
    assert stripe_events.due() == []  # not before its time
    began = rig.now()
    while event.state == "new":
        rig.advance(int((event.due_at - rig.now()).total_seconds()) + 1)
        rig.handle()
        [event] = rig.events()
    assert timedelta(hours=46) < rig.now() - began < timedelta(hours=50)
    assert (event.state, event.tries, rig.plan) == ("failed", stripe_events.MOST_TRIES, "free")
    rig.double.control("DELETE", "faults")
    stripe_events.replay(row=event, actor="staff:tests")
    rig.handle()
    [event] = rig.events()
    assert (event.state, event.tries, rig.plan) == ("done", 1, "pro")


def test_a_worker_that_dies_leaves_the_event_to_the_next(rig, monkeypatch):
    rig.buy()
    known = stripe_events.handlers.handle
    monkeypatch.setattr(stripe_events.handlers, "handle", _die)
    for delivery in rig.fetch():
        rig.post(delivery)
    for event_id in stripe_events.due():
        with pytest.raises(KeyboardInterrupt):
            stripe_events.handle(event_id)
    monkeypatch.setattr(stripe_events.handlers, "handle", known)
    assert stripe_events.due() == []
    rig.advance(stripe_events.LEASE.seconds + 1)
    rig.handle()
    assert rig.plan == "pro"


def _die(event):
    raise KeyboardInterrupt


def test_events_that_never_came_are_fetched(rig):
    rig.buy()
    lost = {delivery["event"] for delivery in rig.fetch()}
    assert stripe_events.fetch_undelivered() == len(lost)
    rig.handle()
    assert rig.plan == "pro"
    assert stripe_events.fetch_undelivered() == 0


def test_more_events_than_a_page_holds_are_fetched_all(rig):
    rig.buy("pro")
    v1 = rig.double.client().v1
    for number in range(110):
        v1.customers.update(rig.row.customer_id, {"name": str(number)})
    lost = {delivery["event"] for delivery in rig.fetch()}
    assert len(lost) > 110
    assert stripe_events.fetch_undelivered() == len(lost)
    rig.handle()
    assert rig.plan == "pro"


def test_an_event_that_cannot_be_held_hides_no_other(rig, monkeypatch):
    rig.buy("pro")
    lost = {delivery["event"] for delivery in rig.fetch()}
    known, odd = stripe_answers.told_of, min(lost)

    def told_of(event, body):
        return known(event | {"created": 10**18} if event["id"] == odd else event, body)

    monkeypatch.setattr(stripe_answers, "told_of", told_of)
    assert stripe_events.fetch_undelivered() == len(lost) - 1


def test_a_tenant_of_whom_nothing_was_heard_is_asked_about(rig):
    rig.buy("pro")
    rig.fetch()
    rig.double.control("POST", "hold_hooks", {"hold": True})
    assert subscriptions.stale() == []
    rig.advance(13 * 3600)
    with rig.clock():
        assert subscriptions.stale() == [rig.tenant.pk]
        tasks.catch_up()
        assert subscriptions.stale() == []
    assert rig.plan == "pro"


def test_a_tenant_whose_subscription_breaks_keeps_nobody_waiting(rig, monkeypatch):
    other = Rig(rig.double)
    for one in (other, rig):  # the other's turn comes first
        one.buy("pro")
        one.fetch()
    rig.advance(13 * 3600)
    known = stripe_gateway.subscriptions_of

    def breaks(customer_id):
        if customer_id == other.row.customer_id:
            raise KeyError("items")
        return known(customer_id)

    monkeypatch.setattr(stripe_gateway, "subscriptions_of", breaks)
    monkeypatch.setattr(stripe_gateway, "undelivered", lambda since: [])
    with rig.clock(), structlog.testing.capture_logs() as lines:
        assert subscriptions.stale() == [other.tenant.pk, rig.tenant.pk]
        tasks.catch_up()
    assert rig.plan == "pro"
    assert [(line["event"], line["tenant_id"]) for line in lines if line["log_level"] == "error"] == [
        ("subscription_broke", str(other.tenant.pk))
    ]


def test_stripe_is_never_asked_with_a_transaction_open(rig):
    from tenants.scope import tenant_scope

    with tenant_scope(rig.tenant), pytest.raises(RuntimeError, match="transaction"):
        stripe_gateway.subscriptions_of("cus_1")
