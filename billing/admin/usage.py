"""The ledger in the ops console."""

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.models import ClosedLedger, UsageEvent
from tenants.ops_console import cells, registry
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, choice, id_filter, yes_or_no

registry.relate("tenants.tenant", registry.Related("Usage", "billing.usageevent", "tenant__id__exact"))
registry.relate(
    "tenants.closedtenant", registry.Related("Totals", "billing.closedledger", "closed_tenant__id__exact")
)


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
