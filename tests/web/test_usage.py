"""The page of usage, and the banner on every page from 80 % on."""

import html
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from billing import quota
from billing.models import UsageEvent
from billing.operations.plans import OverriddenLimits, override_plan
from tenants.scope import tenant_scope
from tests.factories import ACTOR, connect_all, make_run


@pytest.fixture
def browser(owner):
    client = Client()
    client.force_login(owner)
    return client


def agree(tenant, changes: OverriddenLimits) -> None:
    with tenant_scope(tenant):
        override_plan(
            actor=ACTOR, reason="test", expires_at=timezone.now() + timedelta(days=1), changes=changes
        )


def text_of(browser, path="/app/usage/") -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_it_says_how_far_the_month_is_used_and_by_what(browser, tenant):
    connect_all(tenant)
    run = make_run(tenant, 3)
    with tenant_scope(tenant):
        UsageEvent.objects.create(
            key="attempt:1", kind="attempt", provider="prospeo", credits=1_500, run_id=run.pk,
            period=timezone.now().date().replace(day=1),
        )  # fmt: skip
    page = text_of(browser)
    assert "3 of 100,000 records used in" in page
    assert "Email waterfall" in page
    assert "Prospeo" in page
    assert "1.5" in page
    assert "Records beyond the plan’s are accepted." in page


def test_without_stripe_it_says_that_billing_is_off_and_who_sets_plans(browser):
    page = text_of(browser)
    assert "Billing is off" in page
    assert "The operators of this installation set plans" in page


def test_what_was_agreed_beside_the_plan_is_shown(browser, tenant):
    agree(tenant, {"seats": 77})
    page = text_of(browser)
    assert "77" in page
    assert "Agreed beside the plan until" in page


@pytest.mark.parametrize(
    ("used", "overage", "said"),
    [
        (79, False, ""),
        (80, False, "80 % of the month’s records are used"),
        (100, False, "The month’s records are used up: new runs are refused"),
        (130, True, "The month’s records are used; more are accepted"),
    ],
)
def test_every_page_says_so_from_80_per_cent_on(browser, tenant, used, overage, said):
    agree(tenant, {"monthly_records": 1_000, "overage_allowed": True})
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        quota.take(cursor, tenant.pk, used)
    agree(tenant, {"monthly_records": 100, "overage_allowed": overage})
    from billing import limits

    limits.forget()
    page = text_of(browser, "/app/runs/")
    banners = [line for line in ("% of the month’s records", "records are used") if line in page]
    assert said in page
    assert bool(banners) == bool(said)
