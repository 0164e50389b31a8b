"""Tenants that are gone, and those that are being erased: that there was one, when it went, and how much it held."""

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.models import ClosedTenant
from tenants.ops_console import cells
from tenants.ops_console.base import ReadOnlyAdmin


@admin.register(ClosedTenant)
class ClosedTenantAdmin(ReadOnlyAdmin):
    list_display = ("short_id", "plan", "closed_by", "reason", "closed", "erased", "rows", "lists")
    list_select_related = False
    ordering = ("-closed_at",)
    fields = ("id", "plan", "closed_by", "reason", "closed_at", "erased_at", "counts", "lists")
    readonly_fields = ("id", "lists")
    # Nobody's trail: there is no tenant left to keep one.
    views_are_noted = False

    @display(description="closed")
    def closed(self, obj: ClosedTenant) -> SafeString | str:
        return cells.when(obj.closed_at)

    @display(description="erased")
    def erased(self, obj: ClosedTenant) -> SafeString | str:
        return cells.when(obj.erased_at) if obj.erased_at else "under way"

    @display(description="rows erased")
    def rows(self, obj: ClosedTenant) -> str:
        return f"{sum(obj.counts.values()):,}"
