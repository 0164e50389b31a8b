"""The pages of billing: what they say with and without Stripe, before and after its webhook, in grace; for whom."""

import pytest
from django.conf import settings
from django.test import Client

from billing.models import Subscription
from billing.operations import plans, stripe_events, subscriptions
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.stripe_rig import DAY, click
from tests.billing.test_stripe_life import to_next_month
from tests.factories import make_user

BILLING = "/app/billing/"


@pytest.fixture
def browser(rig):
    return signed_in(rig.owner)


def signed_in(user):
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def text_of(answer):
    return " ".join(answer.content.decode().split())


def test_without_keys_it_says_that_billing_is_off(rig, browser, monkeypatch):
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", "")
    text = text_of(browser.get(BILLING))
    assert "Billing is off on this installation" in text
    assert "Upgrade to" not in text
    assert browser.post(f"{BILLING}plan/", {"plan": "pro"}).status_code == 302
    assert browser.post(f"{BILLING}portal/").status_code == 409
    assert browser.get(f"{BILLING}return/?session_id=cs_1").status_code == 302


def test_a_newcomer_clicks_through_an_upgrade(rig, browser):
    text = text_of(browser.get(BILLING))
    assert "No real card is charged" in text
    assert "99.00 USD" in text
    text = text_of(browser.get(f"{BILLING}plan/?plan=pro"))
    assert "Go on to payment" in text
    answer = browser.post(f"{BILLING}plan/", {"plan": "pro"})
    assert answer.status_code == 302
    assert answer.url.startswith(f"{rig.double.url}/pay/cs_test_")
    assert "not Stripe" in click(answer.url)[1]

    unpaid = browser.get(came_back(rig, answer.url))
    assert "Nothing was paid yet" in text_of(unpaid)
    status, back = click(answer.url, card="4242")
    assert status == 303
    back = back.removeprefix(settings.BASE_URL)
    text = text_of(browser.get(back))
    assert "Paid. Your plan changes in a moment" in text
    assert "Until then you have Free" in text
    live = browser.get(back.replace("return/", "return/live/"))
    assert live.status_code == 200

    rig.deliver()
    live = browser.get(back.replace("return/", "return/live/"))
    assert live.status_code == 286
    assert "Your plan is Pro now" in text_of(live)
    text = text_of(browser.get(BILLING))
    assert "Pro, paid until" in text
    assert "Upgrade to Enterprise" in text

    answer = browser.post(f"{BILLING}portal/")
    assert answer.url.startswith(f"{rig.double.url}/portal/")
    with tenant_scope(rig.tenant):
        verbs = list(
            AuditEvent.objects.filter(verb__startswith="billing.")
            .order_by("id")
            .values_list("verb", flat=True)
        )
    assert verbs == ["billing.customer_created", "billing.checkout_opened", "billing.portal_opened"]


def came_back(rig, url):
    return f"{BILLING}return/?session_id={url.rsplit('/', 1)[1]}"


def test_a_lost_webhook_is_no_lost_upgrade(rig, browser):
    _, back = rig.buy("pro")
    rig.fetch()  # nobody hands them over
    browser.get(back.removeprefix(settings.BASE_URL))
    assert rig.plan == "free"
    subscriptions.sync(rig.tenant.pk)  # what the page has asked a worker for
    assert "Your plan is Pro now" in text_of(browser.get(back.removeprefix(settings.BASE_URL)))


def test_when_stripe_is_away_nobody_says_paid_or_unpaid(rig, browser):
    _, back = rig.buy("pro")
    rig.double.fault("lost_before", path="/checkout")
    assert "Stripe does not answer just now" in text_of(browser.get(back.removeprefix(settings.BASE_URL)))
    rig.double.fault("error_before", path="/v1/")
    answer = browser.post(f"{BILLING}plan/", {"plan": "pro"})
    assert answer.status_code == 503


def test_an_old_way_back_says_what_is_so_now(rig, browser):
    _, back = rig.buy("pro")
    back = back.removeprefix(settings.BASE_URL)
    rig.deliver()
    rig.buy("enterprise")
    rig.deliver()
    assert "Your plan is Enterprise now" in text_of(browser.get(back))
    with tenant_scope(rig.tenant):  # and another subscription after it
        Subscription.objects.update(subscription_id="sub_later")
    rig.advance(4 * DAY)
    with rig.clock():
        assert signed_in(rig.owner).get(back).url == BILLING


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("agreed", "Its limits apply."),
        ("unpaid", "The last payment did not go through."),
        ("ended", "The subscription has ended."),
        ("paused", "The subscription is paused."),
    ],
)
def test_a_change_of_plan_is_on_every_page_for_days(rig, browser, reason, said):
    assert "The plan is" not in text_of(browser.get("/app/"))
    with tenant_scope(rig.tenant):
        plans.change_plan(plan="pro", actor="ops:tests", reason=reason)
    text = text_of(browser.get("/app/"))
    assert "The plan is Pro now, and was Free" in text
    assert said in text
    for days, shown in ((3, reason != "agreed"), (12, False)):
        rig.advance(days * DAY)
        with rig.clock():
            assert ("The plan is Pro now" in text_of(signed_in(rig.owner).get("/app/"))) is shown


def test_another_tenants_checkout_is_none(rig, browser):
    from tests.billing.stripe_rig import Rig

    other = Rig(rig.double)
    _, back = other.buy("pro")
    answer = browser.get(back.removeprefix(settings.BASE_URL))
    assert (answer.status_code, answer.url) == (302, BILLING)
    assert (
        browser.get(back.removeprefix(settings.BASE_URL).replace("return/", "return/live/")).status_code
        == 204
    )


def test_grace_is_on_every_page_and_ends_with_the_payment(rig, browser):
    rig.buy("pro")
    rig.deliver()
    assert "payment" not in text_of(browser.get("/app/runs/"))
    rig.card("0341")
    to_next_month(rig)
    assert "The last payment did not go through" in text_of(browser.get("/app/runs/"))
    assert "Pay or change the card" in text_of(browser.get(BILLING))
    rig.portal(act="card", card="4242")
    rig.deliver()
    assert "The last payment did not go through" not in text_of(browser.get("/app/runs/"))


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_who_is_no_admin_sees_and_buys_nothing(rig, role):
    client = signed_in(make_user(rig.tenant, role=role))
    assert client.get(BILLING).status_code == 403
    assert client.post(f"{BILLING}plan/", {"plan": "pro"}).status_code == 403
    assert client.post(f"{BILLING}portal/").status_code == 403


def test_a_change_says_what_it_costs_and_takes_no_second_checkout(rig, browser):
    rig.buy("pro")
    rig.deliver()
    text = text_of(browser.get(f"{BILLING}plan/?plan=enterprise"))
    assert "Your card is charged now" in text
    answer = browser.post(f"{BILLING}plan/", {"plan": "enterprise"})
    assert (answer.status_code, answer.url) == (302, BILLING)
    assert rig.plan == "enterprise"
    assert stripe_events.due() == []


def test_the_form_may_lead_to_stripes_pages(rig, browser):
    policy = browser.get(BILLING).headers["Content-Security-Policy"]
    assert "form-action 'self' https://checkout.stripe.com" in policy
