"""A tenant's life with Stripe, through the real SDK: sign up, upgrade, renew, card fails, recovers, downgrade, cancel."""

import os
import random
import threading
from datetime import datetime

import pytest
from django.conf import settings
from django.core import mail
from django.db import connections
from hypothesis import HealthCheck, given, note
from hypothesis import settings as tries
from hypothesis import strategies as st

from billing.limits import limits_of
from billing.operations import checkout, notices, plans, subscriptions
from tenants import mails
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.stripe_rig import DAY, MONTH, SECRET, Rig


def to_next_month(rig, days=0):
    """Let time go by to `days` and two hours after the renewal: the draft is final then."""
    rig.advance(int((rig.row.period_end - rig.now()).total_seconds()) + 2 * 3600 + days * DAY)
    rig.deliver()


def test_the_whole_life(rig):
    assert rig.plan == "free"
    assert rig.row is None

    status, target = rig.buy("pro")
    assert status == 303
    assert "/app/billing/return/?session_id=cs_" in target
    assert rig.plan == "free"  # paid, and nobody has told us
    rig.deliver()
    assert (rig.plan, rig.row.status) == ("pro", "active")
    assert limits_of(rig.tenant.pk).plan == "pro"
    assert (rig.row.period_end.day, rig.row.period_end.hour) == (1, 0)  # months are the calendar's

    first_end = rig.row.period_end
    to_next_month(rig)
    assert (rig.plan, rig.row.status) == ("pro", "active")
    assert rig.row.period_end > first_end

    rig.buy("enterprise")
    rig.deliver()
    assert rig.plan == "enterprise"
    assert limits_of(rig.tenant.pk).plan == "enterprise"

    rig.card("0341")
    to_next_month(rig)
    row = rig.row
    assert (rig.plan, row.status) == ("enterprise", "past_due")  # grace
    assert (row.grace_until - row.overdue_since).days == settings.BILLING_GRACE_DAYS
    assert "payment_failed" in {kind for kind, _ in rig.notices}

    rig.portal(act="card", card="4242")
    rig.deliver()
    assert (rig.plan, rig.row.status, rig.row.grace_until) == ("enterprise", "active", None)

    rig.buy("pro")
    rig.deliver()
    assert rig.plan == "pro"

    rig.portal(act="cancel")
    rig.deliver()
    assert (rig.plan, rig.row.cancel_at) == ("pro", rig.row.period_end)
    to_next_month(rig)
    assert (rig.plan, rig.row.status, rig.row.cancel_at) == ("free", "canceled", None)
    assert {event.state for event in rig.events()} <= {"done", "kept"}

    rig.buy("pro")
    rig.deliver()
    assert (rig.plan, rig.row.status) == ("pro", "active")
    with tenant_scope(rig.tenant):
        changes = [
            e.detail["changes"]["plan"] for e in AuditEvent.objects.filter(verb="plan.changed").order_by("id")
        ]
    assert changes == [
        ["free", "pro"], ["pro", "enterprise"], ["enterprise", "pro"], ["pro", "free"], ["free", "pro"],
    ]  # fmt: skip


def test_who_does_not_pay_is_downgraded_after_the_grace_and_comes_back(rig):
    rig.buy("pro")
    rig.deliver()
    rig.card("0341")
    to_next_month(rig)
    rig.advance(6 * DAY)
    rig.handle()
    assert rig.plan == "pro"
    rig.advance(DAY + 3600)
    rig.handle()  # no event says so: the clock does
    assert (rig.plan, rig.row.status) == ("free", "past_due")
    rig.portal(act="card", card="4242")
    rig.deliver()
    assert (rig.plan, rig.row.status) == ("pro", "active")


def test_a_paused_subscription_gives_nothing_until_it_is_resumed(rig):
    rig.buy("pro")
    rig.deliver()
    pause(rig, "pause")
    assert rig.plan == "free"
    pause(rig, "resume")
    assert rig.plan == "pro"


def pause(rig, verb):
    rig.double.client().raw_request("post", f"/v1/subscriptions/{rig.row.subscription_id}/{verb}")
    rig.deliver()


