"""Stripe that takes calls and answers none: workers and pages do not wait for it, and go on once it answers."""

from datetime import timedelta

import pytest

from billing import stripe_gateway
from billing.errors import StripeAway, StripeRefused
from billing.models import MeterBatch
from billing.operations import subscriptions, telling
from billing.stripe_silence import IN_A_ROW, PAUSE
from tenants.scope import tenant_scope
from tests.billing.usage import states

pytestmark = pytest.mark.usefixtures("impatient")


def many_batches(rig, number):
    now = rig.now().replace(second=0, microsecond=0)
    with tenant_scope(rig.tenant):
        MeterBatch.objects.bulk_create(
            MeterBatch(
                tenant_id=rig.tenant.pk, identifier=f"weir-{n}", period=now.date().replace(day=1),
                at=now - timedelta(minutes=n), quantity=1,
            )
            for n in range(number)
        )  # fmt: skip


def hung(rig):
    return sum(rig.double.control("GET", "state")["struck"].values())


def test_a_beat_of_the_meter_waits_for_two_calls_however_many_batches_there_are(paying):
    many_batches(paying, 12)
    paying.double.fault("hang_before", path="/meter_events")
    with paying.clock():
        assert [telling.send_due(), telling.send_due()] == [IN_A_ROW, 0]
        subscriptions.sync(paying.tenant.pk)  # which is asked of others
    assert hung(paying) == IN_A_ROW
    assert sorted(state for state, _ in states(paying)) == ["due"] * (12 - IN_A_ROW) + ["unsure"] * IN_A_ROW
    paying.double.control("DELETE", "faults")
    paying.advance(int(PAUSE.total_seconds()) + 60)
    with paying.clock():
        assert telling.send_due() == 12
    assert {state for state, _ in states(paying)} == {"sent"}


def test_while_it_is_silent_nobody_waits_and_one_tries_after_the_pause(paying):
    paying.double.fault("lost_before", path="/v1/")
    with paying.clock():
        for _ in range(5):
            with pytest.raises(StripeAway):
                subscriptions.sync(paying.tenant.pk)
    assert hung(paying) == IN_A_ROW
    paying.advance(int(PAUSE.total_seconds()) + 1)
    with paying.clock():
        assert stripe_gateway.SILENCE.may_call()
        assert not stripe_gateway.SILENCE.may_call()  # somebody else, while that one waits
    paying.advance(int(PAUSE.total_seconds()) + 1)
    paying.double.control("DELETE", "faults")
    with paying.clock():
        with pytest.raises(StripeRefused):
            stripe_gateway.checkout("cs_of_nobody")  # an answer, too
        subscriptions.sync(paying.tenant.pk)
    assert not stripe_gateway.SILENCE


@pytest.mark.parametrize("fault", ["error_before", "rate_limit"])
def test_who_answers_that_it_fails_is_not_silent(paying, fault):
    paying.double.fault(fault, path="/v1/")
    with paying.clock():
        for _ in range(4):
            with pytest.raises(StripeAway):
                subscriptions.sync(paying.tenant.pk)
    assert hung(paying) == 4
