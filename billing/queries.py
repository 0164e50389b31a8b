"""Reads of plans and of the ledger. All of them need the tenant's scope."""

from dataclasses import dataclass, field
from datetime import date

from django.db.models import Count, Q, Sum
from django.utils import timezone

from billing import api_calls
from billing.models import Plan, UsageEvent
from tenants.scope import require_tenant_id


@dataclass(frozen=True, slots=True)
class Quota:
    """What the plan includes per calendar month, in records accepted."""

    records_included: int
    records_used: int
    records_remaining: int


@dataclass(frozen=True, slots=True)
class VendorUsage:
    """What one vendor was asked in a month; credits in thousandths."""

    provider: str
    calls: int
    credits: int


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's month. `credits` are the vendors' own, in thousandths; `api_calls` is None when nobody can tell."""

    period: date
    records: int
    vendor_calls: int
    credits: int
    api_calls: int | None
    quota: Quota
    vendors: list[VendorUsage] = field(default_factory=list)


def current_period() -> date:
    """The month that usage counts in now: its first day, UTC."""
    return timezone.now().date().replace(day=1)


def usage(period: date, *, plan: str, livemode: bool = True) -> Usage:
    """The open tenant's usage in the month that starts on `period`, from the ledger. Test mode is not metered:
    it has calls and credits, and no records. The quota is always that of live mode."""
    tenant_id = require_tenant_id()
    ledger = UsageEvent.objects.filter(period=period, livemode=livemode)
    attempts = ledger.filter(kind=UsageEvent.Kind.ATTEMPT)
    vendors = [
        VendorUsage(row["provider"], row["calls"], row["spent"])
        for row in attempts.values("provider")
        .annotate(calls=Count("id", filter=Q(quantity__gt=0)), spent=Sum("credits"))
        .order_by("provider")
    ]
    accepted = _records(period)
    return Usage(
        period=period,
        records=accepted if livemode else 0,
        vendor_calls=sum(vendor.calls for vendor in vendors),
        credits=sum(vendor.credits for vendor in vendors),
        api_calls=api_calls.calls_in(tenant_id, period, livemode=livemode),
        quota=_quota(plan, accepted),
        vendors=vendors,
    )


def _records(period: date) -> int:
    counted = UsageEvent.objects.filter(period=period, kind=UsageEvent.Kind.RECORD, livemode=True)
    return int(counted.aggregate(n=Sum("quantity"))["n"] or 0)


def _quota(plan: str, used: int) -> Quota:
    included = Plan.objects.filter(slug=plan).values_list("monthly_records", flat=True).first() or 0
    return Quota(included, used, max(0, included - used))
