"""Buying, buying again, changing: one page at a time, one subscription at a time, and no plan that was not paid."""

import random
import threading
from datetime import timedelta

import pytest
import structlog
from django.db import connections

from billing import entries, periods, stripe_gateway
from billing.errors import CardRefused, StripeAway
from billing.models import Plan, Subscription, UsageEvent
from billing.operations import checkout, stripe_setup, subscriptions
from tenants.errors import Conflict
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tests.billing.stripe_rig import DAY, click
from tests.billing.test_stripe_life import pause, to_next_month
from tests.billing.test_stripe_metering import ledger, metered, settle_month, use, work
from tests.web.test_billing import signed_in, text_of


@pytest.fixture
def paying(rig):
    rig.buy("pro")
    rig.deliver()
    return rig


def edit_plan(slug, **fields):
    with ops_scope("tests"):
        Plan.objects.using(OPS_ALIAS).filter(slug=slug).update(**fields)


def start(rig, plan="pro", email=None):
    return checkout.buy(rig.tenant.pk, plan=plan, actor="user:tests", email=email or rig.owner.email)


def sessions(rig):
    rows = rig.double.control("GET", "state")["rows"]["checkout.session"].values()
    return sorted(row["status"] for row in rows)


def invoices(rig):
    found = rig.double.client().v1.invoices.list({"customer": rig.row.customer_id}).data
    return [(row.status, row.total) for row in found]


# --- Again
def test_who_had_a_dearer_plan_once_can_buy_again_and_again(rig):
    for plan in ("enterprise", "pro", "pro"):
        with rig.clock():
            rig.buy(plan)
        rig.deliver()
        assert (rig.plan, rig.row.status) == (plan, "active")
        rig.portal(act="cancel")
        to_next_month(rig)
        assert (rig.plan, rig.row.status) == ("free", "canceled")


def test_a_paid_checkout_that_nobody_saw_yet_is_waited_for(rig, monkeypatch):
    rig.buy("pro")
    monkeypatch.setattr(checkout, "sync", lambda tenant_id: None)
    with pytest.raises(Conflict, match="just paid"):
        start(rig)


# --- Two at once
def test_two_that_buy_at_once_get_one_page(rig, monkeypatch):
    checkout._with_customer(rig.tenant.pk, actor="user:tests", email=rig.owner.email)
    inside, go_on = threading.Event(), threading.Event()
    known = stripe_gateway.open_checkout

    def slow(*args, **kwargs):
        inside.set()
        assert go_on.wait(10)
        return known(*args, **kwargs)

    monkeypatch.setattr(stripe_gateway, "open_checkout", slow)
    first = []

    def buy():
        first.append(start(rig).url)
        connections.close_all()

    thread = threading.Thread(target=buy)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(Conflict, match="Somebody is changing the plan"):
        start(rig)
    go_on.set()
    thread.join()
    assert start(rig).url == first[0]
    assert sessions(rig) == ["open"]


def test_whoever_died_while_buying_keeps_others_out_for_two_minutes_and_leaves_no_open_page(rig):
    url = start(rig).url
    with tenant_scope(rig.tenant):  # before it was written down
        Subscription.objects.update(checkout_id="", buying_until=rig.now() + checkout.CLAIM)
    with pytest.raises(Conflict):
        start(rig)
    rig.advance(121)
    with rig.clock():
        other = start(rig).url
    assert other != url
    assert sessions(rig) == ["expired", "open"]


def test_a_page_ends_with_the_month_whose_rest_it_charges(rig):
    rig.advance(int((periods.bounds(rig.now().date().replace(day=1))[1] - rig.now()).total_seconds()) + 3_600)
    with rig.clock():
        first = start(rig).url
    rig.advance(22 * 3_600)
    assert "Pay with" in click(first)[1]
    rig.advance(3_601)
    assert "expired" in click(first)[1]
    end = periods.bounds(rig.now().date().replace(day=1))[1]
    for before, open_for in ((10 * 3_600, 10 * 3_600), (600, 32 * 60)):
        rig.advance(int((end - rig.now()).total_seconds()) - before)
        with rig.clock():
            page = start(rig).url
        rig.advance(open_for - 60)
        assert "Pay with" in click(page)[1]
        rig.advance(120)
        assert "expired" in click(page)[1]
        end = periods.bounds(rig.now().date().replace(day=1))[1]
    with rig.clock():
        assert start(rig).url != page


