"""From the ledger to the meter: whatever fails in between, each record is told once, in the month that it counts in."""

from datetime import timedelta

import pytest
import structlog

from billing import entries, stripe_gateway, tasks
from billing.operations import metering
from integrations.sandbox.stripe import faults
from tenants.scope import tenant_scope
from tests.billing.stripe_rig import DAY
from tests.billing.usage import batches, cents, ledger, metered, settle_month, states, use, work
from tests.factories import connect_all, make_run
from workflows.operations.cancel import cancel_waiting
from workflows.operations.control_run import cancel_run


def test_what_the_ledger_has_is_told_once(paying):
    use(paying, 30)
    use(paying, 12)
    use(paying, 5, livemode=False)
    use(paying, 7, kind="attempt")
    work(paying, 3)
    assert states(paying) == [("sent", 42)]
    assert metered(paying) == 42
    use(paying, 1)
    work(paying, 2)
    assert states(paying) == [("sent", 42), ("sent", 1)]
    assert metered(paying) == 43


def test_a_run_that_is_accepted_is_told_by_the_next_beat(paying):
    connect_all(paying.tenant)
    run = make_run(paying.tenant, 3)
    make_run(paying.tenant, 2, livemode=False)
    assert metering.untold() == [paying.tenant.pk]
    tasks.meter()
    assert metered(paying) == 3
    assert metering.untold() == []
    with tenant_scope(paying.tenant):
        cancel_run(run_id=run.pk, actor="user:tests")
    cancel_waiting(paying.tenant.pk, run.pk)
    assert metering.untold() == [paying.tenant.pk]
    tasks.meter()
    tasks.meter()
    assert metered(paying) == 0


def test_who_pays_nothing_is_not_metered(rig):
    use(rig, 10)
    assert metering.metered_tenants() == []
    assert metering.collect(rig.tenant.pk) == 0


@pytest.mark.parametrize("fault", sorted(kind for kind in faults.KINDS if not kind.startswith("hooks_")))
def test_a_fault_costs_time_and_no_unit(paying, impatient, fault):
    paying.double.fault(fault, count=3, path="/meter_events")
    use(paying, 42)
    work(paying, 5)
    assert states(paying) == [("sent", 42)]
    assert metered(paying) == 42


def test_after_20_hours_without_an_answer_nothing_is_sent_before_the_meter_was_read(paying):
    paying.double.fault("lost_after", count=1, path="/meter_events")
    use(paying, 42)
    work(paying)
    assert states(paying) == [("unsure", 42)]
    paying.double.control("POST", "forget_keys", {})
    paying.advance(25 * 3600)  # by now Stripe may have forgotten the identifier
    work(paying)
    [batch] = batches(paying)
    assert batch.state == "sent"
    assert "found in the meter" in batch.answer
    assert metered(paying) == 42


def test_what_never_arrived_is_sent_again_once_the_meter_was_read(paying):
    paying.double.fault("lost_before", count=1, path="/meter_events")
    use(paying, 42)
    work(paying)
    paying.advance(21 * 3600)
    work(paying)
    assert [(batch.state, batch.answer) for batch in batches(paying)] == [("due", "never arrived")]
    assert metered(paying) == 0
    work(paying)
    assert states(paying) == [("sent", 42)]
    assert metered(paying) == 42


def test_b4_thirty_hours_without_stripe_lose_and_double_nothing_and_are_told(paying, monkeypatch):
    paying.double.fault("lost_before", rate=0.5, path="/v1/billing")
    paying.double.fault("error_after", rate=0.5, path="/meter_events")
    paying.double.fault("lost_before", path="/v1/billing")
    for _ in range(10):
        use(paying, 21)
        work(paying)
        paying.advance(3 * 3600)
    with structlog.testing.capture_logs() as lines, paying.clock():
        tasks.meter()
    assert "usage_waits_for_stripe" in [line["event"] for line in lines if line["log_level"] == "error"]
    paying.double.control("DELETE", "faults")
    paying.double.control("POST", "forget_keys", {})
    work(paying, 4)
    assert {state for state, _ in states(paying)} == {"sent"}
    assert metered(paying) == ledger(paying) == 210


def test_records_that_are_given_back_are_taken_back_from_the_meter(paying):
    use(paying, 40)
    work(paying)
    use(paying, -15)
    work(paying, 3)
    assert metered(paying) == 25
    assert states(paying) == [("retracted", 40), ("sent", 25)]
    use(paying, 10)
    use(paying, -10)
    work(paying, 2)
    assert metered(paying) == 25


