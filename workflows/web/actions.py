"""Pausing, resuming and cancelling a run from its page."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from tenants.errors import Conflict
from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows import queries
from workflows.operations.control_run import cancel_run, pause_run, resume_run
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


def _carry_out(request: TenantRequest, run_id: uuid.UUID, operation: object, done: str) -> HttpResponse:
    try:
        with tenant_scope(request.membership.tenant_id):
            operation(run_id=run_id, actor=actor(request))  # type: ignore[operator]
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, done)
    return redirect("run", run_id=run_id)