def test_what_operators_set_stays_until_stripe_says_something_else(rig):
    rig.buy("pro")
    rig.deliver()
    with tenant_scope(rig.tenant):
        plans.change_plan(plan="enterprise", actor="ops:tests")
    rig.deliver(rig.sent)
    subscriptions.sync(rig.tenant.pk)
    assert rig.plan == "enterprise"
    rig.portal(act="cancel")
    to_next_month(rig)
    assert rig.plan == "free"


def test_one_open_checkout_at_a_time_and_none_beside_a_subscription(rig):
    def start(plan):
        return checkout.buy(rig.tenant.pk, plan=plan, actor="user:tests", email="a@tenant.example").url

    first = start("pro")
    assert start("pro") == first
    second = start("enterprise")
    assert second != first
    sessions = rig.double.control("GET", "state")["rows"]["checkout.session"].values()
    assert sorted(session["status"] for session in sessions) == ["expired", "open"]
    rig.buy("enterprise")
    assert start("pro") == ""  # the payment is known to Stripe: no second one
    assert len(rig.double.control("GET", "state")["rows"]["subscription"]) == 1


def test_mails_tell_once_and_only_what_is_still_so(rig):
    rig.buy("pro")
    rig.deliver()
    rig.card("0341")
    to_next_month(rig)
    rig.deliver(rig.sent)
    rig.mail()
    rig.mail()
    subjects = [message.subject for message in mail.outbox]
    assert sum("failed" in subject for subject in subjects) == 1
    assert sum("has the plan Pro now" in subject for subject in subjects) == 1
    assert mail.outbox[0].to == [rig.owner.email]
    mail.outbox.clear()
    rig.advance(4 * DAY)  # tried again, failed again
    rig.fetch()
    rig.portal(act="card", card="4242")
    rig.deliver(rig.fetch() + rig.sent)
    rig.mail()
    assert mail.outbox == []  # it was paid meanwhile


def test_a_mail_that_is_being_sent_is_sent_by_no_other(rig, monkeypatch):
    rig.buy("pro")
    rig.deliver()
    known, sent = mails.send_billing, []

    def tell():
        notices.mail_due()
        connections.close_all()

    def slow(to, **facts):
        sent.append(facts["kind"])
        if len(sent) == 1:
            other = threading.Thread(target=tell)
            other.start()
            other.join()
        return known(to, **facts)

    monkeypatch.setattr(mails, "send_billing", slow)
    notices.mail_due()
    assert sent == ["plan_changed"]


def test_a_dispute_is_told_to_the_admins(rig):
    rig.buy("pro")
    rig.deliver()
    rig.double.control("POST", "dispute", {"customer": rig.row.customer_id})
    rig.deliver()
    assert "disputed" in {kind for kind, _ in rig.notices}
    assert rig.plan == "pro"


def test_an_answer_that_was_asked_for_earlier_does_not_undo_a_later_one(rig, monkeypatch):
    from billing import stripe_gateway

    rig.buy("pro")
    ask = stripe_gateway.subscriptions_of

    def overtaken(customer_id):
        answer = [] if not overtaken.inside else ask(customer_id)
        if not overtaken.inside:
            overtaken.inside = True
            subscriptions.sync(rig.tenant.pk)
        return answer

    overtaken.inside = False
    monkeypatch.setattr(stripe_gateway, "subscriptions_of", overtaken)
    subscriptions.sync(rig.tenant.pk)
    assert rig.plan == "pro"


# --- Any order, any number of times -----------------------------------------------------------------------------------
ACTS = {
    "pro": lambda rig: buy(rig, "pro"),
    "enterprise": lambda rig: buy(rig, "enterprise"),
    "bad card": lambda rig: rig.row and rig.card("0341"),
    "good card": lambda rig: rig.row and rig.portal(act="card", card="4242"),
    "cancel": lambda rig: rig.row and rig.portal(act="cancel"),
    "keep": lambda rig: rig.row and rig.portal(act="keep"),
}
TIMES = {"days": 3 * DAY, "month": MONTH}
LIFE = [
    "pro",
    "month",
    "enterprise",
    "month",
    "bad card",
    "month",
    "good card",
    "days",
    "pro",
    "cancel",
    "month",
]
EXAMPLES = int(os.environ.get("WEIR_EXAMPLES", "60"))


