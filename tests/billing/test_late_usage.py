"""What became known of a month after its invoice was final is on the next one: once, to the cent."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import structlog

from billing import stripe_gateway, tasks
from billing.models import Plan
from billing.operations import late_usage, stripe_setup
from billing.stripe_answers import LateCharge, MeteredLine, Rate, rate_of
from tenants.scope import OPS_ALIAS, ops_scope
from tests.billing.stripe_rig import DAY
from tests.billing.test_stripe_life import to_next_month
from tests.billing.usage import metered, settle_month, use, work

WITHIN = 100_000
"""What Pro includes; each record beyond it is a cent."""


@pytest.fixture
def month(paying):
    """A month that was charged for 100,007 records: its first day."""
    month = paying.now().date().replace(day=1)
    use(paying, WITHIN + 7)
    settle_month(paying)
    return month


def settle(rig):
    with rig.clock():
        return late_usage.settle(rig.tenant.pk)


def totals(rig):
    """Of the invoices that charged or credited, oldest first."""
    rows = rig.double.control("GET", "state")["rows"]["invoice"].values()
    return [row["total"] for row in rows if row["status"] != "draft"]


def test_what_was_charged_in_time_is_not_charged_again(paying, month):
    assert settle(paying) == []


def test_what_a_draft_will_still_have_is_not_charged_beside_it(paying):
    month = paying.now().date().replace(day=1)
    use(paying, WITHIN + 7)
    work(paying)
    paying.advance(int((paying.row.period_end - paying.now()).total_seconds()) + 1_200)
    use(paying, 9, period=month)
    [draft] = [i for i in paying.double.client().v1.invoices.list().data if i.status == "draft"]
    assert [line.quantity for line in draft.lines.data] == [1, WITHIN + 7]
    assert settle(paying) == []
    work(paying)
    paying.advance(3_600)
    assert settle(paying) == []
    assert totals(paying)[-1] == 9_900 + 16


def test_late_records_are_on_the_next_invoice(paying, month):
    use(paying, 150, period=month)
    work(paying, 2)
    assert metered(paying) == WITHIN + 157
    assert settle(paying) == [LateCharge(month, 150, 150)]
    assert settle(paying) == []
    use(paying, 3, period=month)
    assert settle(paying) == [LateCharge(month, 3, 3)]
    settle_month(paying)
    first, second = totals(paying)[-2:]
    assert (first, second) == (9_900 + 7, 9_900 + 153)
    assert settle(paying) == []


def test_records_given_back_after_the_invoice_are_credited(paying, month):
    use(paying, -5, period=month)
    assert settle(paying) == [LateCharge(month, -5, -5)]
    use(paying, -10, period=month)  # to below what the plan includes
    assert settle(paying) == [LateCharge(month, -10, -2)]
    settle_month(paying)
    assert totals(paying)[-1] == 9_900 - 7


def test_what_the_plan_includes_costs_nothing_late_either(paying):
    month = paying.now().date().replace(day=1)
    use(paying, 40)
    settle_month(paying)
    use(paying, 9, period=month)
    assert settle(paying) == []
    assert stripe_gateway.late_charges(paying.row.customer_id) == []


@pytest.mark.parametrize(
    "fault", ["error_before", "error_after", "lost_before", "lost_after", "hang_after", "hang_late"]
)
def test_a_fault_charges_nothing_twice(paying, impatient, month, fault):
    use(paying, 150, period=month)
    paying.double.fault(fault, count=1, path="/invoiceitems")
    paying.double.fault(fault, count=1, path="/invoiceitems")
    for _ in range(4):
        with paying.clock():
            tasks.compare_usage()
    assert sum(late.amount for late in stripe_gateway.late_charges(paying.row.customer_id)) == 150


def test_what_two_charged_at_once_is_credited(paying, month):
    use(paying, 150, period=month)
    row, twice = paying.row, LateCharge(month, 150, 150)
    for key in ("one", "another"):
        stripe_gateway.charge_late(
            row.customer_id, row.subscription_id, twice, currency="usd", text="late", key=key
        )
    assert settle(paying) == [LateCharge(month, -150, -150)]
    assert settle(paying) == []


def test_what_no_invoice_follows_is_shown_to_somebody(paying, month):
    stripe_gateway.cancel(paying.row.subscription_id)
    paying.deliver()
    use(paying, 150, period=month)
    with structlog.testing.capture_logs() as lines:
        assert settle(paying) == []
    [line] = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["records"], line["cents"]) == ("usage_not_charged", 150, 150)


# --- What is not of a line, and lines that are not seen at once
def test_prices_and_lines_that_fill_more_than_a_page_are_all_counted(paying, month):
    """What is not seen would be charged again."""
    v1 = paying.double.client().v1
    product = v1.products.create({"name": "Something else"})
    for number in range(101):
        v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": number})
    for _ in range(10):
        use(paying, 1, period=month)
        assert settle(paying) == [LateCharge(month, 1, 1)]
    later = paying.now().date().replace(day=1)
    use(paying, WITHIN + 5)
    settle_month(paying)
    assert totals(paying)[-1] == 9_900 + 10 + 5
    assert settle(paying) == []
    use(paying, 2, period=later)
    assert settle(paying) == [LateCharge(later, 2, 2)]


def test_charges_behind_a_page_of_other_items_are_not_made_again(paying, month):
    use(paying, 150, period=month)
    assert settle(paying) == [LateCharge(month, 150, 150)]
    v1, row = paying.double.client().v1, paying.row
    for _ in range(100):
        v1.invoice_items.create(
            {"customer": row.customer_id, "subscription": row.subscription_id, "amount": 1, "currency": "usd"}
        )
    assert settle(paying) == []


def test_usage_of_another_product_of_ours_is_none_of_records(paying, month):
    v1 = paying.double.client().v1
    meter = v1.billing.meters.create(
        {"display_name": "Pages", "event_name": "pages", "default_aggregation": {"formula": "sum"}}
    )
    product = v1.products.create({"name": "Pages"})
    price = v1.prices.create(
        {
            "product": product.id, "currency": "usd", "unit_amount": 3,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
        }
    )  # fmt: skip
    v1.subscriptions.update(
        paying.row.subscription_id, {"items": [{"price": price.id}], "proration_behavior": "none"}
    )
    v1.billing.meter_events.create(
        {"event_name": "pages", "payload": {"stripe_customer_id": paying.row.customer_id, "value": "7"}}
    )
    later = paying.now().date().replace(day=1)
    use(paying, WITHIN + 5)
    settle_month(paying)
    use(paying, 2, period=later)
    assert settle(paying) == [LateCharge(later, 2, 2)]


def test_what_was_used_before_the_subscription_began_anew_is_not_charged_late(paying):
    paying.portal(act="cancel")
    settle_month(paying)
    assert paying.plan == "free"
    paying.advance(3 * DAY)
    use(paying, 900)
    work(paying)
    paying.advance(3 * DAY)
    paying.buy("pro")
    paying.deliver()
    use(paying, WITHIN + 3)
    settle_month(paying)
    assert totals(paying)[-1] == 9_900 + 3
    assert settle(paying) == []


def test_what_was_used_on_a_plan_without_overage_is_not_charged_late(rig, plans_stay):
    with ops_scope("tests"):
        Plan.objects.using(OPS_ALIAS).create(
            slug="starter", name="Starter", requests_per_minute=100, monthly_records=5_000, price=20, position=1,
        )  # fmt: skip
    try:
        stripe_setup.set_up()
        rig.buy("starter")
        rig.deliver()
        rig.advance(600)
        use(rig, 5_000)
        rig.advance(2)
        rig.buy("pro")
        rig.deliver()
        use(rig, WITHIN + 3)
        settle_month(rig)
        assert totals(rig)[-1] == 9_900 + 3
        assert settle(rig) == []
    finally:
        with ops_scope("tests"):
            Plan.objects.using(OPS_ALIAS).filter(slug="starter").delete()


@pytest.mark.parametrize("last", [300, -10])
def test_usage_that_an_operator_ended_before_it_was_told_is_told_to_somebody(paying, last):
    to_next_month(paying)
    use(paying, WITHIN + 5)
    work(paying)
    paying.advance(600)
    use(paying, last)
    paying.advance(5)
    stripe_gateway.cancel(paying.row.subscription_id)
    paying.advance(60)
    paying.deliver()
    use(paying, 900)  # free
    work(paying)
    paying.advance(35 * DAY)
    with structlog.testing.capture_logs() as told:
        assert settle(paying) == []
    errors = [(entry["event"], entry["records"]) for entry in told if entry["log_level"] == "error"]
    assert errors == ([("usage_not_charged", last)] if last > 0 else [])


def test_usage_of_a_subscription_that_was_ended_unpaid_is_told_to_somebody(paying):
    paying.card("0341")
    settle_month(paying)
    use(paying, WITHIN + 300)
    work(paying)
    paying.advance(35 * DAY)  # out of tries: Stripe has ended it, and bills no usage
    paying.deliver()
    assert paying.row.status == "canceled"
    with structlog.testing.capture_logs() as told:
        assert settle(paying) == []
    [line] = [entry for entry in told if entry["log_level"] == "error"]
    assert (line["event"], line["records"]) == ("usage_not_charged", 300)


def line(first, last, *, price="price_1"):
    """Of December 2026, by days; one for each tier has the same invoice and price."""
    start, end = (datetime(2026, 12, 1, tzinfo=UTC) + timedelta(days=day) for day in (first, last))
    return MeteredLine("in_1", price, 60, 60, start, end)


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        ([line(0, 31)], 1),
        ([line(0, 31), line(0, 31)], 2),
        ([line(9, 31)], 1),
        ([line(0, 9), line(9, 31)], 2),
        ([line(0, 9)], 0),
        ([line(-30, 0), line(31, 62)], 0),
        ([], 0),
    ],
)
def test_the_lines_of_a_month_are_all_that_touch_it_once_they_reach_its_end(lines, number):
    assert len(late_usage.touching(lines, date(2026, 12, 1))) == number


def test_what_comes_late_of_a_month_on_two_invoices_is_of_the_second(paying):
    month = paying.now().date().replace(day=1)
    use(paying, 40)
    work(paying)
    paying.advance(2)
    stripe_gateway.cancel(paying.row.subscription_id)
    paying.deliver()
    paying.buy("pro")
    paying.deliver()
    settle_month(paying)
    assert len(late_usage.touching(stripe_gateway.metered_lines(paying.row.customer_id), month)) == 2
    use(paying, WITHIN + 150, period=month)  # the second's price includes as many again
    assert settle(paying) == [LateCharge(month, WITHIN + 150, 150)]
    assert settle(paying) == []


@pytest.mark.parametrize(
    ("written", "free", "found"),
    [
        ([7], 0, [7]), ([7, 5], 0, [7, 5]), ([7, -5], 0, [2, 0]), ([7, -5, 1], 0, [2, 0, 1]), ([7, 5, -6], 0, [6, 0, 0]),
        ([7, 5], 3, [4, 5]), ([7, 5], 9, [0, 3]), ([7, 5], 20, [0, 0]), ([7, -5], 1, [1, 0]), ([-1], 0, [0]),
    ],
)  # fmt: skip
def test_what_each_price_is_charged_for(written, free, found):
    assert late_usage.shares(written, free) == found


def test_what_is_given_back_after_a_change_of_plan_is_credited_at_the_price_before(paying):
    month = paying.now().date().replace(day=1)
    use(paying, WITHIN + 300)
    paying.advance(120)
    paying.buy("enterprise")
    paying.deliver()
    use(paying, -20)  # of what is on an invoice already
    work(paying, 3)
    assert metered(paying) == WITHIN + 300
    settle_month(paying)
    assert settle(paying) == [LateCharge(month, -20, -20)]
    assert settle(paying) == []


def test_what_was_used_between_two_subscriptions_of_a_month_is_nobodys_to_look_at(paying):
    to_next_month(paying)
    paying.deliver()
    use(paying, 40)
    work(paying)
    paying.advance(3 * DAY)
    stripe_gateway.cancel(paying.row.subscription_id)
    paying.deliver()
    paying.advance(600)
    use(paying, 300)  # free
    work(paying)
    paying.advance(3 * DAY)
    paying.buy("pro")
    paying.deliver()
    use(paying, 50)
    settle_month(paying)
    with structlog.testing.capture_logs() as told:
        assert settle(paying) == []
    assert [entry for entry in told if entry["log_level"] == "error"] == []


@pytest.mark.parametrize(
    ("quantity", "cents"), [(0, 0), (100, 0), (101, 1), (102, 3), (110, 14), (111, 15), (150, 50)]
)
def test_tiers_are_added_up_and_rounded_once(quantity, cents):
    rate = Rate("usd", ((100, Decimal(0)), (110, Decimal("1.37")), (None, Decimal("0.9"))))
    assert rate.cents(quantity) == cents


def test_a_price_without_tiers_is_one_for_each(paying):
    assert rate_of({"currency": "usd", "unit_amount_decimal": "0.5"}).cents(3) == 2


def test_our_reading_of_a_price_is_what_stripe_charges(paying, month):
    [line] = stripe_gateway.metered_lines(paying.row.customer_id)
    assert stripe_gateway.rate(line.price_id).cents(line.quantity) == line.amount == 7
