"""The list of runs, and the page of one run, which keeps itself up to date while the run is under way.

The page asks for one fragment every 400 ms and names the version that it shows (frame.render_live).
"""

import uuid

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.text import slugify

from tenants.errors import NotFound
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, tenant_page
from workflows import exports, queries
from workflows.models import Run
from workflows.states import RunStatus
from workflows.web.frame import render_live, render_page
from workflows.web.paging import page_of, row_id
from workflows.web.run_row import RunRow
from workflows.web.run_view import read_run

_EXPORTS = {
    "csv": (exports.results_csv, "text/csv; charset=utf-8"),
    "xlsx": (
        exports.results_xlsx,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    "jsonl": (exports.results_jsonl, "application/x-ndjson; charset=utf-8"),
}


@tenant_page("runs.read")
def run_list(request: TenantRequest) -> HttpResponse:
    status, search = request.GET.get("status", ""), request.GET.get("q", "").strip()[:100]
    status = status if status in RunStatus.values else ""
    with tenant_scope(request.membership.tenant_id):
        rows = queries.runs(status or None)
        if search and "\0" not in search:
            rows = rows.filter(name__icontains=search)
        page = page_of(rows, request.GET, key="id", ascending=False, parse=row_id, size=25)
        finishes = queries.estimates(page.items)
        under_way = Run.objects.filter(finished_at=None).count()
        any_run = bool(page.items) or Run.objects.exists()
    page.items[:] = [RunRow(run, finishes[run.pk]) for run in page.items]
    return render_page(
        request,
        "workflows/runs.html",
        nav="runs",
        page=page,
        q=search,
        wanted=status,
        statuses=RunStatus.values,
        any_run=any_run,
        under_way=under_way,
    )


@tenant_page("runs.read")
def run_page(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    view = read_run(request.membership.tenant_id, run_id, request.GET)
    return render_page(request, "workflows/run.html", nav="runs", view=view, version=view.version)


@tenant_page("runs.read")
def run_live(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    """What changed since the version that the page shows, if anything."""
    view = read_run(request.membership.tenant_id, run_id, request.GET)
    return render_live(
        request,
        "workflows/_run.html",
        version=view.version,
        final=not view.under_way,
        view=view,
        keep_rows=view.shows_rows_of(request.GET.get("v", "")),
    )


@tenant_page("runs.read")
def results(request: TenantRequest, run_id: uuid.UUID, kind: str) -> HttpResponseBase:
    """Every record with what came of it, streamed."""
    if kind not in _EXPORTS:
        raise NotFound("Results come as .csv, .xlsx and .jsonl.")
    export, content_type = _EXPORTS[kind]
    tenant_id = request.membership.tenant_id
    with tenant_scope(tenant_id):
        run = queries.get_run(run_id)
    response = StreamingHttpResponse(export(tenant_id, run), content_type=content_type)
    name = slugify(run.name.removesuffix(".csv")) or "run"
    response["Content-Disposition"] = f'attachment; filename="{name[:80]}-results.{kind}"'
    return response
