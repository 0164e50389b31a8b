"""Calls that may have been paid for, over all runs, and what is decided about them."""

import uuid

from django.contrib import messages
from django.db.models import Count, Sum
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from integrations.connectors import registry
from tenants.errors import Conflict, InvalidInput
from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows.models import AmbiguousCall, Record, Run
from workflows.operations.ambiguous import ACCEPT, REPEAT, decide_call, decide_calls
from workflows.web import describe
from workflows.web.frame import render_page
from workflows.web.paging import page_of, row_id

_DONE = {REPEAT: "asked again", ACCEPT: "accepted as lost"}


@tenant_page("runs.read")
def calls(request: TenantRequest) -> HttpResponse:
    """The calls, the newest first; filtered by what became of them and by vendor."""
    status, provider = request.GET.get("status", ""), request.GET.get("vendor", "")
    with tenant_scope(request.membership.tenant_id):
        rows = AmbiguousCall.objects.all()
        if status in AmbiguousCall.Status.values:
            rows = rows.filter(status=status)
        if provider in registry.CONNECTORS:
            rows = rows.filter(provider=provider)
        page = page_of(rows, request.GET, key="id", ascending=False, parse=row_id)
        waiting = list(
            AmbiguousCall.objects.filter(status=AmbiguousCall.Status.OPEN)
            .order_by("provider")
            .values("provider")
            .annotate(calls=Count("id"), cost=Sum("may_cost"))
        )
        runs = Run.objects.only("name").in_bulk([call.run_id for call in page.items])
        places = dict(
            Record.objects.filter(pk__in=[call.record_id for call in page.items]).values_list(
                "pk", "position"
            )
        )
    for group in waiting:
        group["title"] = describe.vendor_title(group["provider"])
    items = [
        {"call": call, "run": runs.get(call.run_id), "position": places.get(call.record_id),
         "vendor": describe.vendor_title(call.provider)}
        for call in page.items
    ]  # fmt: skip
    return render_page(
        request, "workflows/ambiguous.html", nav="runs", page=page, items=items, waiting=waiting, status_now=status,
        vendor_now=provider, statuses=AmbiguousCall.Status.choices,
        vendors=[(c.provider, c.title) for c in registry.CONNECTORS.values()],
        open_calls=sum(group["calls"] for group in waiting), open_cost=sum(group["cost"] for group in waiting),
    )  # fmt: skip


@require_POST
@tenant_page("runs.change")
def decide_one(request: TenantRequest, call_id: uuid.UUID) -> HttpResponse:
    decision = request.POST.get("decision", "")
    try:
        with tenant_scope(request.membership.tenant_id):
            decide_call(call_id=call_id, decision=decision, actor=actor(request))
    except (Conflict, InvalidInput) as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"The call is {_DONE[decision]}.")
    return redirect("ambiguous")


@require_POST
@tenant_page("runs.change")
def decide_all(request: TenantRequest) -> HttpResponse:
    """Decide about every open call, or every one of a vendor."""
    decision, provider = request.POST.get("decision", ""), request.POST.get("vendor", "")
    if decision not in _DONE:
        messages.error(request, "Choose what to do with the calls.")
        return redirect("ambiguous")
    try:
        decided = decide_calls(
            tenant_id=request.membership.tenant_id, decision=decision, actor=actor(request),
            provider=provider if provider in registry.CONNECTORS else "",
        )  # fmt: skip
    except InvalidInput as error:
        messages.error(request, error.detail)
        return redirect("ambiguous")
    words = f"{figures.counted(decided.calls, 'call')} {_DONE[decision]}"
    if decided.left:
        words += f"; {decided.left:,} left as they were, as their runs are over"
    messages.success(request, f"{words}.")
    return redirect(f"{reverse('ambiguous')}")
