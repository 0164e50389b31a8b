"""Connections and webhooks in the ops console. Their secrets are in tables that the ops login cannot read."""

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.models import Connection, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from tenants.ops_console import cells, registry
from tenants.ops_console.base import ReadOnlyAdmin, ReadOnlyInline
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


class AttemptInline(ReadOnlyInline):
    """When, how long, and what status; what the tenant's server answered is the tenant's business."""

    model = WebhookAttempt
    fields = ("number", "started_at", "latency_ms", "http_status", "error")
    readonly_fields = fields


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    list_display = (
        "title", "tenant_link", "kind", "status_pill", "reason", "fails", "last_ok", "failing", "created", "lists",
    )  # fmt: skip
    list_filter = (choice("status"), choice("kind"), choice("reason"), TENANT, MadeFilter)
    search_fields = ("id",)
    search_help_text = "An id"
    fields = (
        "where", "tenant_link", "kind", "description", "events", "status_pill", "reason", "disabled_at", "fails",
        "failing_since", "rest_until", "last_ok_at", "warned_at", "notice", "created_by", "created_at", "id", "lists",
    )  # fmt: skip
    readonly_fields = ("where", "tenant_link", "status_pill", "fails", "id", "lists")

    @display(description="endpoint")
    def title(self, obj: WebhookEndpoint) -> SafeString | str:
        return cells.page("integrations.webhookendpoint", obj.pk, str(obj))

    @display(description="address")
    def where(self, obj: WebhookEndpoint) -> str:
        return str(obj)

    @display(description="failures in a row")
    def fails(self, obj: WebhookEndpoint) -> str:
        return f"{obj.failures:,}"

    @display(description="last success")
    def last_ok(self, obj: WebhookEndpoint) -> SafeString | str:
        return cells.when(obj.last_ok_at)

    @display(description="failing since")
    def failing(self, obj: WebhookEndpoint) -> SafeString | str:
        return cells.when(obj.failing_since)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = (
        "title", "tenant_link", "event", "endpoint_link", "status_pill", "made", "last_status", "last_error", "due",
        "created",
    )  # fmt: skip
    list_select_related = ("tenant", "message", "endpoint")
    list_filter = (choice("status"), TENANT, MadeFilter)
    search_fields = ("id", "endpoint_id", "message_id")
    search_help_text = "An id of the delivery, its endpoint or its event"
    fields = (
        "tenant_link", "event", "endpoint_link", "where", "status_pill", "made", "tries", "due_at", "last_at",
        "last_status", "last_error", "created_at", "finished_at", "message_id", "id",
    )  # fmt: skip
    readonly_fields = (
        "tenant_link",
        "event",
        "endpoint_link",
        "where",
        "status_pill",
        "made",
        "message_id",
        "id",
    )
    inlines = (AttemptInline,)

    @display(description="delivery")
    def title(self, obj: WebhookDelivery) -> SafeString | str:
        return cells.page("integrations.webhookdelivery", obj.pk)

    @display(description="event")
    def event(self, obj: WebhookDelivery) -> str:
        return str(obj.message.event)

    @display(description="endpoint")
    def endpoint_link(self, obj: WebhookDelivery) -> SafeString | str:
        return cells.page("integrations.webhookendpoint", obj.endpoint_id)

    @display(description="address")
    def where(self, obj: WebhookDelivery) -> str:
        return WebhookEndpoint(url=obj.url or obj.endpoint.url).host or cells.NOTHING

    @display(description="attempts")
    def made(self, obj: WebhookDelivery) -> str:
        return f"{obj.attempts:,}"

    @display(description="due")
    def due(self, obj: WebhookDelivery) -> SafeString | str:
        return cells.when(obj.due_at)


registry.relate(
    "tenants.tenant", registry.Related("Webhooks", "integrations.webhookendpoint", "tenant__id__exact")
)
registry.relate(
    "integrations.webhookendpoint",
    registry.Related("Deliveries", "integrations.webhookdelivery", "endpoint__id__exact"),
)
