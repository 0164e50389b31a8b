"""What a tenant's administrators may change about the tenant itself."""

from typing import Any, TypedDict

from tenants import audit, signals
from tenants.errors import InvalidInput
from tenants.models import RETENTION_DAYS, Tenant
from tenants.operations.tenants import clean_name
from tenants.scope import require_tenant_id, tenant_scope

MAX_CREDIT_LIMIT = 10**12


class TenantChanges(TypedDict, total=False):
    """Only what is to change. Credits in thousandths, None for no limit."""

    name: str
    monthly_credit_limit: int | None
    retention_days: int
    suppress_subdomains: bool


def change_tenant(*, actor: str, changes: TenantChanges) -> Tenant:
    """Change the open tenant's settings; the trail says from what to what. Raises InvalidInput naming the field."""
    wanted: dict[str, Any] = dict(_checked(changes))
    with tenant_scope(require_tenant_id()) as tenant_id:
        tenant = Tenant.objects.select_for_update().get(pk=tenant_id)
        changed = {
            name: [getattr(tenant, name), value]
            for name, value in wanted.items()
            if getattr(tenant, name) != value
        }
        if changed:
            for name, (_, value) in changed.items():
                setattr(tenant, name, value)
            tenant.save(update_fields=list(changed))
            audit.record(actor=actor, verb="tenant.changed", subject=tenant, changes=changed)
            signals.tenant_changed.send(sender=Tenant, tenant=tenant, actor=actor, changes=changed)
    return tenant


def _checked(changes: TenantChanges) -> TenantChanges:
    if "name" in changes:
        changes = {**changes, "name": clean_name(changes["name"])}
    limit = changes.get("monthly_credit_limit")
    if limit is not None and not 0 <= limit <= MAX_CREDIT_LIMIT:
        raise _invalid("monthly_credit_limit", "A number of credits from 0 to 1,000,000,000, or null.")
    if "retention_days" in changes and changes["retention_days"] not in RETENTION_DAYS:
        raise _invalid(
            "retention_days",
            f"A whole number of days from {RETENTION_DAYS.start} to {RETENTION_DAYS.stop - 1:,}.",
        )
    return changes


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field}: {message}", errors=[{"field": field, "message": message}])
