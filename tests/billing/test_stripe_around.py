"""What stands around a subscription: setting up an account, a tenant that goes, whoever is told of a change."""

import time

import pytest
from django.core.management import call_command

from billing.models import Plan, Subscription
from billing.operations import checkout, plans, stripe_setup
from tenants import signals
from tenants.scope import ops_scope, tenant_scope


def test_setting_up_twice_makes_nothing_twice(rig, capsys):
    state = rig.double.control("GET", "state")["rows"]
    call_command("stripe_setup")
    assert "Everything is there already." in capsys.readouterr().out
    assert stripe_setup.set_up() == []
    again = rig.double.control("GET", "state")["rows"]
    assert {kind: len(rows) for kind, rows in state.items()} == {
        kind: len(rows) for kind, rows in again.items()
    }
    assert len(again["price"]) == 4


def test_a_new_price_leaves_subscribers_their_plan(rig, plans_stay):
    rig.buy("pro")
    rig.deliver()
    was = rig.plans["pro"].stripe_price_id
    with ops_scope("tests"):
        Plan.objects.filter(slug="pro").update(price=149)
    assert len(stripe_setup.set_up()) == 1
    assert Plan.objects.get(slug="pro").stripe_price_id != was
    rig.deliver(rig.sent)
    assert (rig.plan, rig.row.price_id) == ("pro", was)


def test_an_endpoint_listens_to_what_is_handled_in_our_version(rig, capsys):
    call_command("stripe_setup", webhook="https://weir.example/hooks/stripe")
    assert "STRIPE_WEBHOOK_SECRET=whsec_" in capsys.readouterr().out
    found = rig.double.client().v1.webhook_endpoints.list().data[0]
    assert found.api_version == "2026-10-28.endive"
    assert {"invoice.paid", "customer.subscription.paused", "charge.dispute.created"} <= set(
        found.enabled_events
    )


def test_who_listens_is_told_of_a_plan_that_changed(rig):
    told = []

    def hear(*, name, data, key, **kwargs):
        told.append((name, data, bool(key)))

    signals.tenant_event.connect(hear)
    try:
        with tenant_scope(rig.tenant):
            plans.change_plan(plan="enterprise", actor="ops:tests", reason="agreed")
            plans.change_plan(plan="enterprise", actor="ops:tests", reason="agreed")
    finally:
        signals.tenant_event.disconnect(hear)
    assert told == [("plan.changed", {"from": "free", "to": "enterprise", "reason": "agreed"}, True)]


def test_a_customer_whose_maker_died_is_found_again(rig):
    """The customer was made at Stripe, and whoever made it died before writing it down."""
    rig.buy("pro")
    with tenant_scope(rig.tenant):
        Subscription.objects.all().delete()
    rig.deliver()
    assert (rig.plan, rig.row.status) == ("pro", "active")


@pytest.mark.chaos
def test_the_double_itself_delivers_to_a_real_server(committed, double, live_server, monkeypatch):
    """Sent by it, over a socket, twice and in any order; handled as workers do."""
    from tests.billing.stripe_rig import SECRET, Rig

    double.control("POST", "endpoint", {"url": f"{live_server.url}/hooks/stripe", "secret": SECRET})
    rig = Rig(double)
    double.fault("hooks_twice", rate=0.5)
    double.fault("hooks_reordered")
    double.control("POST", "hold_hooks", {"hold": False})
    rig.buy("pro")
    until = time.monotonic() + 20
    while rig.plan != "pro" and time.monotonic() < until:
        time.sleep(0.1)
        rig.handle()
    assert rig.plan == "pro"
    paid = checkout.returned(rig.tenant.pk, rig.row.checkout_id)
    assert paid
    assert paid.status == "complete"
