"""Rendering a page inside the frame: rail, top bar, environment badge."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from billing import stripe_gateway
from billing.models import BillingNotice, Plan, Subscription
from billing.queries import Quota, quota_now
from integrations.models import Connection
from integrations.queries import connections
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, allows

QUOTA_SHOWN = 80
LOST = ("unpaid", "ended", "paused")
"""Why Stripe's state gives a plan no more."""
NEWS, LONGEST_NEWS = timedelta(days=2), timedelta(days=14)
"""For how long every page says that the plan is another; longer where it was lost."""
UNCHANGED = 204
LAST = 286


@dataclass(frozen=True, slots=True)
class QuotaState:
    """The month's records, and how much of them is used in whole per cent."""

    quota: Quota
    percent: int


@dataclass(frozen=True, slots=True)
class PlanNews:
    """The names of the plan that the tenant has and had, and why it changed."""

    name: str
    was: str
    reason: str

    @property
    def lost(self) -> bool:
        return self.reason in LOST


def render_page(
    request: TenantRequest, template: str, *, nav: str, status: int = 200, **context: Any
) -> HttpResponse:
    """The page in its frame. `nav` is the rail's item; the context must be plain data, read before."""
    with tenant_scope(request.membership.tenant_id):
        overdue = _overdue()
        told = {
            "sandbox": _sandbox_alone(), "overdue": overdue, "quota_state": _quota_state(),
            "plan_news": None if overdue else _plan_news(request.membership.plan),
        }  # fmt: skip
    context |= told | {
        "nav": nav,
        "may_edit": allows(request, "runs.change"),
        "query": _query(request),
        "may_pay": allows(request, "billing.change"),
    }
    return render(request, template, context, status=status)


def render_live(
    request: TenantRequest, template: str, *, version: str, final: bool = False, **context: Any
) -> HttpResponse:
    """A fragment for a page that asks again and names the version that it shows (`v`).

    204 while nothing changed; 286, which ends the asking, once it is final.
    """
    if not final and version == request.GET.get("v"):
        return HttpResponse(status=UNCHANGED)
    context |= {"version": version, "may_edit": allows(request, "runs.change"), "query": _query(request)}
    return render(request, template, context, status=LAST if final else 200)


def _overdue() -> Subscription | None:
    """The open tenant's subscription while a payment is overdue; no statement where billing is off."""
    if not stripe_gateway.enabled():
        return None
    row: Subscription | None = Subscription.objects.filter(grace_until__isnull=False).first()
    return row


def _plan_news(plan: str) -> PlanNews | None:
    """The last change to the plan that the open tenant has, for days: who works with it learns why limits are others."""
    changes = BillingNotice.objects.filter(
        kind=BillingNotice.Kind.PLAN_CHANGED, made_at__gte=timezone.now() - LONGEST_NEWS
    )
    change = changes.order_by("-made_at").first()
    if change is None or change.detail["now"] != plan:
        return None
    reason = change.detail.get("reason", "")
    if reason not in LOST and change.made_at < timezone.now() - NEWS:
        return None
    names = dict(Plan.objects.values_list("slug", "name"))
    return PlanNews(names.get(plan, plan), names.get(change.detail["was"], change.detail["was"]), reason)


def _quota_state() -> QuotaState | None:
    """How far the open tenant's month of records is used, from 80 % on; None before that."""
    found = quota_now()
    if not found.records_included or found.records_used * 100 < found.records_included * QUOTA_SHOWN:
        return None
    return QuotaState(found, found.records_used * 100 // found.records_included)


def _query(request: TenantRequest) -> str:
    """The page's query string, which its live part asks for again, without the version."""
    params = request.GET.copy()
    params.pop("v", None)
    return params.urlencode()


def version_of(*shown: object) -> str:
    """Changes when anything that is shown does."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:12]


def only_sandbox(request: TenantRequest) -> bool:
    """Whether every vendor of the tenant is connected in sandbox mode: its answers are made up."""
    with tenant_scope(request.membership.tenant_id):
        return _sandbox_alone()


def _sandbox_alone() -> bool:
    modes = set(connections().order_by().values_list("mode", flat=True).distinct())
    return modes == {Connection.Mode.SANDBOX}
