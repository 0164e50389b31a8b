"""Upgrades: a checkout for who has no subscription, another price for who has one, the portal for everything else."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from billing import entitlement, stripe_answers, stripe_gateway
from billing.errors import BillingOff, StripeAway, StripeRefused, UnknownPlan
from billing.models import MeterBatch, Plan, Subscription
from billing.operations import metering, telling
from billing.operations.subscriptions import sync
from billing.queries import current_period, records_of
from tenants import audit
from tenants.errors import Conflict, NotFound
from tenants.models import Tenant
from tenants.scope import tenant_scope

CLAIM = timedelta(minutes=2)
"""For how long at most one purchase of a tenant keeps out another: whoever makes it may have died."""

SHORTEST_PAGE, LONGEST_PAGE = timedelta(minutes=32), timedelta(hours=23)
"""Stripe lets a page be paid for 30 minutes to 24 hours, by its own clock. Ours end with the month, as the anchor has to be
in the future."""


@dataclass(frozen=True, slots=True)
class Started:
    """`url`: the page of Stripe's to go to; empty where the plan was changed without one. `given`: whether the tenant has
    the plan by now."""

    url: str
    given: bool = False


def buy(tenant_id: uuid.UUID, *, plan: str, actor: str, email: str) -> Started:
    """Have a tenant pay for a plan; call it outside any scope. Who has a subscription gets another price, prorated by
    Stripe; who has none pays on Stripe's page first, and one page at a time is open.

    Raises BillingOff, UnknownPlan for one that is not sold, Conflict for the one that is paid already and while somebody
    else buys, CardRefused for an upgrade that was not paid, StripeAway, StripeRefused.
    """
    wanted = _sold(plan)
    row = _with_customer(tenant_id, actor=actor, email=email)
    with _alone(row):
        row = sync(tenant_id) or row
        if row.status in entitlement.LIVE and row.status != "incomplete":
            return _change(tenant_id, row, wanted, actor=actor)
        return _to_checkout(tenant_id, row, wanted, actor=actor)


@contextmanager
def _alone(row: Subscription) -> Iterator[None]:
    """Let one purchase of a tenant be under way: two would open two pages, and both could be paid."""
    now = timezone.now()
    with tenant_scope(row.tenant_id):
        mine = Subscription.objects.filter(pk=row.pk).filter(Q(buying_until=None) | Q(buying_until__lt=now))
        if not mine.update(buying_until=now + CLAIM):
            raise Conflict("Somebody is changing the plan at this moment. Look again in a minute.")
    try:
        yield
    finally:
        with tenant_scope(row.tenant_id):
            Subscription.objects.filter(pk=row.pk, buying_until=now + CLAIM).update(buying_until=None)


def _to_checkout(tenant_id: uuid.UUID, row: Subscription, wanted: Plan, *, actor: str) -> Started:
    session = _open_one(row, wanted)
    if session is None:
        back = f"{settings.BASE_URL.rstrip('/')}{reverse('billing_return')}"
        now = timezone.now()
        anchor = _next_month(now)
        session = stripe_gateway.open_checkout(
            tenant_id, customer_id=row.customer_id, prices=_prices(wanted), anchor=anchor,
            until=max(now + SHORTEST_PAGE, min(anchor, now + LONGEST_PAGE)),
            back=f"{back}?session_id={{CHECKOUT_SESSION_ID}}", cancelled=f"{back}?cancelled=1",
        )  # fmt: skip
    with tenant_scope(tenant_id):
        Subscription.objects.filter(pk=row.pk).update(checkout_id=session.id, checkout_plan=wanted.slug)
        audit.record(actor=actor, verb="billing.checkout_opened", subject=row, plan=wanted.slug)
    return Started(session.url)


def open_portal(tenant_id: uuid.UUID, *, actor: str) -> str:
    """The address of the tenant's own page at Stripe: card, invoices, cancelling. Raises NotFound for who never paid."""
    if not stripe_gateway.enabled():
        raise BillingOff("Billing is off on this installation.")
    with tenant_scope(tenant_id):
        row = Subscription.objects.first()
        if row is None:
            raise NotFound("There is nothing to manage: this tenant has never paid.")
        audit.record(actor=actor, verb="billing.portal_opened", subject=row)
    return stripe_gateway.portal(row.customer_id, back=f"{settings.BASE_URL.rstrip('/')}{reverse('billing')}")


def returned(tenant_id: uuid.UUID, session_id: str) -> stripe_answers.CheckoutSession | None:
    """The tenant's own checkout as Stripe has it now; None for one that is not there or somebody else's."""
    try:
        session = stripe_gateway.checkout(session_id)
    except StripeRefused:
        return None
    return session if session.tenant == str(tenant_id) else None


def end_for_good(row: Subscription) -> None:
    """Cancel what a tenant pays for, for one that is being erased; what it used is billed. Raises StripeAway,
    StripeRefused."""
    # Pages first: what is paid on one meanwhile is among the subscriptions.
    for session in stripe_gateway.open_checkouts(row.customer_id):
        stripe_gateway.expire_checkout(session.id)
    for state in stripe_gateway.subscriptions_of(row.customer_id):
        if state.status in entitlement.LIVE:
            stripe_gateway.cancel(state.id)


def _sold(plan: str) -> Plan:
    if not stripe_gateway.enabled():
        raise BillingOff("Billing is off on this installation: its operators set plans.")
    found = Plan.objects.filter(slug=plan).exclude(stripe_price_id="").first()
    if found is None:
        raise UnknownPlan(f"The plan “{plan[:32]}” cannot be bought here.")
    return found


