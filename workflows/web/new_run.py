"""From a file to a run: choose the file, check its columns and its price, start."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect

from tenants.errors import InvalidInput, WeirError
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows.models import Run, Upload, Workflow
from workflows.operations.accept_run import accept_upload, find_workflow
from workflows.operations.create_upload import create_upload, look_over
from workflows.upload_handler import announces_too_much, payload_too_large, refusal_of
from workflows.web.column_check import read_check
from workflows.web.forms import StartForm
from workflows.web.frame import render_page
from workflows.web.workflow_pages import view_of


@tenant_page("runs.change")
def choose_file(request: TenantRequest) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        workflows = list(Workflow.objects.filter(enabled=True).order_by("id"))
    chosen = request.POST.get("workflow") or request.GET.get("workflow", "")
    if request.method != "POST":
        return _choose_page(request, workflows, chosen)
    try:
        upload, workflow = _take_file(request, chosen)
    except WeirError as error:
        if request.htmx:
            return render(request, "workflows/_upload_error.html", {"error": error}, status=error.status)
        return _choose_page(request, workflows, chosen, error=error, status=error.status)
    target = f"{reverse('check_columns', args=[upload.pk])}?workflow={workflow.slug}"
    return HttpResponseClientRedirect(target) if request.htmx else redirect(target)


@tenant_page("runs.change")
def check_columns(request: TenantRequest, upload_id: uuid.UUID) -> HttpResponse:
    """The columns as chosen in the query string, with what they make of the rows, and what a run would cost."""
    check = read_check(request.membership.tenant_id, upload_id, request.GET)
    form = StartForm(initial={"name": check.upload.filename})
    if request.htmx:
        return render(request, "workflows/_check.html", {"check": check, "form": form})
    return render_page(request, "workflows/check.html", nav="runs", check=check, form=form)


@require_POST
@tenant_page("runs.change")
def start(request: TenantRequest, upload_id: uuid.UUID) -> HttpResponse:
    """Start the run. The same file is not started a second time by accident: that takes `again`."""
    tenant_id = request.membership.tenant_id
    check = read_check(tenant_id, upload_id, request.POST, with_rows=False)
    if check.earlier and not request.POST.get("again"):
        return redirect("run", run_id=check.earlier.pk)
    form = StartForm(request.POST)
    if form.is_valid():
        try:
            with tenant_scope(tenant_id):
                run = accept_upload(
                    workflow=check.workflow,
                    upload=check.upload,
                    mapping=check.mapping,
                    actor=actor(request),
                    source=Run.Source.UI,
                    livemode=check.livemode,
                    credit_limit=form.limit_in_thousandths(),
                    name=form.cleaned_data["name"],
                )
        except WeirError as error:
            form.add_error(None, error.detail)
        else:
            return redirect("run", run_id=run.pk)
    check = read_check(tenant_id, upload_id, request.POST)
    return render_page(request, "workflows/check.html", nav="runs", status=422, check=check, form=form)


def _take_file(request: TenantRequest, chosen: str) -> tuple[Upload, Workflow]:
    """Store the file that came, for the chosen workflow. Raises a WeirError that says why it cannot be used."""
    refusal = payload_too_large() if announces_too_much(request) else refusal_of(request)
    if refusal:
        raise refusal
    file: Any = request.FILES.get("file")
    if file is None:
        raise InvalidInput("No file was chosen. Choose the CSV file that holds your contacts.")
    tenant_id = request.membership.tenant_id
    with tenant_scope(tenant_id):
        workflow = find_workflow(chosen or "email-waterfall")
    name = file.name or "upload.csv"
    found = look_over(file=file, filename=name, size=file.size, template=workflow.template)
    with tenant_scope(tenant_id):
        upload = create_upload(
            file=file,
            filename=name,
            size=file.size,
            actor=actor(request),
            template=workflow.template,
            found=found,
        )
    return upload, workflow


def _choose_page(
    request: TenantRequest,
    workflows: Sequence[Workflow],
    chosen: str,
    *,
    error: WeirError | None = None,
    status: int = 200,
) -> HttpResponse:
    slugs = [workflow.slug for workflow in workflows]
    return render_page(
        request,
        "workflows/new_run.html",
        nav="runs",
        status=status,
        workflows=[view_of(workflow) for workflow in workflows],
        chosen=chosen if chosen in slugs else next(iter(slugs), ""),
        error=error,
        most_bytes=settings.UPLOAD_MAX_BYTES,
        most_rows=settings.UPLOAD_MAX_ROWS,
    )
