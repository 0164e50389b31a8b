"""Usage that meets a wrong key, a meter that is gone or slow, a minute that is taken: it waits, and is billed once."""

from datetime import timedelta
from typing import Any, cast

import pytest
import structlog
from django.conf import settings
from django.urls import reverse

from billing import limits, queries, reconcile, stripe_gateway, tasks
from billing.models import MeterBatch, Plan, Subscription
from billing.operations import metering, plans, stripe_setup, telling
from tenants.models import AuditEvent
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tests.billing.stripe_rig import Rig
from tests.billing.usage import batches, ledger, metered, settle_month, states, use, work

KEY = "sk_test_sandbox"
HOUR = 3_600


def test_a_wrong_key_makes_usage_wait_and_no_more(paying, monkeypatch):
    use(paying, 42)
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", "pk_wrong")
    work(paying)
    assert states(paying) == [("unsure", 42)]
    assert "AuthenticationError" in batches(paying)[0].answer
    paying.advance(21 * HOUR)  # and now it would look, with a key that may not
    work(paying)
    assert states(paying) == [("unsure", 42)]
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", KEY)
    work(paying, 5)
    assert states(paying) == [("sent", 42)]
    assert metered(paying) == 42


def test_a_meter_that_is_gone_makes_usage_wait(paying):
    [meter] = paying.double.control("GET", "state")["rows"]["billing.meter"].values()
    use(paying, 42)
    _meter(paying, meter["id"], "deactivate")
    work(paying)
    assert states(paying) == [("unsure", 42)]
    _meter(paying, meter["id"], "reactivate")
    work(paying, 3)
    assert states(paying) == [("sent", 42)]


def _meter(rig, meter_id, verb):
    rig.double.client().raw_request("post", f"/v1/billing/meters/{meter_id}/{verb}")


def test_what_was_refused_is_sent_again_by_somebody_and_counted_once(paying, console):
    customer = paying.row.customer_id
    _as_customer(paying, "")
    use(paying, 9)
    work(paying, 3)
    assert states(paying) == [("refused", 9)]
    _as_customer(paying, customer)
    [batch] = batches(paying)
    page = reverse("admin:billing_meterbatch_send_again", args=[batch.pk])
    assert "meter is read before anything is sent" in console.get(page).content.decode()
    console.post(page)
    work(paying, 3)
    assert states(paying) == [("sent", 9)]
    assert metered(paying) == 9
    with tenant_scope(paying.tenant):
        assert AuditEvent.objects.filter(verb="billing.usage_sent_again").count() == 1


def test_what_was_refused_and_is_there_is_not_sent_again(paying):
    use(paying, 9)
    work(paying)
    with tenant_scope(paying.tenant):
        MeterBatch.objects.update(state="refused")
        telling.send_again(row=batches(paying)[0], actor="staff:tests")
    paying.double.control("POST", "forget_keys", {})
    work(paying, 3)
    assert [(b.state, b.answer) for b in batches(paying)] == [("sent", "found in the meter")]
    assert metered(paying) == 9


def _as_customer(rig, customer_id):
    with tenant_scope(rig.tenant):
        Subscription.objects.update(customer_id=customer_id)


# --- One that fails, and the others
@pytest.fixture
def neighbour(paying):
    """Another tenant that pays, whose customer Stripe does not know any more; it is looked at first."""
    other = Rig(paying.double)
    other.elapsed = paying.elapsed
    other.buy("pro")
    other.deliver()
    use(other, 7)
    return other


def test_a_batch_that_cannot_be_looked_up_keeps_nobody_waiting(paying, neighbour, monkeypatch):
    paying.double.fault("lost_before", count=1, path="/meter_events")
    work(neighbour)
    assert states(neighbour) == [("unsure", 7)]
    neighbour.advance(21 * HOUR)
    paying.elapsed = neighbour.elapsed
    known = stripe_gateway.usage_between

    def unknown(customer_id, *times):
        if customer_id == neighbour.row.customer_id:
            raise stripe_gateway.StripeRefused("No such customer")
        return known(customer_id, *times)

    monkeypatch.setattr(stripe_gateway, "usage_between", unknown)
    use(paying, 42)
    work(paying)
    assert states(neighbour) == [("unsure", 7)]
    assert batches(neighbour)[0].answer == "No such customer"
    assert metered(paying) == 42


@pytest.mark.parametrize(("module", "broken"), [(metering, "collect"), (telling, "send")])
def test_a_tenant_whose_usage_breaks_keeps_nobody_waiting(paying, neighbour, monkeypatch, module, broken):
    known = getattr(module, broken)

    def breaks(tenant_id, *args, **kwargs):
        if tenant_id == neighbour.tenant.pk:
            raise KeyError("broken")
        return known(tenant_id, *args, **kwargs)

    use(paying, 42)
    monkeypatch.setattr(metering, "untold", lambda: [neighbour.tenant.pk, paying.tenant.pk])
    monkeypatch.setattr(module, broken, breaks)
    with structlog.testing.capture_logs() as lines, paying.clock():
        tasks.meter()
    assert metered(paying) == 42
    assert [line["tenant_id"] for line in lines if line["log_level"] == "error"] == [str(neighbour.tenant.pk)]