# --- The customer
def test_a_customer_that_was_made_without_an_answer_is_found_again(rig):
    rig.double.fault("error_after", count=1, path="/customers")
    with pytest.raises(StripeAway):
        start(rig)
    assert start(rig).url
    assert len(rig.double.control("GET", "state")["rows"]["customer"]) == 1


def test_another_admin_is_not_held_up_by_the_first_ones_lost_answer(rig):
    rig.double.fault("lost_after", count=1, path="/customers")
    with pytest.raises(StripeAway):
        start(rig)
    assert start(rig, email="second@tenant.example").url


# --- Another plan
def test_an_upgrade_whose_charge_fails_is_not_given_and_not_called_paid(paying):
    paying.card("0341")
    before = invoices(paying)
    with pytest.raises(CardRefused):
        paying.buy("enterprise")
    text = text_of(signed_in(paying.owner).post("/app/billing/plan/", {"plan": "enterprise"}, follow=True))
    assert "The card could not be charged" in text
    assert "is what you pay for now" not in text
    paying.deliver()
    assert (paying.plan, paying.row.status, invoices(paying)) == ("pro", "active", before)
    paying.card("4242")
    text = text_of(signed_in(paying.owner).post("/app/billing/plan/", {"plan": "enterprise"}, follow=True))
    assert "Enterprise is what you pay for now" in text
    assert paying.plan == "enterprise"


def test_a_cheaper_plan_is_not_invoiced_at_once_though_the_old_price_is_no_plans_any_more(rig, plans_stay):
    rig.buy("enterprise")
    rig.deliver()
    edit_plan("enterprise", price=1200)
    stripe_setup.set_up()
    rig.buy("pro")
    rig.deliver()
    assert rig.plan == "pro"
    assert len(invoices(rig)) == 1


# --- What else the customer has at Stripe
def test_a_subscription_of_something_else_competes_with_no_plan(paying):
    v1 = paying.double.client().v1
    product = v1.products.create({"name": "Consulting"})
    price = v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"}}
    )
    other = v1.subscriptions.create({"customer": paying.row.customer_id, "items": [{"price": price.id}]})
    with structlog.testing.capture_logs() as lines:
        paying.deliver()
    assert (paying.plan, paying.row.status) == ("pro", "active")
    assert paying.row.trouble == f"no plan has the price of {other.id}"
    assert "subscription_needs_somebody" in [line["event"] for line in lines if line["log_level"] == "error"]
    v1.subscriptions.cancel(paying.row.subscription_id)
    paying.deliver()
    assert (paying.plan, paying.row.status) == ("free", "canceled")
    assert {event.state for event in paying.events()} <= {"done", "kept"}


def test_a_subscription_that_bills_no_records_is_told_to_somebody(paying):
    """Made by hand, say, with the plan's price alone."""
    assert paying.row.trouble == ""
    state = stripe_gateway.subscriptions_of(paying.row.customer_id)[0]
    metered = next(item for item in state.items if item.metered)
    gone = {"items": [{"id": metered.id, "deleted": True}], "proration_behavior": "none"}
    paying.double.client().v1.subscriptions.update(state.id, gone)
    paying.deliver()
    price_id = paying.plans["pro"].stripe_overage_price_id
    assert paying.row.trouble == f"no records are billed by {state.id}: it lacks {price_id}"


def test_a_plans_subscription_whose_price_somebody_changed_goes_on_giving_it(paying):
    v1 = paying.double.client().v1
    item = next(
        item for item in stripe_gateway.subscriptions_of(paying.row.customer_id)[0].items if not item.metered
    )
    product = v1.products.create({"name": "Agreed"})
    price = v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"}}
    )
    v1.subscriptions.update(paying.row.subscription_id, {"items": [{"id": item.id, "price": price.id}]})
    paying.deliver()
    assert (paying.plan, paying.row.price_id) == ("pro", price.id)
    assert "no plan has the price" in paying.row.trouble
    pause(paying, "pause")
    assert paying.plan == "free"
    pause(paying, "resume")
    assert paying.plan == "pro"


def test_a_period_that_is_no_month_is_told_to_somebody(paying):
    to_next_month(paying)
    paying.advance(14 * DAY)
    paying.deliver()
    assert paying.row.trouble == ""
    pause(paying, "pause")
    pause(paying, "resume")
    assert "not with a month" in paying.row.trouble


