"""What the tenant may spend on vendors in a month, and what it has spent and set aside so far."""

from decimal import Decimal

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from tenants.operations.tenant_settings import change_tenant
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from workflows.operations.month_limit import month_use
from workflows.web.forms import LimitForm
from workflows.web.frame import render_page


class MonthLimitForm(LimitForm):
    """What all live runs together may spend in a calendar month; nothing for no limit."""

    credit_limit = forms.DecimalField(
        label="Most credits a month",
        min_value=Decimal(0),
        max_value=Decimal(1_000_000_000),
        decimal_places=3,
        required=False,
        help_text="All vendors and all live runs together. At the limit work waits; it goes on when the limit is raised "
        "or the month is over (UTC). Leave it empty for no limit.",
    )


@tenant_page("tenant.read", post="tenant.change")
def monthly_limit(request: TenantRequest) -> HttpResponse:
    tenant_id = request.membership.tenant_id
    with tenant_scope(tenant_id):
        use = month_use()
    limit = None if use.limit is None else Decimal(use.limit) / 1000
    form = MonthLimitForm(request.POST if request.method == "POST" else None, initial={"credit_limit": limit})
    if request.method == "POST" and form.is_valid():
        with tenant_scope(tenant_id):
            change_tenant(actor=actor(request), changes={"monthly_credit_limit": form.in_thousandths()})
        messages.success(
            request, "The monthly limit is changed. What waits for it goes on where there is room."
        )
        return redirect("monthly_limit")
    return render_page(
        request, "workflows/month.html", nav="settings", status=422 if form.errors else 200, form=form, use=use,
        may_change=allows(request, "tenant.change"),
    )  # fmt: skip
