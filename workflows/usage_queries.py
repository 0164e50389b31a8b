"""What each workflow used, from the ledger. Needs the tenant's scope."""

from dataclasses import dataclass
from datetime import date

from django.db import connections

from tenants.scope import APP_ALIAS, require_tenant_id


@dataclass(frozen=True, slots=True)
class WorkflowUsage:
    """A workflow's records accepted, calls to vendors, and their credits in thousandths, in a month."""

    workflow: str
    name: str
    records: int
    vendor_calls: int
    credits: int


def use_of_workflows(period: date, livemode: bool) -> list[WorkflowUsage]:
    """What the open tenant's workflows used in the month that starts on `period`, the most records first.

    Test mode has no records, as it is not metered.
    """
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT w.slug, w.name, sum(u.records)::bigint, sum(u.calls)::bigint, sum(u.credits)::bigint
               FROM (SELECT run_id, coalesce(sum(quantity) FILTER (WHERE kind = 'record' AND livemode), 0) AS records,
                            count(*) FILTER (WHERE kind = 'attempt' AND quantity > 0) AS calls, sum(credits) AS credits
                     FROM billing_usageevent WHERE tenant_id = %(tenant)s AND period = %(period)s AND livemode = %(live)s
                     GROUP BY 1) u
               JOIN run r ON r.id = u.run_id AND r.tenant_id = %(tenant)s
               JOIN workflow w ON w.id = r.workflow_id AND w.tenant_id = r.tenant_id
               GROUP BY w.id, w.slug, w.name ORDER BY 3 DESC, 4 DESC, 1""",
            {"tenant": require_tenant_id(), "period": period, "live": livemode},
        )
        return [WorkflowUsage(*row) for row in cursor.fetchall()]