# --- Grace
def test_an_old_unpaid_invoice_of_another_subscription_takes_no_grace(rig):
    with rig.clock():
        rig.buy("pro")
    rig.deliver()
    rig.card("0341")
    to_next_month(rig)
    rig.advance(20 * DAY)
    rig.deliver()
    assert rig.row.status == "canceled"
    rig.double.control("POST", "card", {"customer": rig.row.customer_id, "last4": "4242"})
    with rig.clock():
        rig.buy("pro")
    rig.deliver()
    rig.card("0341")
    to_next_month(rig)
    assert (rig.plan, rig.row.status) == ("pro", "past_due")
    assert rig.row.grace_until > rig.now() + timedelta(days=6)


def test_a_grace_ends_though_stripe_names_no_unpaid_invoice(paying, monkeypatch):
    paying.double.control("POST", "account", {"after_retries": "unpaid"})
    monkeypatch.setattr(stripe_gateway, "overdue_since", lambda customer_id: {})
    paying.card("0341")
    with paying.clock():
        to_next_month(paying)
    until = paying.row.grace_until
    for _ in range(2):
        paying.advance(5 * DAY)
        with paying.clock():
            subscriptions.sync(paying.tenant.pk)
        assert paying.row.grace_until == until
    assert paying.plan == "free"


def test_an_open_page_can_be_paid_by_nobody_once_another_was_opened(rig):
    first = start(rig, "pro").url
    second = start(rig, "enterprise").url
    assert "over" in click(first)[1]
    assert click(second, card="4242")[0] == 303


def test_a_page_that_is_paid_after_the_months_turn_costs_a_whole_month(rig):
    turn = checkout._next_month(rig.now())
    rig.advance(int((turn - rig.now()).total_seconds()) - 600)
    with rig.clock():
        page = start(rig).url
    rig.advance(1_200)
    click(page, card="4242")
    rig.deliver()
    assert invoices(rig) == [("paid", rig.plans["pro"].price * 100)]
    assert rig.row.period_end == checkout._next_month(turn)
    assert rig.row.trouble == ""


# --- Usage and another price
def overage(rig, plan, records):
    own = rig.plans[plan]
    return int(max(0, records - own.monthly_records) * own.overage_price * 100)


def usage_lines(rig):
    lines = stripe_gateway.metered_lines(rig.row.customer_id)
    return sorted((line.start, line.quantity, line.amount) for line in lines)


def test_what_was_used_before_a_change_is_charged_at_the_price_before(paying):
    use(paying, 300_000)
    paying.advance(120)
    paying.buy("enterprise")  # which has the meter told first
    paying.deliver()
    use(paying, 50_000)
    settle_month(paying)
    assert [line[1:] for line in usage_lines(paying)] == [
        (300_000, overage(paying, "pro", 300_000)), (50_000, 0),
    ]  # fmt: skip
    assert metered(paying) == ledger(paying) == 350_000


def test_the_lines_of_a_month_that_was_cut_in_two_lead_to_their_entries(paying):
    use(paying, 300_000)
    paying.advance(120)
    paying.buy("enterprise")
    paying.deliver()
    paying.advance(300)
    with tenant_scope(paying.tenant):
        UsageEvent.objects.create(
            key="record:later", kind="record", quantity=7, period=paying.now().date().replace(day=1),
            created_at=paying.now(),
        )  # fmt: skip
    settle_month(paying)
    lines = sorted(stripe_gateway.metered_lines(paying.row.customer_id), key=lambda line: line.start)
    with tenant_scope(paying.tenant):
        found = [sum(e.quantity for e in entries.of_line(line.start, line.end)) for line in lines]
    assert found == [line.quantity for line in lines] == [300_000, 7]


def test_a_change_in_the_hour_of_the_draft_bills_the_last_month_at_its_own_price(paying):
    use(paying, 300_000)
    work(paying)
    paying.advance(int((paying.row.period_end - paying.now()).total_seconds()) + 1_200)
    paying.buy("enterprise")
    paying.deliver()
    paying.advance(7_200)
    assert [line[1:] for line in usage_lines(paying)] == [(300_000, overage(paying, "pro", 300_000)), (0, 0)]


def test_nothing_is_changed_while_the_meter_does_not_know_all(paying):
    use(paying, 300_000)
    paying.advance(120)
    paying.double.fault("error_before", path="/meter_events")
    with pytest.raises(StripeAway, match="all usage"):
        paying.buy("enterprise")
    assert paying.plan == "pro"


