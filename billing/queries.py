"""Reads of plans and of the ledger. All of them need the tenant's scope."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from django.db import connections
from django.db.models import Sum
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
    vendors, days = _ledger(period, livemode=livemode)
    accepted = sum(day.records for day in days) if livemode else _records(period)
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
        days=days,
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


def _records(period: date) -> int:
    counted = UsageEvent.objects.filter(period=period, kind=UsageEvent.Kind.RECORD, livemode=True)
    return int(counted.aggregate(n=Sum("quantity"))["n"] or 0)


def _ledger(period: date, *, livemode: bool) -> tuple[list[VendorUsage], list[DayUsage]]:
    """A month by vendor and by day. One look at its entries for both: there may be hundreds of thousands."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT day, provider, coalesce(sum(quantity) FILTER (WHERE kind = 'record'), 0)::bigint,
                      count(*) FILTER (WHERE kind = 'attempt' AND quantity > 0), sum(credits)::bigint,
                      count(*) FILTER (WHERE kind = 'attempt'),
                      coalesce(sum(credits) FILTER (WHERE kind = 'attempt'), 0)::bigint
               FROM (SELECT kind, quantity, credits, provider,
                            least(greatest((created_at AT TIME ZONE 'utc')::date, %(first)s::date), %(last)s::date) AS day
                     FROM billing_usageevent
                     WHERE tenant_id = %(tenant)s AND period = %(first)s AND livemode = %(live)s) e
               GROUP BY GROUPING SETS ((day), (provider)) ORDER BY day, provider""",
            {
                "tenant": require_tenant_id(), "first": period, "live": livemode,
                "last": (period + timedelta(days=32)).replace(day=1) - timedelta(days=1),
            },
        )  # fmt: skip
        vendors, days = [], []
        for day, provider, records, calls, cost, attempts, spent in cursor.fetchall():
            if day is not None:
                days.append(DayUsage(day, records if livemode else 0, calls, cost))
            elif attempts:
                vendors.append(VendorUsage(provider, calls, spent))
    return vendors, days
