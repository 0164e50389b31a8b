"""API keys and the trail."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.models import ApiKey, AuditEvent
from tenants.operations import keys as operations
from tenants.ops_console import cells
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, id_filter, yes_or_no

REVOKE = OpsAction(
    name="revoke",
    label="Revoke key",
    done="key(s) revoked",
    warning="Whoever uses the key is refused within a second. This cannot be undone; the tenant needs a new key.",
    run=lambda key, actor: operations.revoke_api_key(key_id=key.pk, actor=actor),
    applies=lambda key: key.revoked_at is None,
    icon="key_off",
    danger=True,
)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys by their hint; the digest is never read."""

    list_display = ("name", "hint", "tenant_link", "state", "livemode", "scope_list", "used", "created")
    list_filter = (TENANT, yes_or_no("livemode"), MadeFilter)
    actions: ClassVar[list[Any]] = [REVOKE.in_bulk()]
    page_actions = (REVOKE,)
    actions_detail = ("revoke",)
    revoke = REVOKE.on_page()
    exclude = ("digest",)
    fields = (
        "name", "hint", "tenant_link", "state", "livemode", "scope_list", "created_by", "created_at", "expires_at",
        "last_used_at", "revoked_at", "id",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "state", "scope_list", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        queryset: QuerySet[ApiKey] = super().get_queryset(request)
        return queryset.defer("digest")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return not lookup.startswith("digest") and super().lookup_allowed(lookup, value, request)

    @display(description="state")
    def state(self, obj: ApiKey) -> SafeString | str:
        if obj.revoked_at:
            return cells.pill("revoked")
        if obj.expires_at and obj.expires_at <= timezone.now():
            return cells.pill("expired")
        return cells.pill("active")

    @display(description="scopes")
    def scope_list(self, obj: ApiKey) -> str:
        return ", ".join(obj.scopes)

    @display(description="last used")
    def used(self, obj: ApiKey) -> SafeString | str:
        return cells.when(obj.last_used_at)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    views_are_noted = False  # reading the trail would write it
    list_display = ("happened", "tenant_link", "actor", "verb", "subject", "ip", "request_id")
    list_filter = (TENANT, id_filter("subject_id", "subject id"), MadeFilter)
    fields = ("at", "tenant_link", "actor", "verb", "subject", "detail", "request_id", "ip", "id")
    readonly_fields = ("tenant_link", "subject", "id")

    @display(description="when")
    def happened(self, obj: AuditEvent) -> SafeString | str:
        return cells.page("tenants.auditevent", obj.pk, cells.when(obj.at))

    @display(description="subject")
    def subject(self, obj: AuditEvent) -> SafeString | str:
        model = self.subjects().get(obj.subject_type)
        text = f"{obj.subject_type} {cells.short(obj.subject_id)}"
        return cells.page(model, obj.subject_id, text) if model else text

    def subjects(self) -> dict[str, str]:
        """The models that a trail may name and the console shows."""
        return {model._meta.model_name or "": model._meta.label_lower for model in self.admin_site._registry}
