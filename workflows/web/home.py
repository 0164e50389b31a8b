"""Home: what this month brought, what is under way, and whether the vendors are well."""

from dataclasses import dataclass

from django.db.models import Count, Sum
from django.http import HttpResponse
from django.utils import timezone

from tenants.models import ApiKey
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, allows, tenant_page
from workflows import queries
from workflows.models import Run
from workflows.web.frame import render_live, render_page, version_of
from workflows.web.run_row import RunRow
from workflows.web.vendors import read_vendors

RECENT = 8


@dataclass(frozen=True, slots=True)
class Month:
    """The month's runs, summed up. Credits in thousandths."""

    runs: int
    total: int
    found: int
    finished: int
    under_way: int
    spent: int


@tenant_page("runs.read")
def home(request: TenantRequest) -> HttpResponse:
    vendors = read_vendors(request)
    rows = _recent(request)
    with tenant_scope(request.membership.tenant_id):
        month = _month()
        has_key = ApiKey.objects.filter(last_used_at__isnull=False).exists()
    return render_page(
        request,
        "workflows/home.html",
        nav="home",
        month=month,
        month_name=f"{timezone.now():%B}",
        vendors=vendors,
        unwell=[vendor for vendor in vendors if vendor.needs_a_person],
        rows=rows,
        version=_version(rows),
        has_key=has_key,
        may_connect=allows(request, "connections.change"),
    )


@tenant_page("runs.read")
def recent(request: TenantRequest) -> HttpResponse:
    """The newest runs alone, for the page to ask for again; 204 when nothing in them changed."""
    rows = _recent(request)
    return render_live(request, "workflows/_recent.html", version=_version(rows), rows=rows)


def _recent(request: TenantRequest) -> list[RunRow]:
    with tenant_scope(request.membership.tenant_id):
        runs = list(queries.runs()[:RECENT])
        finishes = queries.estimates(runs)
    return [RunRow(run, finishes[run.pk]) for run in runs]


def _version(rows: list[RunRow]) -> str:
    return version_of(
        [(row.run.pk, row.outcome, row.run.status, row.run.pending, row.run.failed) for row in rows]
    )


def _month() -> Month:
    begin = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    sums = Run.objects.filter(created_at__gte=begin).aggregate(
        runs=Count("id"),
        total=Sum("total"),
        found=Sum("found") + Sum("done"),
        unanswered=Sum("pending") + Sum("cancelled"),
        spent=Sum("credits_spent"),
    )
    total, unanswered = sums["total"] or 0, sums["unanswered"] or 0
    return Month(
        runs=sums["runs"],
        total=total,
        found=sums["found"] or 0,
        finished=total - unanswered,
        under_way=Run.objects.filter(finished_at=None).count(),
        spent=sums["spent"] or 0,
    )
