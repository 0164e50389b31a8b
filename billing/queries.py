"""Reads of plans and of the ledger. All of them need the tenant's scope."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from django.db import connections
from django.db.models import Count, Q, Sum, Value
from django.db.models.functions import Greatest, Least, TruncDate
from django.utils import timezone

from billing import api_calls, quota
from billing.limits import Limits, limits_of
from billing.models import UsageEvent
from tenants.scope import APP_ALIAS, require_tenant_id


@dataclass(frozen=True, slots=True)
class Quota:
    """What the plan includes per calendar month, in records accepted. `records_over` are billed one by one."""

    records_included: int
    records_used: int
    records_remaining: int
    records_over: int
    overage_allowed: bool


@dataclass(frozen=True, slots=True)
class DayUsage:
    """A day (UTC) of the month; credits in thousandths. What a later month put right stands on the last day."""

    day: date
    records: int
    vendor_calls: int
    credits: int


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
    limits: Limits
    vendors: list[VendorUsage] = field(default_factory=list)
    days: list[DayUsage] = field(default_factory=list)


def current_period() -> date:
    """The month that usage counts in now: its first day, UTC."""
    return timezone.now().date().replace(day=1)


def usage(period: date, *, livemode: bool = True) -> Usage:
    """The open tenant's usage in the month that starts on `period`, from the ledger. Test mode is not metered:
    it has calls and credits, and no records. The quota is always that of live mode, and of the plan as it is now."""
    tenant_id = require_tenant_id()
    ledger = UsageEvent.objects.filter(period=period, livemode=livemode)
    attempts = ledger.filter(kind=UsageEvent.Kind.ATTEMPT)
    vendors = [
        VendorUsage(row["provider"], row["calls"], row["spent"])
        for row in attempts.values("provider")
        .annotate(calls=Count("id", filter=Q(quantity__gt=0)), spent=Sum("credits"))
        .order_by("provider")
    ]
    accepted = records_of(period)
    limits = limits_of(tenant_id)
    return Usage(
        period=period,
        records=accepted if livemode else 0,
        vendor_calls=sum(vendor.calls for vendor in vendors),
        credits=sum(vendor.credits for vendor in vendors),
        api_calls=api_calls.calls_in(tenant_id, period, livemode=livemode),
        quota=quota_of(limits, accepted),
        limits=limits,
        vendors=vendors,
        days=_days(period, livemode=livemode),
    )


def quota_of(limits: Limits, used: int) -> Quota:
    """How far a month's records go."""
    return _quota(limits.monthly_records, used, overage_allowed=limits.overage_allowed)


def _quota(included: int, used: int, *, overage_allowed: bool) -> Quota:
    return Quota(included, used, max(0, included - used), max(0, used - included), overage_allowed)


def quota_now() -> Quota:
    """The open tenant's present month, from its counters: one statement and a few rows, however much was used."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            f"""SELECT q.included, q.overage, coalesce((SELECT sum(c.records) FROM billing_usagecounter c
                       WHERE c.tenant_id = t.id AND c.period = {quota.PERIOD}), 0)::bigint
                FROM tenants_tenant t CROSS JOIN LATERAL (
                    SELECT coalesce(o.monthly_records, p.monthly_records) AS included,
                           coalesce(o.overage_allowed, p.overage_allowed) AS overage
                    FROM billing_plan p
                    LEFT JOIN billing_planoverride o ON o.tenant_id = t.id AND o.expires_at > now()
                    WHERE p.slug IN (t.plan, 'free') ORDER BY p.slug = t.plan DESC LIMIT 1) q
                WHERE t.id = %s""",  # noqa: S608 - a constant
            [require_tenant_id()],
        )
        included, overage, used = cursor.fetchone()
    return _quota(included, used, overage_allowed=overage)


def records_of(period: date) -> int:
    """The live records of a month, from the open tenant's ledger."""
    counted = UsageEvent.objects.filter(period=period, kind=UsageEvent.Kind.RECORD, livemode=True)
    return int(counted.aggregate(n=Sum("quantity"))["n"] or 0)


def _days(period: date, *, livemode: bool) -> list[DayUsage]:
    last = (period + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    found: dict[date, DayUsage] = {}
    rows = (
        UsageEvent.objects.filter(period=period, livemode=livemode)
        .order_by()
        .values(day=Least(Greatest(TruncDate("created_at"), Value(period)), Value(last)))
        .annotate(
            records=Sum("quantity", filter=Q(kind=UsageEvent.Kind.RECORD), default=0),
            calls=Count("id", filter=Q(kind=UsageEvent.Kind.ATTEMPT, quantity__gt=0)),
            spent=Sum("credits"),
        )
    )
    for row in rows:
        records = row["records"] if livemode else 0
        found[row["day"]] = DayUsage(row["day"], records, row["calls"], row["spent"])
    return [found[day] for day in sorted(found)]
