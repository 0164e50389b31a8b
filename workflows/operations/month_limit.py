"""The tenant's monthly credit limit: what it has used, and what happens when it is set, changed or lifted."""

import uuid
from dataclasses import dataclass
from datetime import date

from django.db import connections, transaction
from django.db.models import Q, Sum

from billing.models import UsageEvent
from billing.queries import current_period
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.lanes.ring import ring_after_commit
from workflows.models import LaneRun, Run
from workflows.states import LaneRunState, RunStatus


@dataclass(frozen=True, slots=True)
class MonthUse:
    """Live credits of the present month, in thousandths. `parked`: whether work waits for the limit."""

    month: date
    limit: int | None
    spent: int
    reserved: int
    parked: bool

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.spent - self.reserved)


def limit_changed(was: int | None, now: int | None) -> None:
    """Count the month from the ledger and the queue when a limit is set, and let parked work go on after the commit.

    Called in the transaction that locked the tenant's row: no flush of the tenant is under way until it ends.
    """
    tenant_id = require_tenant_id()
    if was is None and now is not None:
        _count_anew(tenant_id)
    transaction.on_commit(lambda: unpark(tenant_id), using=APP_ALIAS)


def unpark(tenant_id: uuid.UUID) -> None:
    """Let the work go on that waits for the tenant's monthly limit; where there still is no room, it parks again.

    In a transaction of its own: whoever has a tenant in hand must not ask for lanes.
    """
    with tenant_scope(tenant_id):
        parked = LaneRun.objects.filter(state=LaneRunState.BUDGET, parked_until__isnull=False)
        lanes = {(tenant_id, lane_id) for lane_id in parked.values_list("lane_id", flat=True)}
        parked.update(state=LaneRunState.ACTIVE, parked_until=None)
        ring_after_commit(lanes)


def month_use() -> MonthUse:
    """What the open tenant has spent and set aside this month, whether it has a limit or none."""
    month = current_period()
    limit = Tenant.objects.values_list("monthly_credit_limit", flat=True).get(pk=require_tenant_id())
    ledger = UsageEvent.objects.filter(period=month, kind=UsageEvent.Kind.ATTEMPT, livemode=True)
    # A run that failed has its end before its last calls have.
    under_way = Run.objects.filter(Q(finished_at=None) | Q(status=RunStatus.FAILED), livemode=True)
    return MonthUse(
        month=month,
        limit=limit,
        spent=ledger.aggregate(n=Sum("credits"))["n"] or 0,
        reserved=under_way.aggregate(n=Sum("credits_reserved"))["n"] or 0,
        parked=LaneRun.objects.filter(state=LaneRunState.BUDGET, parked_until__isnull=False).exists(),
    )


def _count_anew(tenant_id: uuid.UUID) -> None:
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """WITH m AS (SELECT date_trunc('month', now() AT TIME ZONE 'utc')::date AS month)
               INSERT INTO credit_month AS c (id, tenant_id, month, spent, reserved)
               SELECT %(id)s, %(tenant)s, m.month,
                      coalesce((SELECT sum(e.credits) FROM billing_usageevent e WHERE e.tenant_id = %(tenant)s
                                AND e.period = m.month AND e.kind = 'attempt' AND e.livemode), 0),
                      coalesce((SELECT sum(q.reserved) FROM run r JOIN step_queue q ON q.run_id = r.id
                                WHERE r.tenant_id = %(tenant)s AND r.livemode
                                AND (r.finished_at IS NULL OR r.status = 'failed')
                                AND coalesce(nullif(q.job->>'month', '')::date,
                                             date_trunc('month', q.sent_at AT TIME ZONE 'utc')::date) = m.month), 0)
               FROM m
               ON CONFLICT (tenant_id, month) DO UPDATE SET spent = excluded.spent, reserved = excluded.reserved""",
            {"id": uuid7(), "tenant": tenant_id},
        )