def test_a_customer_that_is_gone_hides_no_other_from_the_comparison(paying, neighbour, monkeypatch):
    use(paying, 42)
    work(paying)
    with tenant_scope(paying.tenant):
        MeterBatch.objects.update(quantity=50)
    paying.advance(2 * HOUR)
    neighbour.elapsed = paying.elapsed
    known, gone = stripe_gateway.usage_between, neighbour.row.customer_id

    def between(customer_id, *times):
        if customer_id == gone:
            raise stripe_gateway.StripeRefused("No such customer")
        return known(customer_id, *times)

    monkeypatch.setattr(stripe_gateway, "usage_between", between)
    monkeypatch.setattr(metering, "metered_tenants", lambda: [neighbour.tenant.pk, paying.tenant.pk])
    with structlog.testing.capture_logs() as lines, paying.clock():
        tasks.compare_usage()
    found = {
        line["tenant_id"]: line["metered"] for line in lines if line["event"] == "usage_differs_from_stripe"
    }
    assert found == {str(neighbour.tenant.pk): None, str(paying.tenant.pk): 42}


def test_an_older_month_is_compared_when_it_is_asked_for(paying):
    month = paying.now().date().replace(day=1)
    use(paying, 42)
    work(paying)
    with tenant_scope(paying.tenant):
        MeterBatch.objects.update(quantity=50)
    paying.advance(70 * 24 * HOUR)
    with paying.clock():
        assert reconcile.differences() == []
        [found] = reconcile.differences(only=month)
    assert (found.period, found.told, found.metered) == (month, 50, 42)


# --- Minutes
def test_two_batches_in_the_minute_of_the_purchase_are_both_billed(paying):
    """The clock here stands in the minute in which the subscription began."""
    began = paying.row.began_at

    for quantity in (100_000, 50_000, 1):
        use(paying, quantity)
        work(paying)
    minutes = [batch.at for batch in batches(paying)]
    assert len(set(minutes)) == 3
    assert min(minutes) > began
    settle_month(paying)
    [last] = [i for i in _invoices(paying) if i.billing_reason == "subscription_cycle"]
    assert last.total == paying.plans["pro"].price * 100 + 50_001


def test_who_finds_no_minute_free_waits_for_the_next(paying):
    for _ in range(6):
        use(paying, 10)
        work(paying)
    assert len(states(paying)) == 4  # Stripe takes no later ones
    paying.advance(300)
    work(paying)
    assert metered(paying) == 60


def _invoices(rig):
    return rig.double.client().v1.invoices.list({"customer": rig.row.customer_id}).data


# --- Taking back
def test_while_a_batch_is_being_taken_back_no_other_is(paying):
    for _ in range(5):
        use(paying, 100)
        work(paying)
        paying.advance(120)
    use(paying, -1)
    paying.double.fault("error_before", path="/meter_event_adjustments")
    for _ in range(4):
        work(paying)
        paying.advance(60)
    assert [state for state, _ in states(paying)].count("retract") == 1
    paying.double.control("DELETE", "faults")
    work(paying, 4)
    assert metered(paying) == ledger(paying) == 499


def test_a_cancelling_whose_answer_was_lost_is_believed_once_the_meter_shows_it(paying):
    use(paying, 100)
    work(paying)
    paying.advance(600)
    paying.double.control("POST", "account", {"meter_lag": 300})
    use(paying, -100)
    paying.double.fault("lost_after", count=1, path="/meter_event_adjustments")
    work(paying)
    paying.advance(60)
    work(paying)  # it was cancelled already, says Stripe, and its sums are of before
    assert states(paying) == [("retract", 100)]
    use(paying, 30)
    for _ in range(8):
        paying.advance(900)
        work(paying)
    assert ("retracted", 100) in states(paying)
    assert metered(paying) == ledger(paying) == 30


# --- What is agreed
def agree(rig, **changes: Any):
    with tenant_scope(rig.tenant):
        plans.override_plan(
            actor="ops:tests",
            reason="agreed",
            expires_at=rig.now() + timedelta(days=400),
            changes=cast(plans.OverriddenLimits, changes),
        )


def over(rig):
    """What the pages say is billed beyond the plan."""
    limits.forget()
    with tenant_scope(rig.tenant):
        return queries.usage(rig.now().date().replace(day=1)).quota.records_over


def renewed_for(rig):
    """Cents beside the base price of the invoice that billed the month."""
    settle_month(rig)
    [last] = [i for i in _invoices(rig) if i.billing_reason == "subscription_cycle"]
    return last.total - rig.plans["pro"].price * 100


def test_records_that_were_agreed_on_are_not_billed(paying):
    agree(paying, monthly_records=200_000)
    use(paying, 150_000)
    work(paying)
    assert over(paying) == 0
    use(paying, 100_000)
    work(paying)
    assert over(paying) == 50_000
    assert metering.untold_of(paying.tenant.pk) == 0
    assert renewed_for(paying) == 50_000 * 1
    with paying.clock():
        tasks.compare_usage()  # nor later
        assert reconcile.differences() == []
    assert paying.row.agreed[f"{batches(paying)[0].period:%Y-%m}"] == 100_000


def test_an_agreement_counts_for_the_month_in_which_it_ends(paying):
    agree(paying, monthly_records=200_000)
    use(paying, 150_000)
    work(paying)
    with tenant_scope(paying.tenant):
        plans.end_override(actor="ops:tests")
    work(paying)
    assert renewed_for(paying) == 0
    use(paying, 150_000)
    work(paying)
    assert metering.untold_of(paying.tenant.pk) == 0
    assert metered(paying) == 50_000 + 150_000


def test_a_plan_that_includes_more_than_the_price_bills_no_more_than_pages_say(paying, plans_stay):
    with ops_scope("tests"):
        Plan.objects.using(OPS_ALIAS).filter(slug="pro").update(monthly_records=200_000)
    stripe_setup.set_up()  # who subscribed before goes on with its price
    use(paying, 150_000)
    work(paying)
    assert over(paying) == 0
    assert renewed_for(paying) == 0
