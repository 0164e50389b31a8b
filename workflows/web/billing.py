"""Plans, upgrades and the way to Stripe's pages; what is paid, what is overdue, what is on its way."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from billing import entitlement, stripe_gateway
from billing.errors import BillingOff, CardRefused, StripeAway
from billing.models import Plan, Subscription
from billing.operations import checkout, subscriptions
from tenants.doorbell import send
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows.web.frame import render_live, render_page, version_of

_LONGEST_ID = 255
_OLD = timedelta(days=3)
"""Of an older checkout nothing is to come any more: banks have answered by then."""


@dataclass(frozen=True, slots=True)
class PlanCard:
    """A plan as it is offered. `act`: the verb on its button, empty where it is the tenant's own or not for sale."""

    plan: Plan
    is_own: bool
    act: str

    @property
    def price(self) -> str:
        return f"{_money(self.plan.price)} {self.plan.currency}"

    @property
    def overage(self) -> str:
        if not self.plan.overage_allowed:
            return ""
        return f"{_money(self.plan.overage_price * 1000)} {self.plan.currency}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a tenant has. `state`: off, none, paying, overdue, ending, ended, paused."""

    state: str
    plan: Plan | None
    row: Subscription | None


@require_safe
@tenant_page("billing.change")
def billing(request: TenantRequest) -> HttpResponse:
    standing = _standing(request)
    return render_page(
        request, "workflows/billing.html", nav="settings", nav_sub="billing", standing=standing, cards=_cards(standing),
        is_sandbox=stripe_gateway.is_sandbox(),
    )  # fmt: skip


@tenant_page("billing.change")
def choose_plan(request: TenantRequest) -> HttpResponse:
    """What a plan costs and what changes, asked before anything is paid; then off to Stripe, or done."""
    standing = _standing(request)
    wanted = request.POST.get("plan", "") if request.method == "POST" else request.GET.get("plan", "")
    card = next((card for card in _cards(standing) if card.plan.slug == wanted and card.act), None)
    if card is None:
        messages.error(request, "This plan cannot be chosen now. Nothing was changed.")
        return redirect("billing")
    if request.method != "POST":
        return render_page(
            request, "workflows/billing_plan.html", nav="settings", standing=standing, card=card,
            has_subscription=_is_live(standing.row), is_sandbox=stripe_gateway.is_sandbox(),
        )  # fmt: skip
    try:
        started = checkout.buy(
            request.membership.tenant_id, plan=wanted, actor=actor(request), email=request.user.email
        )
    except CardRefused as error:
        messages.error(
            request, f"{error.detail} Choose another card under “Card, invoices, cancel”, then try again."
        )
        return redirect("billing")
    if started.url:
        return HttpResponseRedirect(started.url)
    if started.given:
        messages.success(
            request, f"{card.plan.name} is what you pay for now. Its limits apply within seconds."
        )
    else:
        messages.success(request, f"{card.plan.name} is asked for at Stripe, and is not in effect yet.")
    return redirect("billing")


@require_POST
@tenant_page("billing.change")
def portal(request: TenantRequest) -> HttpResponse:
    return HttpResponseRedirect(checkout.open_portal(request.membership.tenant_id, actor=actor(request)))


@require_safe
@tenant_page("billing.change")
def came_back(request: TenantRequest) -> HttpResponse:
    """Where Stripe's page sends the browser. Coming here proves nothing: what is said is what Stripe and our books say."""
    if request.GET.get("cancelled"):
        messages.success(request, "Nothing was paid, and your plan is as it was.")
        return redirect("billing")
    view = _return(request)
    if view is None:
        messages.error(request, "There is no such checkout. This is what you have.")
        return redirect("billing")
    if view["step"] == "coming":
        # The webhook may be late or lost; somebody waits.
        send(subscriptions.SYNC, str(request.membership.tenant_id))
    return render_page(request, "workflows/billing_return.html", nav="settings", **view)


@require_safe
@tenant_page("billing.change")
def came_back_live(request: TenantRequest) -> HttpResponse:
    view = _return(request)
    if view is None:
        return HttpResponse(status=204)
    version = str(view.pop("version"))
    return render_live(
        request,
        "workflows/_billing_return.html",
        version=version,
        final=view["step"] in ("done", "unpaid"),
        **view,
    )


def _return(request: TenantRequest) -> dict[str, Any] | None:
    """What the page says; None for a checkout that is not there or another tenant's.

    `step`: coming (paid, and not in effect yet), waiting (the bank), done, unpaid, unknown (Stripe does not answer).
    """
    session_id = request.GET.get("session_id", "")
    if not session_id or len(session_id) > _LONGEST_ID or not session_id.isascii():
        return None
    tenant_id = request.membership.tenant_id
    step, url = "unknown", ""
    with tenant_scope(tenant_id):
        row = Subscription.objects.first()
        plan = Tenant.objects.values_list("plan", flat=True).get(pk=tenant_id)
        plans = {plan.slug: plan for plan in Plan.objects.all()}
    facts = {
        "wanted": plans.get(row.checkout_plan) if row else None,
        "own": plans.get(plan),
        "session_id": session_id,
    }
    if row and row.checkout_id == session_id and row.plan == plan == row.checkout_plan:
        return facts | {"step": "done", "url": "", "version": version_of("done", plan)}
    try:
        session = checkout.returned(tenant_id, session_id)
        if session is None:
            return None
        if (
            session.status == "complete"
            and row
            and row.subscription_id == session.subscription_id
            and row.plan
        ):
            # Whatever it was changed to since.
            return facts | {"step": "done", "url": "", "version": version_of("done", plan)}
        if timezone.now() - session.created > _OLD:
            return None
        url = session.url if session.status == "open" else ""
        step = "unpaid" if session.status != "complete" else "coming"
        if step == "coming" and session.payment_status == "unpaid":
            step = "waiting"
    except BillingOff:
        return None
    except StripeAway:
        pass
    return facts | {"step": step, "url": url, "version": version_of(step, plan)}


def _standing(request: TenantRequest) -> Standing:
    with tenant_scope(request.membership.tenant_id):
        row = Subscription.objects.first()
        slug = Tenant.objects.values_list("plan", flat=True).get(pk=request.membership.tenant_id)
        plan = Plan.objects.filter(slug=slug).first()
    if not stripe_gateway.enabled():
        return Standing("off", plan, None)
    if row is None or not row.status:
        return Standing("none", plan, row)
    if row.status in entitlement.OVERDUE:
        return Standing("overdue", plan, row)
    if row.status in entitlement.PAYING:
        return Standing("ending" if row.cancel_at else "paying", plan, row)
    return Standing("paused" if row.status == "paused" else "ended", plan, row)


def _cards(standing: Standing) -> list[PlanCard]:
    cards = []
    for plan in Plan.objects.order_by("position"):
        is_own = standing.plan is not None and plan.slug == standing.plan.slug
        act = ""
        if (
            standing.state not in ("off", "overdue", "paused")
            and plan.stripe_price_id
            and not _pays_for(standing, plan)
        ):
            dearer = standing.plan is None or plan.price > standing.plan.price
            act = "Upgrade to" if dearer else "Change to"
            if is_own:
                act = "Pay for"
        cards.append(PlanCard(plan, is_own, act))
    return cards


def _pays_for(standing: Standing, plan: Plan) -> bool:
    return _is_live(standing.row) and standing.row is not None and standing.row.plan == plan.slug


def _is_live(row: Subscription | None) -> bool:
    return row is not None and row.status in (*entitlement.PAYING, *entitlement.OVERDUE)


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}" if amount else "0"
