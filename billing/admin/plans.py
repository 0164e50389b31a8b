"""Plans in the ops console, and what is agreed with tenants beside them."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from billing import limits
from billing.models import Plan, PlanOverride
from tenants.models import Tenant
from tenants.ops_console import cells, registry, trail
from tenants.ops_console.base import OpsAdmin
from tenants.ops_console.filters import TENANT
from tenants.scope import OPS_ALIAS

registry.relate(
    "tenants.tenant", registry.Related("Agreed limits", "billing.planoverride", "tenant__id__exact")
)
registry.offer("tenants.tenant.plan", lambda: list(Plan.objects.values_list("slug", "name")))
OVERRIDABLE = (
    "requests_per_second", "requests_per_minute", "monthly_records", "overage_allowed", "lanes", "seats",
)  # fmt: skip


@admin.register(Plan)
class PlanAdmin(OpsAdmin):
    """What plans include; a change counts within 2 s. Tenants name their plan, so none is deleted."""

    list_display = (
        "name", "slug", "requests_per_minute", "monthly_records", "overage_allowed", "lanes", "seats", "tenants",
    )  # fmt: skip
    list_select_related = False
    ordering = ("position", "slug")
    search_fields = ("slug__startswith", "name__icontains")
    search_help_text = "A name or part of one"
    id_search = ()
    fields = (
        ("name", "slug", "position"),
        ("requests_per_second", "requests_per_minute"),
        ("monthly_records", "overage_allowed"),
        ("lanes", "seats"),
        ("price", "overage_price", "currency"),
        ("stripe_price_id", "stripe_overage_price_id"),
    )

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.has_perm("billing.add_plan"))

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Plan, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        transaction.on_commit(limits.forget, using=OPS_ALIAS)

    @display(description="lists")
    def tenants(self, obj: Plan) -> SafeString:
        return cells.rows("tenants.tenant", "Tenants", plan=obj.slug)


class PlanOverrideForm(forms.ModelForm):
    for_tenant = forms.UUIDField(
        label="Tenant", widget=UnfoldAdminTextInputWidget, help_text="The tenant's id, whole"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            del self.fields["for_tenant"]

    def clean_for_tenant(self) -> Any:
        tenant_id = self.cleaned_data["for_tenant"]
        if not Tenant.objects.filter(pk=tenant_id).exists():
            raise forms.ValidationError("There is no such tenant.")
        if PlanOverride.objects.filter(tenant_id=tenant_id).exists():
            raise forms.ValidationError("Something is agreed with this tenant already: change that.")
        self.instance.tenant_id = tenant_id
        return tenant_id

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if all(cleaned.get(name) is None for name in OVERRIDABLE):
            raise forms.ValidationError("Nothing differs from the plan: fill in what does.")
        return cleaned


@admin.register(PlanOverride)
class PlanOverrideAdmin(OpsAdmin):
    """Limits agreed with a tenant beside its plan, until a day. A change counts within 2 s, and is in its trail."""

    form = PlanOverrideForm
    list_display = ("short_id", "tenant_link", "reason", "state", "expires", "created")
    list_filter = (TENANT,)
    search_help_text = "An id, whole"

    def get_fields(self, request: HttpRequest, obj: PlanOverride | None = None) -> tuple[Any, ...]:
        return (
            ("tenant_link", "created_by", "created_at") if obj else "for_tenant",
            ("requests_per_second", "requests_per_minute"),
            ("monthly_records", "overage_allowed"),
            ("lanes", "seats"),
            "reason",
            "expires_at",
        )

    def get_readonly_fields(self, request: HttpRequest, obj: PlanOverride | None = None) -> tuple[str, ...]:
        return ("tenant_link", "created_by", "created_at") if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"for_tenant": request.GET.get("tenant__id__exact", "")}

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.has_perm("billing.add_planoverride"))

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.has_perm("billing.delete_planoverride"))

    def save_model(self, request: HttpRequest, obj: PlanOverride, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = trail.actor_of(request)
            obj.save(force_insert=True)
            agreed = {name: getattr(obj, name) for name in OVERRIDABLE if getattr(obj, name) is not None}
            trail.note(
                request, "plan.overridden", obj, reason=obj.reason, until=obj.expires_at.isoformat(), **agreed
            )
        else:
            super().save_model(request, obj, form, change)
        transaction.on_commit(lambda: limits.forget(obj.tenant_id), using=OPS_ALIAS)

    def delete_model(self, request: HttpRequest, obj: PlanOverride) -> None:
        trail.note(request, "plan.override_ended", obj, reason=obj.reason)
        super().delete_model(request, obj)
        transaction.on_commit(lambda: limits.forget(obj.tenant_id), using=OPS_ALIAS)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for override in queryset:
            self.delete_model(request, override)

    @display(description="state")
    def state(self, obj: PlanOverride) -> SafeString | str:
        over = obj.expires_at <= timezone.now()
        return cells.pill("expired") if over else cells.pill("active", "counts")

    @display(description="until")
    def expires(self, obj: PlanOverride) -> SafeString | str:
        return cells.when(obj.expires_at)
