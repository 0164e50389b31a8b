"""Calls of which nobody knows whether they were paid for, of all tenants."""

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.ops_console import cells
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, choice
from workflows.models import AmbiguousCall


@admin.register(AmbiguousCall)
class AmbiguousCallAdmin(ReadOnlyAdmin):
    list_display = (
        "made", "tenant_link", "provider", "operation", "status", "may_have_cost", "repeat_is_free", "decided_by",
    )  # fmt: skip
    list_filter = (choice("status"), TENANT, MadeFilter)
    search_fields = ("id", "run_id", "record_id")
    search_help_text = "An id of the call, its run or its record"
    fields = (
        "tenant_link", "provider", "operation", "status", "may_have_cost", "repeat_is_free", "livemode", "month", "reason",
        "decided_by", "decided_at", "released_at", "run_id", "record_id", "queue_id", "attempt", "created_at", "id",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "may_have_cost", "id")

    @display(description="made")
    def made(self, obj: AmbiguousCall) -> SafeString | str:
        return cells.when(obj.created_at)

    @display(description="may have cost")
    def may_have_cost(self, obj: AmbiguousCall) -> SafeString | str:
        return cells.credit(obj.may_cost)