def buy(rig, plan):
    from tenants.errors import WeirError

    try:
        rig.buy(plan)
    except WeirError as error:
        note(f"{plan}: {error.detail}")


class Two:
    """Two tenants that do the same at the same time: one's events come in order, the other's as they like."""

    def __init__(self, double):
        self.orderly = Rig(double)
        self.wild = Rig(double)
        self.waiting, self.all = [], []

    def act(self, name):
        if name in TIMES:
            self.orderly.advance(TIMES[name])
            self.wild.elapsed = self.orderly.elapsed
            return
        for rig in (self.orderly, self.wild):
            with rig.clock():
                ACTS[name](rig)

    def sort(self):
        """Hand over the orderly one's events; the other's wait."""
        mine = self.orderly.row.customer_id if self.orderly.row else "nobody"
        found = self.orderly.fetch()
        fresh = [delivery for delivery in found if mine not in delivery["body"]]
        self.orderly.deliver([delivery for delivery in found if mine in delivery["body"]])
        self.waiting += fresh
        self.all += fresh

    def hand_over(self, chance):
        """Some of what waits, some of what came before again, in any order."""
        chance.shuffle(self.waiting)
        number = chance.randint(0, len(self.waiting))
        chosen, self.waiting = self.waiting[:number], self.waiting[number:]
        chosen += chance.sample(self.all, min(len(self.all), chance.randint(0, 3)))
        chance.shuffle(chosen)
        self.wild.deliver(chosen)

    def finish(self, chance):
        chance.shuffle(self.waiting)
        self.wild.deliver(self.waiting + chance.choices(self.all, k=5) if self.all else [])
        self.orderly.handle()
        self.wild.handle()

    def states(self):
        return [comparable(rig) for rig in (self.orderly, self.wild)]


def comparable(rig):
    """The end state without ids; the two were charged within seconds of each other."""
    if rig.row is None:
        return {"plan": rig.plan}
    state = rig.state()
    state["subscription"] = bool(state["subscription"])
    state["notices"] = sorted(kind for kind, _ in state["notices"])
    return {
        name: round(value.timestamp() / 60) if isinstance(value, datetime) else value
        for name, value in state.items()
    }


def same(one, other):
    return one.keys() == other.keys() and all(
        abs(one[name] - other[name]) <= 1 if isinstance(one[name], int) and not isinstance(one[name], bool)
        else one[name] == other[name]
        for name in one
    )  # fmt: skip


def live(double, acts, chance):
    double.control("POST", "reset", {})
    double.listen(SECRET)
    two = Two(double)
    for name in acts:
        two.act(name)
        two.sort()
        two.hand_over(chance)
    two.finish(chance)
    orderly, wild = two.states()
    assert same(orderly, wild), f"{orderly}\n{wild}"
    return orderly


@pytest.mark.parametrize("seed", range(1))
def test_a_whole_life_ends_the_same_in_any_order(committed, double, seed):
    end = live(double, LIFE, random.Random(seed))
    assert (end["plan"], end["status"]) == ("free", "canceled")


@pytest.mark.chaos
@tries(max_examples=1, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    acts=st.lists(st.sampled_from([*ACTS, *TIMES]), min_size=3, max_size=6),
    chance=st.randoms(use_true_random=False),
)
def test_any_life_ends_the_same_in_any_order(committed, double, acts, chance):
    live(double, ["pro", *acts], chance)


@pytest.mark.campaign
@tries(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    acts=st.lists(st.sampled_from([*ACTS, *TIMES]), min_size=3, max_size=14),
    chance=st.randoms(use_true_random=False),
)
def test_many_lives_end_the_same_in_any_order(committed, double, acts, chance):
    live(double, ["pro", *acts], chance)
