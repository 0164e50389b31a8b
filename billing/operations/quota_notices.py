"""Telling tenants how much of the month's records they have used: at 80 % and at 100 %, once each."""

import uuid
from dataclasses import dataclass
from datetime import date

import structlog
from django.db import connections

from billing.models import BillingNotice, QuotaNotice
from billing.operations import notices
from billing.quota import PERIOD
from tenants import audit, events
from tenants.errors import WeirError
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope

THRESHOLDS = (80, 100)
ACTOR = "system:quota"
_log = structlog.stdlib.get_logger("weir.quota")


@dataclass(frozen=True, slots=True)
class Due:
    """A tenant that has come to a threshold of its quota and was not told yet."""

    tenant_id: uuid.UUID
    plan: str
    period: date
    used: int
    included: int
    overage_allowed: bool

    @property
    def percent(self) -> int:
        return max(percent for percent in THRESHOLDS if self.used * 100 >= self.included * percent)


def tell_quotas() -> int:
    """Tell every tenant that came to a threshold of this month's quota: by mail to its admins and by `quota.warning`.

    Returns how many were told. Twice does no harm.
    """
    told = 0
    for due in due_notices():
        try:
            told += tell(due)
        except WeirError as error:  # a tenant that is going; the others' turn
            _log.warning("quota_notice_failed", error=error.code)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("quota_notice_broke", tenant_id=str(due.tenant_id), exc_info=error)
    return told


def due_notices() -> list[Due]:
    """Who is to be told now, of all active tenants."""
    with ops_scope("quota notices"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            f"""WITH used AS (SELECT tenant_id, sum(records)::bigint AS n FROM billing_usagecounter
                              WHERE period = {PERIOD} GROUP BY 1)
                SELECT t.id, q.name, {PERIOD}, u.n, q.included, q.overage
                FROM used u JOIN tenants_tenant t ON t.id = u.tenant_id
                CROSS JOIN LATERAL (
                    SELECT p.name, coalesce(o.monthly_records, p.monthly_records) AS included,
                           coalesce(o.overage_allowed, p.overage_allowed) AS overage
                    FROM billing_plan p
                    LEFT JOIN billing_planoverride o ON o.tenant_id = t.id AND o.expires_at > now()
                    WHERE p.slug IN (t.plan, 'free') ORDER BY p.slug = t.plan DESC LIMIT 1) q
                WHERE t.status = 'active' AND q.included > 0 AND u.n * 100 >= q.included * 80
                  AND NOT EXISTS (
                    SELECT 1 FROM billing_quotanotice n WHERE n.tenant_id = t.id AND n.period = {PERIOD}
                    AND n.included = q.included AND n.percent >= CASE WHEN u.n >= q.included THEN 100 ELSE 80 END)
                ORDER BY t.id""",  # noqa: S608 - a constant
        )
        return [Due(*row) for row in cursor.fetchall()]


def tell(due: Due) -> bool:
    """Note and announce one notice, and have it mailed; False when somebody else has done so meanwhile."""
    with tenant_scope(due.tenant_id):
        notice = QuotaNotice(
            tenant_id=due.tenant_id,
            period=due.period,
            percent=due.percent,
            used=due.used,
            included=due.included,
        )
        known = {"period": due.period, "percent": due.percent, "included": due.included}
        with connections[APP_ALIAS].cursor() as cursor:
            # Only one of two that look at once goes on; the unique constraint would be an error instead.
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('quota notice:' || %s, 0))",
                [str(due.tenant_id)],
            )
        if QuotaNotice.objects.filter(**known).exists():
            return False
        notice.save(force_insert=True)
        audit.record(
            actor=ACTOR, verb="quota.warned", subject=notice, percent=due.percent, used=due.used,
            included=due.included,
        )  # fmt: skip
        events.emit("quota.warning", _told(due), key=f"quota:{due.period:%Y-%m}:{due.percent}:{due.included}")
        notices.note(
            kind=BillingNotice.Kind.QUOTA_WARNING, about=f"{due.period:%Y-%m}:{due.percent}:{due.included}",
            period=f"{due.period:%Y-%m}", plan=due.plan, percent=due.percent, used=due.used, included=due.included,
            overage_allowed=due.overage_allowed,
            share="All of" if due.percent >= 100 else f"{due.percent} % of",
        )  # fmt: skip
    return True


def _told(due: Due) -> dict[str, object]:
    return {
        "period": f"{due.period:%Y-%m}",
        "percent": due.percent,
        "records_used": due.used,
        "records_included": due.included,
        "overage_allowed": due.overage_allowed,
    }
