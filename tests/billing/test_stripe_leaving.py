"""A tenant that is erased: its last usage is billed, nothing is charged afterwards, and nothing about people is left."""

from datetime import timedelta

import pytest
import structlog
from django.conf import settings

from billing import stripe_gateway
from billing.models import MeterBatch, StripeEvent, Subscription, UsageEvent
from billing.operations import checkout, end_billing, stripe_events
from tenants.ids import uuid7
from tenants.operations.delete_tenant import close_tenant, erase
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tests.billing.stripe_rig import DAY, click
from tests.billing.test_stripe_metering import states, use, work

KEY = "sk_test_sandbox"


@pytest.fixture
def paying(rig):
    rig.buy("pro")
    rig.deliver()
    return rig


def close(rig):
    with tenant_scope(rig.tenant):
        close_tenant(actor="user:tests")


def halted(rig):
    """Whether billing lets go, and the errors that it told of."""
    with rig.clock(), structlog.testing.capture_logs() as lines:
        done = end_billing.halt(rig.tenant.pk)
    return done, [line for line in lines if line["log_level"] == "error"]


def subscribed(rig):
    return [row["status"] for row in rig.double.control("GET", "state")["rows"]["subscription"].values()]


def last_invoice(rig, customer_id):
    return rig.double.client().v1.invoices.list({"customer": customer_id}).data[0]


@pytest.mark.parametrize("on_the_minute", [False, True])
def test_a_tenant_that_goes_pays_what_it_used_and_no_more(rig, on_the_minute):
    rig.buy("pro")
    rig.deliver()
    customer_id = rig.row.customer_id
    with tenant_scope(rig.tenant):
        UsageEvent.objects.create(
            key=f"record:{uuid7()}", kind="record", quantity=100_500, period=rig.now().date().replace(day=1)
        )
        close_tenant(actor="user:tests")
    rig.double.fault("lost_before", count=1, path="/subscriptions")
    rig.advance(660 - rig.now().second if on_the_minute else 600)
    with rig.clock():
        assert end_billing.halt(rig.tenant.pk) is False  # Stripe is away: not yet
        assert erase(rig.tenant.pk) is not None
    v1 = rig.double.client().v1
    [subscription] = v1.subscriptions.list({"customer": customer_id, "status": "all"}).data
    assert subscription.status == "canceled"
    rig.advance(2 * 3600)
    last = v1.invoices.list({"customer": customer_id}).data[0]
    assert (last.status, last.total) == ("paid", 500)
    with ops_scope("tests"):
        assert not StripeEvent.objects.using(OPS_ALIAS).filter(tenant_id=rig.tenant.pk).exists()
        assert not Subscription.objects.using(OPS_ALIAS).exists()
        assert not MeterBatch.objects.using(OPS_ALIAS).exists()
    for delivery in rig.fetch():  # what Stripe says afterwards is about nobody
        rig.post(delivery)
    rig.handle()
    assert {event.state for event in rig.events()} == {"kept"}


def test_a_page_that_is_open_can_be_paid_no_more(rig):
    page = checkout.buy(rig.tenant.pk, plan="pro", actor="user:tests", email=rig.owner.email).url
    close(rig)
    assert erase(rig.tenant.pk) is not None
    assert "It is expired" in click(page, card="4242")[1]
    assert "subscription" not in rig.double.control("GET", "state")["rows"]


def test_what_is_paid_for_nobody_is_told_to_the_operators(rig, monkeypatch):
    """Somebody paid all the same: an administrator of the account reopened it, say."""
    page = checkout.buy(rig.tenant.pk, plan="pro", actor="user:tests", email=rig.owner.email).url
    customer_id = rig.row.customer_id
    close(rig)
    monkeypatch.setattr(stripe_gateway, "open_checkouts", lambda customer_id: [])
    assert erase(rig.tenant.pk) is not None
    click(page, card="4242")
    for delivery in rig.fetch():
        rig.post(delivery)
    with structlog.testing.capture_logs() as lines:
        rig.handle()
    found = [line for line in lines if line["event"] == "subscription_of_nobody"]
    assert {line["customer_id"] for line in found} == {customer_id}


