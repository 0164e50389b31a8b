"""What stands around a subscription: setting up an account, a tenant that goes, whoever is told of a change."""

import time
from decimal import Decimal

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from billing.checks import check_keys
from billing.errors import UnknownPlan
from billing.models import Plan, Subscription
from billing.operations import checkout, plans, stripe_setup
from tenants import signals
from tenants.errors import InvalidInput
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope


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


def test_prices_of_an_earlier_release_learn_what_they_include(rig):
    price_id = rig.plans["pro"].stripe_overage_price_id
    v1 = rig.double.client().v1
    assert v1.prices.retrieve(price_id).metadata["includes"] == "100000"
    v1.prices.update(price_id, {"metadata": {"includes": ""}})
    assert "includes" not in v1.prices.retrieve(price_id).to_dict()["metadata"]
    stripe_setup.set_up()
    assert v1.prices.retrieve(price_id).metadata["includes"] == "100000"


def test_an_endpoint_listens_to_what_is_handled_in_our_version(rig, capsys):
    call_command("stripe_setup", webhook="https://weir.example/hooks/stripe")
    assert "STRIPE_WEBHOOK_SECRET=whsec_" in capsys.readouterr().out
    found = rig.double.client().v1.webhook_endpoints.list().data[0]
    assert found.api_version == "2026-10-28.endive"
    assert {"invoice.paid", "customer.subscription.paused", "charge.dispute.created"} <= set(
        found.enabled_events
    )


def test_the_documented_switching_on_needs_the_key_alone(rig, capsys, monkeypatch):
    monkeypatch.setattr(settings, "STRIPE_WEBHOOK_SECRET", "")
    assert [found.id for found in check_keys(None)] == ["billing.W001"]
    call_command("stripe_setup", webhook="https://weir.example/hooks/stripe")
    assert "STRIPE_WEBHOOK_SECRET=whsec_" in capsys.readouterr().out


def test_an_endpoint_is_made_once(rig, capsys):
    for _ in range(2):
        call_command("stripe_setup", webhook="https://weir.example/hooks/stripe")
    found = rig.double.client().v1.webhook_endpoints.list().data
    assert [one.url for one in found].count("https://weir.example/hooks/stripe") == 1
    assert "with the secret that it was made with" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["stripe_setup", "reconcile_usage"])
def test_commands_say_that_the_key_is_wrong(rig, monkeypatch, command):
    rig.buy("pro")
    rig.deliver()
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", "pk_wrong")
    with pytest.raises(CommandError, match="key of ours"):
        call_command(command)


@pytest.mark.parametrize(
    ("currency", "price", "units"), [("USD", "99.50", 9_950), ("JPY", "9900", 9_900), ("EUR", "10", 1_000)]
)
def test_prices_are_in_the_units_of_their_currency(rig, plans_stay, currency, price, units):
    _edit_pro(currency=currency, price=price, overage_price="0.01")
    stripe_setup.set_up()
    plan = Plan.objects.get(slug="pro")
    v1 = rig.double.client().v1
    found = v1.prices.retrieve(plan.stripe_price_id)
    assert (found.currency.upper(), found.unit_amount) == (currency, units)
    tiers = v1.prices.retrieve(plan.stripe_overage_price_id, {"expand": ["tiers"]}).tiers
    assert Decimal(tiers[1].unit_amount_decimal) == (1 if units != 9_900 else Decimal("0.01"))


@pytest.mark.parametrize(("currency", "price"), [("KWD", "10"), ("UGX", "10"), ("JPY", "99.50")])
def test_a_price_that_its_currency_cannot_have_is_refused(rig, plans_stay, currency, price):
    _edit_pro(currency=currency, price=price)
    with pytest.raises(InvalidInput, match="Pro:"):
        stripe_setup.set_up()


def test_a_plan_that_costs_nothing_any_more_is_not_sold(rig, plans_stay):
    _edit_pro(price=0)
    assert stripe_setup.set_up() == ["Pro: not for sale"]
    with pytest.raises(UnknownPlan):
        rig.buy("pro")


def _edit_pro(**fields):
    with ops_scope("tests"):
        Plan.objects.using(OPS_ALIAS).filter(slug="pro").update(**fields)


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
