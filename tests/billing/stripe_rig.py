"""A tenant and its life with Stripe: pages clicked, clocks moved, deliveries handed over in whatever order."""

import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import urlencode

from django.db import transaction
from django.db.models import F
from django.test import Client

from billing.models import BillingNotice, Plan, StripeEvent, Subscription, UsageCounter, UsageEvent
from billing.operations import checkout, notices, stripe_events, stripe_setup, subscriptions
from tenants.models import Tenant
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope
from tests.factories import make_tenant
from tests.stripe_double import DAY

SECRET = "whsec_of_the_tests"
HOOK = "/hooks/stripe"
MONTH = 31 * DAY


class Rig:
    """`elapsed` seconds have gone by at Stripe and here; `sent` is every delivery there was."""

    def __init__(self, double) -> None:
        self.double = double
        self.elapsed = 0
        self.sent: list[Any] = []
        stripe_setup.set_up()
        self.plans = {plan.slug: plan for plan in Plan.objects.all()}
        people = make_tenant(plan="free")
        self.tenant, self.owner = people.tenant, people.owner

    # --- What is
    @property
    def plan(self):
        with tenant_scope(self.tenant):
            return Tenant.objects.get(pk=self.tenant.pk).plan

    @property
    def row(self):
        with tenant_scope(self.tenant):
            return Subscription.objects.first()

    @property
    def notices(self):
        with tenant_scope(self.tenant):
            return sorted(BillingNotice.objects.values_list("kind", "about"))

    def events(self):
        with ops_scope("tests"):
            return list(StripeEvent.objects.using(OPS_ALIAS).order_by("received_at"))

    def state(self):
        """What must be the same in the end, in whatever order it came about."""
        row = self.row
        return {
            "plan": self.plan, "status": row.status, "given": row.plan, "subscription": row.subscription_id,
            "price": row.price_id, "period_end": row.period_end, "cancel_at": row.cancel_at,
            "overdue": row.overdue_since, "grace": row.grace_until, "trial": row.trial_end,
            "notices": [entry for entry in self.notices if entry[0] != "plan_changed"],
        }  # fmt: skip

    # --- What people do
    def buy(self, plan="pro", *, card="4242"):
        """Upgrade, and pay on the hosted page where there is one; (status, where the browser goes)."""
        with self.clock():
            started = checkout.buy(self.tenant.pk, plan=plan, actor="user:tests", email=self.owner.email)
        return click(started.url, card=card) if started.url else (0, "")

    def portal(self, **form):
        return click(checkout.open_portal(self.tenant.pk, actor="user:tests"), **form)

    def card(self, last4):
        self.double.control("POST", "card", {"customer": self.row.customer_id, "last4": last4})

    # --- Time
    def advance(self, seconds):
        """Let time go by at Stripe and here."""
        self.elapsed += seconds
        self.double.control("POST", "advance", {"seconds": seconds})

    def now(self):
        return datetime.now(UTC) + timedelta(seconds=self.elapsed)

    def clock(self):
        """Here it is as late as at Stripe."""
        return mock.patch("django.utils.timezone.now", self.now)

    # --- Deliveries
    def fetch(self):
        found = self.double.deliveries()
        self.sent += found
        return found

    def post(self, delivery, **changes):
        headers = {
            "HTTP_STRIPE_SIGNATURE": delivery["headers"]["Stripe-Signature"],
            **changes.pop("headers", {}),
        }
        return Client().post(
            HOOK, changes.get("body", delivery["body"]), content_type="application/json", **headers
        )

    def deliver(self, deliveries=None):
        """Hand these over (or all that wait), and handle what is due."""
        for delivery in self.fetch() if deliveries is None else deliveries:
            assert self.post(delivery).status_code == 202
        self.handle()

    def handle(self):
        with self.clock():
            for event_id in stripe_events.due():
                stripe_events.handle(event_id)
            subscriptions.end_graces()

    def mail(self):
        with self.clock():
            return notices.mail_due()


def accept(tenant, rows, period, *, lost=False, at=None):
    """Write (what, record, quantity) into the ledger and count them, in one transaction, as who accepts does; `lost`: it
    comes to nothing. `at`: when, where it is later than the database has it."""
    written = {"created_at": at} if at else {}
    with tenant_scope(tenant):
        UsageEvent.objects.bulk_create(
            UsageEvent(
                tenant_id=tenant.pk,
                key=f"{what}:{record}",
                kind="record",
                quantity=quantity,
                period=period,
                **written,
            )
            for what, record, quantity in rows
        )
        UsageCounter.objects.get_or_create(period=period, slot=0)
        UsageCounter.objects.filter(period=period, slot=0).update(
            records=F("records") + sum(quantity for _, _, quantity in rows)
        )
        if lost:
            transaction.set_rollback(True)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


def click(url, **form):
    """(status, text or where it leads) of a hosted page; a form is sent when there is one."""
    data = urlencode(form).encode() if form else None
    try:
        with urllib.request.build_opener(_Stay).open(url, data=data, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers.get("Location") or answer.read().decode()
