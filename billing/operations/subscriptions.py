"""Bringing a tenant's plan in line with Stripe. It is asked; what an event said, and when it came, counts for nothing."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db.models import F, Q
from django.utils import timezone

from billing import entitlement, stripe_answers, stripe_gateway
from billing.models import Plan, Subscription
from billing.operations.plans import change_plan
from tenants.models import Tenant
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope

FREE = "free"
"""The plan of whoever pays nothing."""
ACTOR = "system:stripe"
SYNC = "billing.tasks.sync_subscription"
Overdue = dict[str, datetime]
"""By a subscription's id, since when an invoice of it is unpaid."""
_log = structlog.stdlib.get_logger("weir.billing")


def sync(tenant_id: uuid.UUID) -> Subscription | None:
    """Ask Stripe what the tenant has, and give it what follows; None for a tenant without a customer.

    Call it outside any scope. Harmless any number of times and at once: an answer is written unless one that was asked
    for later is there already, and every change at Stripe tells of itself after it happened. Raises StripeAway,
    StripeRefused.
    """
    with tenant_scope(tenant_id):
        row = Subscription.objects.select_for_update().first()
        if row is None:
            return None
        row.asked += 1
        row.save(update_fields=["asked"])
        number, customer_id = row.asked, row.customer_id
    states = stripe_gateway.subscriptions_of(customer_id)
    overdue: Overdue = {}
    if any(state.status in entitlement.OVERDUE for state in states):
        overdue = stripe_gateway.overdue_since(customer_id)
    return _write(tenant_id, number, states, overdue)


def _write(
    tenant_id: uuid.UUID, number: int, states: list[stripe_answers.State], overdue: Overdue
) -> Subscription | None:
    with tenant_scope(tenant_id):
        row = Subscription.objects.select_for_update().first()
        if row is None or row.applied >= number or _is_closing(tenant_id):
            return row
        plans = list(Plan.objects.all())
        plan_of = {plan.stripe_price_id or f"no price of {plan.slug}": plan.slug for plan in plans}
        ours = [
            state
            for state in states
            if state.id == row.subscription_id or entitlement.plan_named(state, plan_of)
        ]
        state = entitlement.chosen(ours, {plan.slug: plan.position for plan in plans}, plan_of)
        plan = ""
        if state is not None:
            # Where somebody gave it a price of no plan's, it gives what was bought, after a pause or a grace too.
            kept = row.plan or row.checkout_plan if state.id == row.subscription_id else ""
            plan = entitlement.plan_named(state, plan_of) or kept
            _take_over(row, state, overdue.get(state.id))
        row.applied, row.synced_at = number, timezone.now()
        _say_trouble(row, [*_trouble(state, states, plan_of), *_unbilled(state, plan, plans)])
        _give(row, plan)
        row.save()
    return row


def _trouble(
    state: stripe_answers.State | None, states: list[stripe_answers.State], plan_of: Mapping[str, str]
) -> list[str]:
    """What somebody has to put right at Stripe."""
    live = [each for each in states if each.status in entitlement.LIVE]
    several = sorted(each.id for each in live if entitlement.plan_named(each, plan_of))
    found = []
    if len(several) > 1:
        found.append(f"{len(several)} subscriptions at once: {', '.join(several)}")
    if (
        state is not None
        and state.base is not None
        and state.status in ("active", *entitlement.OVERDUE)
        and not _is_month(state.base.period_end)
    ):
        # Its invoices are of other days than quotas and usage are of.
        found.append(f"the period of {state.id} ends on {state.base.period_end:%d %B}, not with a month")
    strange = sorted(each.id for each in live if not entitlement.plan_named(each, plan_of))
    if strange:
        found.append(f"no plan has the price of {', '.join(strange)}")
    return found


def _unbilled(state: stripe_answers.State | None, plan: str, plans: list[Plan]) -> list[str]:
    """A subscription that somebody made or changed by hand, and forgot the metered price."""
    if state is None or state.status not in entitlement.LIVE or any(item.metered for item in state.items):
        return []
    over = next(
        (p for p in plans if p.slug == plan and p.overage_allowed and p.stripe_overage_price_id), None
    )
    return [f"no records are billed by {state.id}: it lacks {over.stripe_overage_price_id}"] if over else []


