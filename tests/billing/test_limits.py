"""What a tenant may do: its plan, what was agreed beside it, and how soon a change counts."""

import time
from datetime import timedelta
from typing import Unpack

import pytest
from django.db import Error, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import limits
from billing.errors import UnknownPlan
from billing.limits import limits_of
from billing.models import Plan, PlanOverride
from billing.operations.plans import OverriddenLimits, change_plan, end_override, override_plan
from billing.signals import plan_changed
from tenants.errors import InvalidInput, ScopeError
from tenants.ids import uuid7
from tenants.models import AuditEvent, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.admin.test_actions import management
from tests.factories import ACTOR, make_tenant

TOMORROW = timedelta(days=1)


def agree(tenant: Tenant, **changes: Unpack[OverriddenLimits]) -> PlanOverride:
    with tenant_scope(tenant):
        return override_plan(
            actor=ACTOR, reason="A trial", expires_at=timezone.now() + TOMORROW, changes=changes
        )


@pytest.mark.usefixtures("db")
def test_the_plans_that_every_installation_starts_with():
    found = {plan.slug: plan for plan in Plan.objects.all()}
    free = found["free"]
    assert (free.requests_per_minute, free.monthly_records, free.overage_allowed) == (100, 1_000, False)
    assert (free.lanes, free.seats) == (10, 5)
    assert found["pro"].overage_allowed
    assert (found["enterprise"].lanes, found["enterprise"].seats) == (None, None)


@pytest.mark.usefixtures("committed")
def test_limits_are_the_plans_and_what_was_agreed_counts_before_them_until_its_day():
    tenant = make_tenant(plan="free").tenant
    assert (limits_of(tenant.pk).plan, limits_of(tenant.pk).requests_per_minute) == ("free", 100)
    override = agree(tenant, requests_per_minute=250, overage_allowed=True)
    agreed = limits_of(tenant.pk)
    assert (agreed.requests_per_minute, agreed.overage_allowed) == (250, True)
    assert (agreed.monthly_records, agreed.seats, agreed.overridden_until) == (1_000, 5, override.expires_at)
    with tenant_scope(tenant):
        PlanOverride.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert limits_of(tenant.pk, fresh=True).requests_per_minute == 100


@pytest.mark.usefixtures("committed")
def test_what_is_agreed_replaces_what_was_and_ends_when_taken_back_all_in_the_trail():
    tenant = make_tenant(plan="free").tenant
    agree(tenant, seats=50)
    agree(tenant, lanes=3)
    assert (limits_of(tenant.pk).seats, limits_of(tenant.pk).lanes) == (5, 3)
    with tenant_scope(tenant):
        end_override(actor=ACTOR)
        end_override(actor=ACTOR)
        verbs = list(AuditEvent.objects.filter(verb__startswith="plan.").values_list("verb", flat=True))
    assert limits_of(tenant.pk).lanes == 10
    assert sorted(verbs) == ["plan.overridden", "plan.overridden", "plan.override_ended"]


@pytest.mark.parametrize(
    "wrong",
    [{"reason": " "}, {"expires_at": timezone.now() - TOMORROW}, {"changes": {}}],
    ids=["no reason", "in the past", "nothing differs"],
)
def test_what_cannot_be_agreed_is_named(tenant, wrong):
    given = {"reason": "A trial", "expires_at": timezone.now() + TOMORROW, "changes": {"seats": 9}}
    with tenant_scope(tenant), pytest.raises(InvalidInput):
        override_plan(**{"actor": ACTOR, **given, **wrong})


@pytest.mark.usefixtures("committed")
def test_a_changed_plan_counts_at_once_here_and_within_2_s_elsewhere(monkeypatch):
    tenant = make_tenant(plan="free").tenant
    assert limits_of(tenant.pk).plan == "free"
    with tenant_scope(tenant):
        Tenant.objects.update(plan="pro")  # as another process would
    assert limits_of(tenant.pk).plan == "free"
    later = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert limits_of(tenant.pk).plan == "pro"
    monkeypatch.undo()
    with tenant_scope(tenant):
        change_plan(plan="enterprise", actor=ACTOR)
    assert limits_of(tenant.pk).plan == "enterprise"


@pytest.mark.usefixtures("committed")
def test_a_changed_plan_is_announced_once_and_in_the_trail():
    tenant = make_tenant(plan="free").tenant
    heard = []

    def listen(**told):
        heard.append((told["tenant_id"], told["was"], told["now"], told["actor"]))

    plan_changed.connect(listen)
    try:
        with tenant_scope(tenant):
            for _ in range(2):
                change_plan(plan="pro", actor=ACTOR, reason="asked for it")
            with pytest.raises(UnknownPlan):
                change_plan(plan="platinum", actor=ACTOR)
            event = AuditEvent.objects.get(verb="plan.changed")
    finally:
        plan_changed.disconnect(listen)
    assert heard == [(tenant.pk, "free", "pro", ACTOR)]
    assert event.detail == {"changes": {"plan": ["free", "pro"]}, "reason": "asked for it"}