def _with_customer(tenant_id: uuid.UUID, *, actor: str, email: str) -> Subscription:
    with tenant_scope(tenant_id):
        row = Subscription.objects.first()
        name = Tenant.objects.values_list("name", flat=True).get(pk=tenant_id)
    if row is not None:
        return row
    customer_id = stripe_gateway.create_customer(tenant_id, name=name, email=email)
    with tenant_scope(tenant_id):
        row, made = Subscription.objects.get_or_create(defaults={"customer_id": customer_id})
        if made:
            audit.record(actor=actor, verb="billing.customer_created", subject=row)
    return row


def _open_one(row: Subscription, wanted: Plan) -> stripe_answers.CheckoutSession | None:
    """The checkout that is open for this plan already; every other one can be paid no more."""
    if row.checkout_id:
        try:
            session = stripe_gateway.checkout(row.checkout_id)
        except StripeRefused:
            pass
        else:
            if session.status == "complete" and _pays_still(row, session.subscription_id):
                raise Conflict("A checkout was just paid; your plan changes in a moment.")
    found = None
    for session in stripe_gateway.open_checkouts(row.customer_id):
        if session.id == row.checkout_id and row.checkout_plan == wanted.slug and session.url:
            found = session
        else:
            stripe_gateway.expire_checkout(session.id)
    return found


def _pays_still(row: Subscription, subscription_id: str) -> bool:
    """Whether a paid checkout's subscription is one that `sync` did not see yet: not the row's own, and not ended."""
    if subscription_id == row.subscription_id:
        return False
    states = {state.id: state for state in stripe_gateway.subscriptions_of(row.customer_id)}
    return subscription_id not in states or states[subscription_id].status in entitlement.LIVE


def _change(tenant_id: uuid.UUID, row: Subscription, wanted: Plan, *, actor: str) -> Started:
    states = {state.id: state for state in stripe_gateway.subscriptions_of(row.customer_id)}
    state = states.get(row.subscription_id)
    if state is None or state.base is None:
        raise Conflict("The subscription is another now. Load the page again.")
    if state.base.price_id == wanted.stripe_price_id:
        raise Conflict(f"The plan {wanted.name} is what you pay for already.")
    # By what its price says where that is an older one of the plan.
    was = Plan.objects.filter(Q(stripe_price_id=state.base.price_id) | Q(slug=state.base.plan)).first()
    items: list[dict[str, Any]] = [{"id": state.base.id, "price": wanted.stripe_price_id}]
    metered = next((item for item in state.items if item.metered), None)
    if metered is not None and wanted.stripe_overage_price_id:
        items.append({"id": metered.id, "price": wanted.stripe_overage_price_id})
    elif metered is not None:
        items.append({"id": metered.id, "deleted": True})
    elif wanted.stripe_overage_price_id:
        items.append({"price": wanted.stripe_overage_price_id})
    dearer = was is None or wanted.price > was.price
    if not dearer:
        _require_cheaper_fits(tenant_id, row, wanted)
    _tell_all(tenant_id)
    stripe_gateway.change_items(
        state.id, items, now=dearer, key=f"weir-change-{row.pk}-{row.applied}-{wanted.slug}"
    )
    with tenant_scope(tenant_id):
        # The checkout that it began with is over.
        bought = {"checkout_id": "", "checkout_plan": wanted.slug}
        Subscription.objects.filter(pk=row.pk).update(changed_at=timezone.now(), **bought)
        audit.record(
            actor=actor,
            verb="billing.price_changed",
            subject=row,
            was=was.slug if was else "",
            now=wanted.slug,
        )
    after = sync(tenant_id)
    return Started("", given=after is not None and after.plan == wanted.slug)


def _require_cheaper_fits(tenant_id: uuid.UUID, row: Subscription, wanted: Plan) -> None:
    """Refuse what would give a dear plan's records for a day of its price, or included records twice: Stripe counts them
    anew with each price. Decision 0028."""
    with tenant_scope(tenant_id):
        used = records_of(current_period())
    if used > wanted.monthly_records:
        raise Conflict(
            f"{used:,} records were used this month, and {wanted.name} includes {wanted.monthly_records:,}. Choose it in a "
            "month before you have used more, or cancel at the end of this one and choose it then."
        )
    if row.changed_at is not None and row.changed_at.astimezone(UTC).date() >= current_period():
        raise Conflict(
            "The plan was changed this month already. A cheaper one can be chosen from the first of the next."
        )


def _tell_all(tenant_id: uuid.UUID) -> None:
    """Have the meter know what was used until now, which is billed at the price until now. Raises StripeAway."""
    metering.collect(tenant_id, at_the_end=True)
    telling.send_all(tenant_id)
    with tenant_scope(tenant_id):
        waits = MeterBatch.objects.filter(state__in=metering.WAITING).exists()
    if waits or metering.untold_of(tenant_id):
        raise StripeAway(
            "Stripe does not know all usage of this month yet. Nothing was changed; try again in a minute."
        )


def _prices(plan: Plan) -> list[tuple[str, bool]]:
    prices = [(plan.stripe_price_id, False)]
    if plan.overage_allowed and plan.stripe_overage_price_id:
        prices.append((plan.stripe_overage_price_id, True))
    return prices


def _next_month(now: datetime) -> datetime:
    """Stripe's periods are the calendar months (UTC) that quotas count in."""
    first = (now.astimezone(UTC).replace(day=1) + timedelta(days=32)).replace(day=1)
    return first.replace(hour=0, minute=0, second=0, microsecond=0)