def test_what_was_never_tried_is_not_told_at_all(paying):
    use(paying, 40)
    with paying.clock():
        metering.collect(paying.tenant.pk)
        use(paying, -40)
        metering.collect(paying.tenant.pk)
    work(paying, 2)
    assert states(paying) == [("retracted", 40)]
    assert metered(paying) == 0


def test_late_records_of_the_last_month_are_told_in_that_month(paying):
    end = paying.row.period_end
    paying.advance(int((end - paying.now()).total_seconds()) + 1200)
    last = (end - timedelta(days=1)).date().replace(day=1)
    use(paying, 9, period=last)
    use(paying, 4)
    work(paying, 2)
    customer = paying.row.customer_id
    assert stripe_gateway.usage_between(customer, end - timedelta(days=28), end) == 9
    assert stripe_gateway.usage_between(customer, end, end + timedelta(days=28)) == 4


def test_what_arrives_after_the_invoice_is_told_all_the_same(paying):
    last = paying.now().date().replace(day=1)
    settle_month(paying)
    use(paying, 9, period=last)
    with structlog.testing.capture_logs() as lines:
        work(paying)
    assert metered(paying) == 9
    assert [batch.answer for batch in batches(paying)] == ["after its month's invoice was final"]
    assert "usage_after_invoice" in [line["event"] for line in lines]


def test_what_is_too_old_for_the_meter_is_shown_to_somebody(paying):
    use(paying, 9)
    with paying.clock():
        metering.collect(paying.tenant.pk)
    paying.advance(36 * DAY)
    with structlog.testing.capture_logs() as lines:
        work(paying)
    assert states(paying) == [("too_late", 9)]
    assert "usage_not_told" in [line["event"] for line in lines if line["log_level"] == "error"]


def test_what_stripe_refuses_is_shown_to_somebody_and_told_by_no_other(paying):
    with tenant_scope(paying.tenant):
        type(paying.row).objects.update(customer_id="")
    use(paying, 9)
    work(paying, 3)
    assert states(paying) == [("refused", 9)]


# --- Invoices and their entries
def check_invoices(rig):
    """Every line that bills usage: its entries are found by one query, and its cents are our own."""
    lines = stripe_gateway.metered_lines(rig.row.customer_id)
    for line in lines:
        with tenant_scope(rig.tenant):
            found = entries.of_line(line.start, line.end)
        plan = rig.plans["pro"]
        assert sum(entry.quantity for entry in found) == line.quantity
        assert line.amount == cents(plan, line.quantity)
    return lines


def test_b5_a_line_leads_to_its_entries_by_one_query(paying, django_assert_num_queries):
    use(paying, 100_000)
    for _ in range(3):
        use(paying, 111)
        work(paying)
        paying.advance(120)
    settle_month(paying)
    [line] = check_invoices(paying)
    assert (line.quantity, line.amount) == (100_333, 333)
    with tenant_scope(paying.tenant), django_assert_num_queries(1):
        assert len(entries.of_line(line.start, line.end)) == 4


def test_what_was_used_before_the_first_purchase_is_on_its_line(rig):
    use(rig, 30)
    rig.advance(600)
    rig.buy("pro")
    rig.deliver()
    use(rig, 50)
    settle_month(rig)
    [line] = check_invoices(rig)
    assert line.quantity == 80


def test_reconciling_prints_every_difference_to_the_unit(paying):
    from billing import reconcile

    use(paying, 42)
    work(paying)
    with paying.clock():
        assert reconcile.differences() == []
    use(paying, 3)
    with paying.clock():
        [found] = reconcile.differences()
    assert (found.ledger, found.told, found.metered, found.off) == (45, 42, 42, 3)


def test_a_meter_that_lost_something_is_told_to_the_operators(paying):
    use(paying, 42)
    work(paying)
    v1 = paying.double.client().v1  # as nobody should
    v1.billing.meter_event_adjustments.create(
        {
            "event_name": stripe_gateway.METER_EVENT, "type": "cancel",
            "cancel": {"identifier": batches(paying)[0].identifier},
        }
    )  # fmt: skip

    def told():
        with structlog.testing.capture_logs() as lines, paying.clock():
            tasks.compare_usage()
        return [line for line in lines if line["event"] == "usage_differs_from_stripe"]

    assert told() == []  # it may be slow
    paying.advance(3700)
    [line] = told()
    assert (line["told"], line["metered"]) == (42, 0)
