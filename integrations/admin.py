"""Connections in the ops console. Their secrets are in tables that the ops login cannot read."""

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.models import Connection
from tenants.ops_console import cells, registry
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, choice

registry.relate(
    "tenants.tenant", registry.Related("Connections", "integrations.connection", "tenant__id__exact")
)


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    list_display = (
        "title", "tenant_link", "mode", "status_pill", "credits_left", "limits", "last_ok", "error", "lists",
    )  # fmt: skip
    list_filter = (choice("status"), choice("mode"), TENANT, MadeFilter)
    search_fields = ("id", "provider__startswith", "name__istartswith")
    search_help_text = "A provider, the start of a name, or an id"
    fields = (
        "provider", "name", "tenant_link", "mode", "secret_hint", "status_pill", "last_ok_at", "last_error",
        "credits_left", "limits", "price_per_credit", "currency", "on_ambiguous", "created_at", "id", "lists",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "status_pill", "credits_left", "limits", "id", "lists")

    def lookup_allowed(self, lookup: str, value: object, request: object = None) -> bool:
        return not lookup.startswith("key_hash") and super().lookup_allowed(lookup, value, request)

    @display(description="connection")
    def title(self, obj: Connection) -> SafeString | str:
        return cells.row(obj)

    @display(description="balance")
    def credits_left(self, obj: Connection) -> str:
        return cells.credit(obj.balance)

    @display(description="limits")
    def limits(self, obj: Connection) -> str:
        return cells.nowrap(cells.limits(obj.windows, obj.parallelism))

    @display(description="last answer")
    def last_ok(self, obj: Connection) -> SafeString | str:
        return cells.when(obj.last_ok_at)

    @display(description="last error")
    def error(self, obj: Connection) -> str:
        return obj.last_error[:60] or cells.NOTHING