def test_usage_of_the_minute_of_a_purchase_waits_for_one_that_is_billed(rig):
    """Told of the minute in which the subscription began, it would be told of a time before it."""
    rig.advance(75 - rig.now().second)  # a quarter past a minute
    rig.buy("pro")
    rig.deliver()
    use(rig, 300_000)
    with rig.clock(), pytest.raises(StripeAway, match="all usage"):
        rig.buy("enterprise")
    rig.advance(60)
    rig.buy("enterprise")
    rig.deliver()
    settle_month(rig)
    assert [line[1] for line in usage_lines(rig)] == [300_000, 0]


def test_a_plan_without_overage_bills_what_was_used_before_it(paying, plans_stay):
    with ops_scope("tests"):
        Plan.objects.using(OPS_ALIAS).create(
            slug="large",
            name="Large",
            requests_per_minute=100,
            monthly_records=1_000_000,
            price=500,
            position=7,
        )
    stripe_setup.set_up()
    use(paying, 300_000)
    paying.advance(120)
    try:
        paying.buy("large")
        paying.deliver()
        settle_month(paying)
        assert [line[1:] for line in usage_lines(paying)] == [(300_000, overage(paying, "pro", 300_000))]
    finally:
        with ops_scope("tests"):
            Plan.objects.using(OPS_ALIAS).filter(slug="large").delete()


def test_a_cheaper_plan_is_no_way_to_dear_records(rig):
    rig.buy("enterprise")
    rig.deliver()
    use(rig, 100_001)
    with pytest.raises(Conflict, match="100,001 records were used this month"):
        rig.buy("pro")
    text = text_of(signed_in(rig.owner).post("/app/billing/plan/", {"plan": "pro"}, follow=True))
    assert "includes 100,000" in text
    to_next_month(rig)
    rig.buy("pro")
    rig.deliver()
    assert rig.plan == "pro"
    rig.buy("enterprise")
    rig.deliver()
    with pytest.raises(Conflict, match="changed this month already"):
        rig.buy("pro")


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [5])
def test_every_record_is_on_one_line_whatever_plans_were_chosen_meanwhile(rig, seed):
    chance = random.Random(seed)
    rig.buy("pro")
    rig.deliver()
    changed = 0
    for _ in range(14):
        if rig.row.period_end - rig.now() < timedelta(days=7):
            settle_month(rig)
        use(rig, chance.choice([1, 999, 999, 5_000, 130_000]))
        rig.advance(chance.randint(24, 144) * 3_600)
        if chance.random() < 0.5:
            work(rig)
        try:
            rig.buy(chance.choice(["pro", "enterprise"]))
            changed += 1
        except Conflict:
            pass  # it is the plan, or a cheaper one that is not to be had
        rig.deliver()
    settle_month(rig)
    lines = stripe_gateway.metered_lines(rig.row.customer_id)
    by_price = {plan.stripe_overage_price_id: slug for slug, plan in rig.plans.items()}
    assert changed >= 2
    assert sum(line.quantity for line in lines) == metered(rig) == ledger(rig)
    assert [line.amount for line in lines] == [
        overage(rig, by_price[line.price_id], line.quantity) for line in lines
    ]
    assert {line.price_id for line in lines} == {
        rig.plans[slug].stripe_overage_price_id for slug in ("pro", "enterprise")
    }


def test_a_change_in_the_hour_of_the_months_draft_leaves_its_price(paying):
    use(paying, 300_000)
    work(paying)
    paying.advance(int((paying.row.period_end - paying.now()).total_seconds()) + 600)
    paying.buy("enterprise")
    paying.advance(7_200)
    paying.deliver()
    assert paying.plan == "enterprise"
    assert [line[1:] for line in usage_lines(paying)] == [(300_000, overage(paying, "pro", 300_000)), (0, 0)]


def test_a_change_whose_answer_was_lost_is_one_of_this_month(paying, monkeypatch):
    known = stripe_gateway.change_items

    def lost(*args, **kwargs):
        known(*args, **kwargs)
        raise StripeAway("Stripe does not answer now.")

    monkeypatch.setattr(stripe_gateway, "change_items", lost)
    with pytest.raises(StripeAway):
        paying.buy("enterprise")
    paying.deliver()
    assert paying.plan == "enterprise"
    with pytest.raises(Conflict, match="changed this month already"):
        paying.buy("pro")