def test_the_last_usage_is_waited_for(paying):
    customer_id = paying.row.customer_id
    use(paying, 100_500)
    paying.advance(600)
    close(paying)
    paying.double.fault("error_before", count=1, path="/meter_events")
    assert halted(paying) == (False, [])
    assert subscribed(paying) == ["active"]
    paying.advance(60)
    assert halted(paying) == (True, [])
    paying.advance(2 * 3600)
    assert last_invoice(paying, customer_id).total == 500


def test_what_was_told_of_a_coming_minute_is_waited_for(paying):
    customer_id = paying.row.customer_id
    paying.advance(600)
    use(paying, 100_500)
    work(paying)  # of the next minute, as always
    close(paying)
    assert halted(paying) == (False, [])
    assert subscribed(paying) == ["active"]
    paying.advance(62)
    assert halted(paying) == (True, [])
    paying.advance(2 * 3600)
    assert last_invoice(paying, customer_id).total == 500


def test_who_subscribed_in_the_last_minute_of_a_month_can_go_in_the_next(paying):
    end = paying.row.period_end
    use(paying, 5)
    with tenant_scope(paying.tenant):
        Subscription.objects.update(began_at=end - timedelta(seconds=20))
    paying.advance(int((end - paying.now()).total_seconds()) + 5 * DAY)
    close(paying)
    assert halted(paying) == (True, [])
    assert subscribed(paying) == ["canceled"]


def test_after_three_days_it_is_told_to_the_operators_and_holds_up_nobody(paying):
    customer_id = paying.row.customer_id
    use(paying, 7)
    close(paying)
    paying.double.fault("error_before", path="/billing/meter")
    assert halted(paying)[0] is False
    paying.advance(3 * DAY + 3600)
    done, errors = halted(paying)
    assert done is True
    assert [(line["event"], line["customer_id"], line["quantity"]) for line in errors] == [
        ("usage_not_billed", customer_id, 7)
    ]
    assert subscribed(paying) == ["canceled"]


def test_a_wrong_key_ends_nothing_and_loses_nothing(paying, monkeypatch):
    paying.double.fault("lost_before", count=1, path="/meter_events")
    use(paying, 42)
    work(paying)
    paying.advance(21 * 3600)  # the meter would be read first
    close(paying)
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", "pk_wrong")
    assert halted(paying) == (False, [])
    assert states(paying) == [("unsure", 42)]
    with tenant_scope(paying.tenant):
        MeterBatch.objects.update(state="sent")  # nothing is left to tell
    assert halted(paying) == (False, [])
    assert subscribed(paying) == ["active"]


def test_without_keys_who_goes_on_being_charged_is_told_to_the_operators(paying, monkeypatch):
    customer_id = paying.row.customer_id
    close(paying)
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", "")
    done, errors = halted(paying)
    assert done is True
    assert [(line["event"], line["customer_id"]) for line in errors] == [
        ("subscription_not_ended", customer_id)
    ]


def test_no_event_that_names_a_person_is_left(paying):
    assert any(paying.owner.email in event.body for event in paying.events() if event.state == "done")
    assert not any(paying.owner.email in event.body for event in paying.events() if event.state == "kept")
    close(paying)
    assert erase(paying.tenant.pk) is not None
    assert paying.events() == []
    for delivery in paying.fetch():  # of the end
        paying.post(delivery)
    paying.handle()
    assert {event.state for event in paying.events()} == {"kept"}
    assert not any(paying.owner.email in event.body for event in paying.events())


def test_what_was_kept_can_be_handled_once_it_is_known(rig, monkeypatch):
    """As after a release that handles more kinds."""
    rig.buy("pro")
    kinds = dict(stripe_events.handlers.KINDS)
    stripe_events.handlers.KINDS.clear()
    try:
        rig.deliver()
    finally:
        stripe_events.handlers.KINDS.update(kinds)
    assert rig.plan == "free"
    event = next(event for event in rig.events() if event.type == "checkout.session.completed")
    stripe_events.replay(row=event, actor="staff:tests")
    rig.handle()
    assert rig.plan == "pro"
