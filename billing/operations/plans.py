"""Which plan a tenant has, and what is agreed with it beside that."""

from datetime import datetime
from typing import TypedDict

from django.db import transaction
from django.utils import timezone

from billing import limits, signals
from billing.errors import UnknownPlan
from billing.models import Plan, PlanOverride
from tenants import audit
from tenants.errors import InvalidInput
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope


class OverriddenLimits(TypedDict, total=False):
    """What differs from the plan; what is left out is as in the plan."""

    requests_per_second: int
    requests_per_minute: int
    monthly_records: int
    overage_allowed: bool
    lanes: int
    seats: int


def change_plan(*, plan: str, actor: str, reason: str = "") -> Tenant:
    """Give the open tenant another plan; its limits count everywhere within 2 s. The plan that it has is no change.

    Sends `plan_changed` in the transaction. Raises UnknownPlan.
    """
    if not Plan.objects.filter(slug=plan).exists():
        raise UnknownPlan(f"There is no plan “{plan[:32]}”.")
    with tenant_scope(require_tenant_id()) as tenant_id:
        tenant = Tenant.objects.select_for_update().get(pk=tenant_id)
        was = tenant.plan
        if was != plan:
            tenant.plan = plan
            tenant.save(update_fields=["plan"])
            changed = {"plan": [was, plan]}
            audit.record(actor=actor, verb="plan.changed", subject=tenant, changes=changed, reason=reason)
            announce_plan(was=was, now=plan, actor=actor, reason=reason)
    return tenant


def announce_plan(*, was: str, now: str, actor: str, reason: str = "") -> None:
    """Tell this process and the other apps that the open tenant's plan is another."""
    tenant_id = require_tenant_id()
    signals.plan_changed.send(
        sender=Tenant, tenant_id=tenant_id, was=was, now=now, actor=actor, reason=reason
    )
    transaction.on_commit(lambda: limits.forget(tenant_id), using=APP_ALIAS)


def override_plan(
    *, actor: str, reason: str, expires_at: datetime, changes: OverriddenLimits
) -> PlanOverride:
    """Agree with the open tenant on other limits than its plan's, in place of what was agreed before, until a moment.

    Raises InvalidInput without a reason, for a moment that has passed, and where nothing differs.
    """
    if not reason.strip():
        raise _invalid("reason", "Say why: it is kept in the trail.")
    if expires_at <= timezone.now():
        raise _invalid("expires_at", "This moment has passed.")
    if not changes:
        raise _invalid("", "Nothing differs from the plan.")
    with tenant_scope(require_tenant_id()) as tenant_id:
        fields = dict.fromkeys(OverriddenLimits.__annotations__) | dict(changes)
        override, _ = PlanOverride.objects.update_or_create(
            tenant_id=tenant_id,
            defaults={
                "reason": reason.strip()[:200],
                "expires_at": expires_at,
                "created_by": actor,
                **fields,
            },
        )
        audit.record(
            actor=actor, verb="plan.overridden", subject=override, reason=override.reason,
            until=expires_at.isoformat(), **changes,
        )  # fmt: skip
        transaction.on_commit(lambda: limits.forget(tenant_id), using=APP_ALIAS)
    return override


def end_override(*, actor: str) -> None:
    """The open tenant's plan counts alone again. Nothing agreed is not an error."""
    with tenant_scope(require_tenant_id()) as tenant_id:
        override = PlanOverride.objects.select_for_update().first()
        if override is None:
            return
        audit.record(actor=actor, verb="plan.override_ended", subject=override, reason=override.reason)
        override.delete()
        transaction.on_commit(lambda: limits.forget(tenant_id), using=APP_ALIAS)


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(
        f"{field}: {message}" if field else message, errors=[{"field": field, "message": message}]
    )
