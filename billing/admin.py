"""Plans and the ledger in the ops console."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.models import ClosedLedger, Plan, UsageEvent
from tenants.ops_console import cells, registry
from tenants.ops_console.base import OpsAdmin, ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, choice, id_filter, yes_or_no

registry.relate("tenants.tenant", registry.Related("Usage", "billing.usageevent", "tenant__id__exact"))
registry.relate(
    "tenants.closedtenant", registry.Related("Totals", "billing.closedledger", "closed_tenant__id__exact")
)
registry.offer("tenants.tenant.plan", lambda: list(Plan.objects.values_list("slug", "name")))


@admin.register(Plan)
class PlanAdmin(OpsAdmin):
    """What plans include; a change counts from the next request on. Tenants name their plan, so none is deleted."""

    list_display = (
        "name", "slug", "requests_per_minute", "monthly_records", "overage_allowed", "position", "tenants",
    )  # fmt: skip
    list_select_related = False
    ordering = ("position", "slug")
    search_fields = ("slug__startswith", "name__icontains")
    search_help_text = "A name or part of one"
    id_search = ()
    fields = ("name", "slug", "requests_per_minute", "monthly_records", "overage_allowed", "position")

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.has_perm("billing.add_plan"))

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()

    @display(description="lists")
    def tenants(self, obj: Plan) -> SafeString:
        return cells.rows("tenants.tenant", "Tenants", plan=obj.slug)


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnlyAdmin):
    list_display = (
        "short_id", "tenant_link", "kind", "quantity", "credit", "provider", "run", "period", "livemode", "created",
    )  # fmt: skip
    list_filter = (TENANT, choice("kind"), yes_or_no("livemode"), id_filter("run_id", "run id"), MadeFilter)
    fields = (
        "id", "key", "tenant_link", "kind", "quantity", "credit", "provider", "run", "period", "livemode", "created_at",
    )  # fmt: skip
    readonly_fields = ("id", "tenant_link", "credit", "run")

    @display(description="credits")
    def credit(self, obj: UsageEvent) -> str:
        return cells.credit(obj.credits)

    @display(description="run")
    def run(self, obj: UsageEvent) -> SafeString | str:
        return cells.page("workflows.run", obj.run_id)


@admin.register(ClosedLedger)
class ClosedLedgerAdmin(ReadOnlyAdmin):
    """What tenants that are gone had used, per month."""

    list_display = (
        "short_id",
        "closed_tenant",
        "period",
        "kind",
        "provider",
        "livemode",
        "entries",
        "quantity",
        "credit",
    )
    list_filter = (
        choice("kind"),
        yes_or_no("livemode"),
        id_filter("closed_tenant__id__exact", "closed tenant"),
    )
    list_select_related = ("closed_tenant",)
    ordering = ("-period", "id")
    fields = ("closed_tenant", "period", "kind", "provider", "livemode", "entries", "quantity", "credit")
    readonly_fields = ("credit",)
    search_fields = ()
    views_are_noted = False

    @display(description="credits")
    def credit(self, obj: ClosedLedger) -> str:
        return cells.credit(obj.credits)
