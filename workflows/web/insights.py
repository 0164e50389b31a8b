"""What was used: a month's records, calls and credits, from the ledger."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from django.db.models import Count, Sum
from django.db.models.functions import TruncDate
from django.http import HttpResponse
from django.utils import timezone

from billing.limits import limits_of
from billing.models import UsageEvent
from integrations.models import Connection
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, tenant_page
from workflows.models import Run
from workflows.web import describe
from workflows.web.frame import only_sandbox, render_page

MONTHS = 6


@dataclass(frozen=True, slots=True)
class VendorUse:
    """A vendor's calls in a month. Credits in thousandths."""

    title: str
    calls: int
    credits: int
    money: str


@dataclass(frozen=True, slots=True)
class DayBar:
    """A day of the chart: its records, and its bar in per cent of the chart."""

    day: date
    records: int
    x: str
    y: str
    width: str
    height: str


@tenant_page("usage.read")
def insights(request: TenantRequest) -> HttpResponse:
    today = timezone.now().date()
    months = _months(today)
    month = next((m for m in months if f"{m:%Y-%m}" == request.GET.get("period")), months[0])
    asked = request.GET.get("mode")
    livemode = asked == "live" if asked in ("live", "sandbox") else not only_sandbox(request)
    with tenant_scope(request.membership.tenant_id):
        events = UsageEvent.objects.filter(period=month, livemode=livemode)
        records = events.filter(kind=UsageEvent.Kind.RECORD).aggregate(n=Sum("quantity"))["n"] or 0
        attempts = list(
            events.filter(kind=UsageEvent.Kind.ATTEMPT)
            .values("provider")
            .order_by("provider")
            .annotate(calls=Count("id"), credits=Sum("credits"))
        )
        prices = _prices(livemode=livemode)
        days = _days(month, today, livemode=livemode)
        plan = limits_of(request.membership.tenant_id)
    vendors = [
        VendorUse(
            describe.vendor_title(row["provider"]),
            row["calls"],
            row["credits"] or 0,
            _money(row["credits"] or 0, prices.get(row["provider"])),
        )
        for row in attempts
    ]
    return render_page(
        request,
        "workflows/insights.html",
        nav="insights",
        month=month,
        months=months,
        mode="live" if livemode else "sandbox",
        records=records,
        vendors=vendors,
        calls=sum(vendor.calls for vendor in vendors),
        credits=sum(vendor.credits for vendor in vendors),
        days=days,
        most=max((day.records for day in days), default=0),
        brought=sum(day.records for day in days),
        plan=plan,
        share=f"{min(100.0, 100 * records / plan.monthly_records):.1f}%" if plan.monthly_records else "0%",
        is_current=month == months[0],
    )


def _months(today: date) -> list[date]:
    """This month and those before it, as first days."""
    months = [today.replace(day=1)]
    while len(months) < MONTHS:
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    return months


def _days(month: date, today: date, *, livemode: bool) -> list[DayBar]:
    """Records brought in per day of the month (UTC), up to today."""
    after = (month + timedelta(days=32)).replace(day=1)
    last = min(after - timedelta(days=1), today)
    rows = (
        Run.objects.filter(livemode=livemode, created_at__date__gte=month, created_at__date__lte=last)
        .order_by()
        .annotate(day=TruncDate("created_at"))
        .values("day")
        .annotate(n=Sum("total"))
    )
    by_day = {row["day"]: row["n"] or 0 for row in rows}
    length = (after - month).days
    most = max(by_day.values(), default=0)
    bars = []
    for number in range((last - month).days + 1):
        day = month + timedelta(days=number)
        height = 100 * by_day.get(day, 0) / most if most else 0.0
        x = 100 * number / length
        bars.append(
            DayBar(
                day,
                by_day.get(day, 0),
                f"{x:.2f}%",
                f"{100 - height:.2f}%",
                f"{70 / length:.2f}%",
                f"{height:.2f}%",
            )
        )
    return bars


def _prices(*, livemode: bool) -> dict[str, tuple[Decimal, str]]:
    """Provider -> (price of a credit, currency), where all of its priced connections agree."""
    mode = Connection.Mode.LIVE if livemode else Connection.Mode.SANDBOX
    rows = Connection.objects.filter(mode=mode, price_per_credit__isnull=False)
    prices: dict[str, set[tuple[Decimal, str]]] = {}
    for row in rows:
        prices.setdefault(row.provider, set()).add((row.price_per_credit, row.currency))
    return {provider: next(iter(found)) for provider, found in prices.items() if len(found) == 1}


def _money(credits: int, price: tuple[Decimal, str] | None) -> str:
    return f"{price[0] * credits / 1000:,.2f} {price[1]}" if price else ""
