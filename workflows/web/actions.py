"""Pausing, resuming and cancelling a run from its page, and changing what it may spend."""

import uuid
from decimal import Decimal

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from tenants.errors import Conflict
from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows import queries
from workflows.operations.change_run import change_run
from workflows.operations.control_run import cancel_run, pause_run, resume_run
from workflows.web.forms import LimitForm
from workflows.web.frame import render_page


@require_POST
@tenant_page("runs.change")
def pause(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    return _carry_out(request, run_id, pause_run, "Paused. Calls in flight end; no new ones start.")


@require_POST
@tenant_page("runs.change")
def resume(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    return _carry_out(request, run_id, resume_run, "The run goes on.")


@tenant_page("runs.change")
def cancel(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    """Ask first, on a page of its own where the dialog could not be opened; then cancel."""
    if request.method == "POST":
        return _carry_out(request, run_id, cancel_run, "Cancelled. What was found is kept.")
    with tenant_scope(request.membership.tenant_id):
        run = queries.get_run(run_id)
    return render_page(
        request,
        "workflows/cancel.html",
        nav="runs",
        run=run,
        left=figures.counted(run.pending, "row"),
    )


@tenant_page("runs.change")
def change_limit(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    """Raise, lower or lift what the run may spend."""
    with tenant_scope(request.membership.tenant_id):
        run = queries.get_run(run_id)
    limit = None if run.credit_limit is None else Decimal(run.credit_limit) / 1000
    form = LimitForm(request.POST or None, initial={"credit_limit": limit})
    if request.method == "POST" and form.is_valid():
        try:
            change_run(
                tenant_id=run.tenant_id,
                run_id=run_id,
                actor=actor(request),
                changes={"credit_limit": form.in_thousandths()},
            )
        except Conflict as error:
            messages.error(request, error.detail)
        else:
            messages.success(request, "The limit is changed. What waits for it goes on where there is room.")
        return redirect("run", run_id=run_id)
    status = 422 if form.errors else 200
    return render_page(request, "workflows/limit.html", nav="runs", status=status, run=run, form=form)


def _carry_out(request: TenantRequest, run_id: uuid.UUID, operation: object, done: str) -> HttpResponse:
    try:
        with tenant_scope(request.membership.tenant_id):
            operation(run_id=run_id, actor=actor(request))  # type: ignore[operator]
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, done)
    return redirect("run", run_id=run_id)
