"""The month and the plan: how many records are used, by day, vendor and workflow, and what else the plan limits."""

from dataclasses import dataclass
from datetime import date, timedelta

from django.http import HttpResponse
from django.utils import timezone

from billing import queries, stripe_gateway
from billing.queries import DayUsage
from integrations.models import Connection
from integrations.queries import connections
from tenants.models import Invitation, Membership
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, tenant_page
from workflows.usage_queries import use_of_workflows
from workflows.web import describe
from workflows.web.frame import render_page

MONTHS = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """A day of the chart: what it used, and its bar in per cent of the chart."""

    use: DayUsage
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Place:
    """Something that the plan has so many of; `most` None: no limit."""

    what: str
    taken: int | None
    most: int | None
    note: str


@tenant_page("usage.read")
def usage(request: TenantRequest) -> HttpResponse:
    months = months_before(timezone.now().date())
    month = next((m for m in months if f"{m:%Y-%m}" == request.GET.get("period")), months[0])
    with tenant_scope(request.membership.tenant_id):
        found = queries.usage(month)
        workflows = use_of_workflows(month, livemode=True)
        places = _places(found)
    quota = found.quota
    return render_page(
        request,
        "workflows/usage.html",
        nav="insights",
        nav_sub="usage",
        month=month,
        months=months,
        use=found,
        quota=quota,
        is_current=month == months[0],
        next_month=(months[0] + timedelta(days=32)).replace(day=1),
        share=f"{min(100.0, 100 * quota.records_used / max(1, quota.records_included)):.1f}%",
        bars=_bars(month, found.days),
        most=max((day.records for day in found.days), default=0),
        vendors=[(describe.vendor_title(row.provider), row.calls, row.credits) for row in found.vendors],
        workflows=workflows,
        places=places,
        billing_on=stripe_gateway.enabled(),
    )


def months_before(today: date) -> list[date]:
    """This month and those before it, as first days."""
    months = [today.replace(day=1)]
    while len(months) < MONTHS:
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    return months


def _places(found: queries.Usage) -> list[Place]:
    limits = found.limits
    invited = Invitation.objects.filter(
        accepted_at=None, revoked_at=None, expires_at__gt=timezone.now()
    ).count()
    lanes = connections().filter(mode=Connection.Mode.LIVE).count()
    return [
        Place("Live connections", lanes, limits.lanes, "those to the sandbox are free"),
        Place("People", Membership.objects.count() + invited, limits.seats, "members and open invitations"),
        Place("API requests a minute", None, limits.requests_per_minute, "all keys together"),
        Place("API requests a second", None, limits.requests_per_second, "of one key"),
    ]


def _bars(month: date, days: list[DayUsage]) -> list[Bar]:
    length = ((month + timedelta(days=32)).replace(day=1) - month).days
    most = max((day.records for day in days), default=0)
    bars = []
    for use in days:
        height = 100 * max(0, use.records) / most if most > 0 else 0.0
        x = 100 * (use.day - month).days / length
        bars.append(Bar(use, f"{x:.2f}%", f"{100 - height:.2f}%", f"{70 / length:.2f}%", f"{height:.2f}%"))
    return bars
