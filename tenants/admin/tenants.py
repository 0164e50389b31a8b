"""Tenants and who belongs to them."""

import uuid
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from tenants import signals
from tenants.models import RETENTION_DAYS, Membership, Tenant
from tenants.operations import tenants as operations
from tenants.operations.delete_tenant import close_tenant
from tenants.ops_console import cells, registry, trail
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.base import OpsAdmin, ReadOnlyInline
from tenants.ops_console.filters import MadeFilter, choice
from tenants.scope import OPS_ALIAS, as_tenant_from_ops

SUSPEND = OpsAction(
    name="suspend",
    label="Suspend tenant",
    done="tenant(s) suspended",
    warning="Its API keys and pages are refused from now on. Nothing is deleted; runs that are under way go on.",
    run=lambda tenant, actor: operations.suspend_tenant(actor=actor),
    applies=lambda tenant: tenant.status == Tenant.Status.ACTIVE,
    icon="block",
    danger=True,
)
ACTIVATE = OpsAction(
    name="activate",
    label="Activate tenant",
    done="tenant(s) activated",
    warning="Its API keys and pages work again at once.",
    run=lambda tenant, actor: operations.activate_tenant(actor=actor),
    applies=lambda tenant: tenant.status == Tenant.Status.SUSPENDED,
)
DELETE = OpsAction(
    name="erase",
    label="Delete tenant",
    done="tenant(s) closed; the workers erase what they held",
    warning=(
        "Its keys and pages are refused at once, its runs are cancelled, and everything it holds is erased within "
        "minutes: rows, files, secrets, its trail. Totals per month stay, under a random id. Nobody can bring it back."
    ),
    run=lambda tenant, actor, reason: close_tenant(actor=actor, reason=reason),
    applies=lambda tenant: tenant.status != Tenant.Status.CLOSING,
    icon="delete_forever",
    danger=True,
    typed=lambda tenant: tenant.name,
)


class MembershipInline(ReadOnlyInline):
    """Who belongs to a tenant, and as what. Roles are changed on the membership's own page; the tenant invites."""

    model = Membership
    per_page = 50
    fields = ("person", "standing", "created_at")
    readonly_fields = ("person", "standing", "created_at")
    verbose_name_plural = "people"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user").order_by("-is_owner", "user__email")

    @display(description="person")
    def person(self, obj: Membership) -> SafeString | str:
        return cells.row(obj.user)

    @display(description="role")
    def standing(self, obj: Membership) -> SafeString | str:
        return cells.page("tenants.membership", obj.pk, "owner" if obj.is_owner else obj.role)


class TenantForm(forms.ModelForm):
    monthly_credit_limit = forms.DecimalField(
        required=False,
        min_value=0,
        max_digits=15,
        decimal_places=3,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="The vendors' credits, all connections together. Empty: no cap.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (limit := self.instance.monthly_credit_limit) is not None:
            self.initial["monthly_credit_limit"] = Decimal(limit) / 1000
        if "plan" in self.fields:
            plans = registry.choices_of("tenants.tenant.plan")
            known = {slug for slug, _ in plans}
            if self.instance.plan not in known:
                plans = [(self.instance.plan, f"{self.instance.plan} (unknown)"), *plans]
            self.fields["plan"] = forms.ChoiceField(choices=plans, widget=UnfoldAdminSelectWidget)

    def clean_monthly_credit_limit(self) -> int | None:
        """Credits as typed, kept in thousandths."""
        limit: Decimal | None = self.cleaned_data["monthly_credit_limit"]
        return None if limit is None else int(limit * 1000)

    def clean_retention_days(self) -> int:
        days: int = self.cleaned_data["retention_days"]
        if days not in RETENTION_DAYS:
            raise forms.ValidationError(
                f"A whole number of days from {RETENTION_DAYS.start} to {RETENTION_DAYS.stop - 1:,}."
            )
        return days


@admin.register(Tenant)
class TenantAdmin(OpsAdmin):
    form = TenantForm
    list_display = ("name", "short_id", "plan", "status_pill", "people", "created", "lists")
    list_filter = (choice("status"), MadeFilter)
    list_select_related = False
    ordering = ("name", "id")
    search_fields = ("id", "name__icontains")
    search_help_text = "A name or part of one, or an id"
    actions: ClassVar[list[Any]] = [SUSPEND.in_bulk(), ACTIVATE.in_bulk()]
    page_actions = (SUSPEND, ACTIVATE, DELETE)
    actions_detail = ("suspend", "activate", "erase")
    suspend, activate, erase = SUSPEND.on_page(), ACTIVATE.on_page(), DELETE.on_page()
    fields = (
        "name",
        ("plan", "status_pill"),
        ("monthly_credit_limit", "retention_days"),
        ("created_at", "id"),
        "lists",
    )
    readonly_fields = ("id", "status_pill", "created_at", "lists")
    inlines = (MembershipInline,)

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "plan" in form.changed_data:
            told = {"was": form.initial["plan"], "now": obj.plan, "actor": trail.actor_of(request)}
            transaction.on_commit(lambda: _plan_set(obj.pk, told), using=OPS_ALIAS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        members = (
            Membership.objects.filter(tenant_id=OuterRef("pk"))
            .order_by()
            .values("tenant_id")
            .annotate(number=Count("pk"))
            .values("number")
        )
        queryset: QuerySet[Tenant] = super().get_queryset(request)
        return queryset.annotate(members=Coalesce(Subquery(members), 0))

    @display(description="people")
    def people(self, obj: Any) -> SafeString:
        return cells.rows("tenants.user", obj.members, memberships__tenant__id__exact=obj.pk)


def _plan_set(tenant_id: uuid.UUID, told: dict[str, str]) -> None:
    with as_tenant_from_ops(tenant_id):
        signals.plan_set.send(sender=Tenant, tenant_id=tenant_id, **told)