def test_a_plan_that_is_none_any_more_gives_what_free_gives(db):
    tenant = make_tenant(plan="gold").tenant
    assert limits_of(tenant.pk).plan == "free"
    assert limits_of(uuid7()) == limits.NOTHING


def test_those_of_many_tenants_are_read_at_once(django_assert_num_queries, monkeypatch):
    tenants = [make_tenant(plan=plan).tenant for plan in ("free", "pro", "enterprise")]
    for tenant in tenants:
        limits_of(tenant.pk)
    later = time.monotonic() + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with django_assert_num_queries(1):
        limits_of(uuid7())
    later += 1
    with django_assert_num_queries(0):
        assert [limits_of(tenant.pk).plan for tenant in tenants] == ["free", "pro", "enterprise"]


def test_the_database_tells_no_tenant_of_anothers_limits(tenant, other_tenant):
    with tenant_scope(tenant), pytest.raises(Error, match="inside a tenant"), transaction.atomic():
        connection.cursor().execute("SELECT * FROM lookup.limits(%s::uuid[])", [[other_tenant.pk]])


def test_another_tenants_limits_are_not_asked_for_inside_a_scope(tenant, other_tenant):
    with tenant_scope(tenant):
        assert limits_of(tenant.pk).plan == "pro"
        with pytest.raises(ScopeError):
            limits_of(other_tenant.pk, fresh=True)


class TestInTheConsole:
    def test_a_plan_is_edited(self, console: Client):
        page = reverse("admin:billing_plan_change", args=["free"])
        plan = console.get(page).context["adminform"].form.initial
        form = {**plan, "requests_per_minute": "90", "stripe_price_id": "price_1", "overage_price": "0.0025"}
        try:
            assert console.post(page, form).status_code == 302
            found = Plan.objects.get(slug="free")
            assert (found.requests_per_minute, found.stripe_price_id) == (90, "price_1")
            assert str(found.overage_price) == "0.002500"
        finally:
            with ops_scope("test"):
                Plan.objects.filter(slug="free").update(
                    requests_per_minute=100, stripe_price_id="", overage_price=0
                )

    def test_limits_are_agreed_changed_and_taken_back(self, console: Client):
        tenant = make_tenant(plan="free").tenant
        limits_of(tenant.pk)
        day = {"expires_at_0": "2031-01-31", "expires_at_1": "00:00:00"}
        added = {
            "for_tenant": str(tenant.pk),
            "seats": "40",
            "overage_allowed": "unknown",
            "reason": "A trial",
        }
        add = reverse("admin:billing_planoverride_add")
        assert str(tenant.pk) in console.get(f"{add}?tenant__id__exact={tenant.pk}").content.decode()
        for refused in ({"seats": ""}, {"for_tenant": str(uuid7())}, {"reason": ""}):
            assert console.post(add, {**added, **day, **refused}).status_code == 200
        assert console.post(add, added | day).status_code == 302
        assert limits_of(tenant.pk).seats == 40
        assert console.post(add, added | day).status_code == 200  # one is there
        with tenant_scope(tenant):
            override = PlanOverride.objects.get()
        page = reverse("admin:billing_planoverride_change", args=[override.pk])
        changed = {"lanes": "4", "seats": "", "overage_allowed": "true", "reason": "A longer trial"}
        assert console.post(page, changed | day).status_code == 302
        agreed = limits_of(tenant.pk)
        assert (agreed.lanes, agreed.seats, agreed.overage_allowed) == (4, 5, True)
        delete = reverse("admin:billing_planoverride_delete", args=[override.pk])
        assert console.post(delete, {"post": "yes"}).status_code == 302
        assert limits_of(tenant.pk).lanes == 10
        with tenant_scope(tenant):
            verbs = set(AuditEvent.objects.filter(subject_id=override.pk).values_list("verb", flat=True))
        assert verbs == {"plan.overridden", "ops.changed", "plan.override_ended"}

    def test_a_tenant_given_another_plan_is_announced_as_any_other(self, console: Client):
        tenant = make_tenant(plan="free").tenant
        limits_of(tenant.pk)
        page = reverse("admin:tenants_tenant_change", args=[tenant.pk])
        form = {"name": tenant.name, "plan": "pro", "monthly_credit_limit": "", "retention_days": "90"}
        people = {"membership_set-TOTAL_FORMS": "0", "membership_set-INITIAL_FORMS": "0"}
        heard = []

        def listen(**told):
            heard.append((told["was"], told["now"], told["actor"]))

        plan_changed.connect(listen)
        try:
            assert console.post(page, form | management(console, page) | people).status_code == 302
        finally:
            plan_changed.disconnect(listen)
        assert heard == [("free", "pro", "staff:ops@weir.example")]
        assert limits_of(tenant.pk).plan == "pro"
