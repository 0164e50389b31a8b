"""What of a month's records is billed: all of them, less those that an agreement or a newer plan includes beyond the price.

A subscription's price has its own included records at Stripe. Where a tenant may use more of them without paying, the meter
is told less than the ledger has: the difference is noted by month, and stays when the agreement ends within it.
"""

from datetime import date

from django.utils import timezone

from billing.models import Plan, PlanOverride, Subscription
from tenants.models import Tenant


def billable(row: Subscription, period: date, records: int) -> int:
    """How many of a month's records are told to Stripe."""
    return max(0, records - row.agreed.get(_key(period), 0))


def note(row: Subscription, period: date) -> None:
    """Write down what is included beyond the price in the present month: the most that it was. In the tenant's scope, with
    the row locked."""
    plan = Plan.objects.filter(slug__in=Tenant.objects.filter(pk=row.tenant_id).values("plan")).first()
    agreed = PlanOverride.objects.filter(expires_at__gt=timezone.now()).first()
    if plan is None or (row.price_includes is None and agreed is None):
        return
    included = plan.monthly_records
    if agreed is not None and agreed.monthly_records is not None:
        included = agreed.monthly_records
    of_price = plan.monthly_records if row.price_includes is None else row.price_includes
    beyond = max(included - of_price, row.agreed.get(_key(period), 0))
    if beyond > row.agreed.get(_key(period), 0):
        row.agreed = row.agreed | {_key(period): beyond}
        row.save(update_fields=["agreed"])


def _key(period: date) -> str:
    return f"{period:%Y-%m}"