def _is_month(end: datetime) -> bool:
    return end == end.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _say_trouble(row: Subscription, found: list[str]) -> None:
    said = "; ".join(found)[:200]
    if said and said != row.trouble:
        _log.error("subscription_needs_somebody", tenant_id=str(row.tenant_id), trouble=said)
    row.trouble = said


def _is_closing(tenant_id: uuid.UUID) -> bool:
    return not Tenant.objects.filter(pk=tenant_id).exclude(status=Tenant.Status.CLOSING).exists()


def _take_over(row: Subscription, state: stripe_answers.State, overdue: datetime | None) -> None:
    base = state.base
    # A grace begins once: where Stripe names no unpaid invoice, when it was seen first.
    since = overdue or (row.overdue_since if row.subscription_id == state.id else None) or timezone.now()
    if row.subscription_id == state.id and base is not None and row.price_id not in ("", base.price_id):
        row.changed_at = timezone.now()  # whoever changed it may not have been told
    row.subscription_id, row.status = state.id, state.status
    row.price_id, row.began_at = base.price_id if base else "", state.created
    row.price_includes = next((item.includes for item in state.items if item.metered), None)
    row.period_end = base.period_end if base else None
    row.cancel_at = state.cancel_at if state.status in entitlement.LIVE else None
    row.trial_end = state.trial_end if state.status == "trialing" else None
    row.overdue_since = since if state.status in entitlement.OVERDUE else None
    if row.metered_from is None and state.status in (*entitlement.PAYING, *entitlement.OVERDUE):
        row.metered_from = state.created.date().replace(day=1)


def _give(row: Subscription, plan: str) -> None:
    """Change the tenant's plan where Stripe's state gives another than it gave last: what operators set stays until
    then. Expects the row locked; leaves it to be saved."""
    now = timezone.now()
    given = entitlement.grant(
        status=row.status, plan=plan, overdue_since=row.overdue_since, now=now,
        grace=timedelta(days=settings.BILLING_GRACE_DAYS),
    )  # fmt: skip
    row.grace_until = given.grace_until
    if given.plan != row.plan:
        row.plan = given.plan
        change_plan(plan=given.plan or FREE, actor=ACTOR, reason=_reason(row, given))


def _reason(row: Subscription, given: entitlement.Grant) -> str:
    if given.plan:
        return "subscribed"
    if row.status in entitlement.OVERDUE:
        return "unpaid"
    return "paused" if row.status == "paused" else "ended"


def end_graces() -> int:
    """Downgrade whoever has not paid by the end of the grace; nothing is deleted. Returns how many. Stripe is not asked:
    a payment tells of itself."""
    with ops_scope("billing sweep"):
        due = list(
            Subscription.objects.using(OPS_ALIAS)
            .filter(grace_until__lte=timezone.now())
            .exclude(plan="")
            .values_list("tenant_id", flat=True)
        )
    for tenant_id in due:
        try:
            _end_grace(tenant_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("grace_not_ended", tenant_id=str(tenant_id), exc_info=error)
    return len(due)


def _end_grace(tenant_id: uuid.UUID) -> None:
    with tenant_scope(tenant_id):
        row = Subscription.objects.select_for_update().first()
        if row is not None:
            _give(row, row.plan)
            row.save(update_fields=["plan", "grace_until"])


def stale(most: int = 50, age: timedelta = timedelta(hours=12)) -> list[uuid.UUID]:
    """Tenants about whom Stripe was not asked for a while, those longest ago first: what no event told is found so. Whose
    subscription has ended is asked about less often."""
    now = timezone.now()
    ended = Q(synced_at__lt=now - 6 * age) & ~Q(status="") & ~Q(status__in=entitlement.LIVE)
    never_or_there = Q(synced_at=None) | Q(synced_at__lt=now - age, status__in=["", *entitlement.LIVE])
    with ops_scope("billing sweep"):
        found = Subscription.objects.using(OPS_ALIAS).filter(never_or_there | ended)
        return list(
            found.order_by(F("synced_at").asc(nulls_first=True)).values_list("tenant_id", flat=True)[:most]
        )
