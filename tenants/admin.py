"""Tenants, people, keys and the trail, in the ops console."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from tenants import operations
from tenants.models import ApiKey, AuditEvent, Membership, Tenant, User
from tenants.ops_console import cells, registry, trail
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.base import OpsAdmin, ReadOnlyAdmin, ReadOnlyInline
from tenants.ops_console.filters import TENANT, MadeFilter, choice, id_filter, yes_or_no

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
REVOKE = OpsAction(
    name="revoke",
    label="Revoke key",
    done="key(s) revoked",
    warning="Whoever uses the key is refused within two seconds. This cannot be undone; the tenant needs a new key.",
    run=lambda key, actor: operations.revoke_api_key(key_id=key.pk, actor=actor),
    applies=lambda key: key.revoked_at is None,
    icon="key_off",
    danger=True,
)

registry.relate(
    "tenants.tenant",
    registry.Related("Keys", "tenants.apikey", "tenant__id__exact"),
    registry.Related("Trail", "tenants.auditevent", "tenant__id__exact"),
)


class MembershipInline(TabularInline):
    """Who belongs to a tenant, and as what. Every change is in the tenant's trail; people are invited by the tenant."""

    model = Membership
    extra = 0
    hide_title = True
    per_page = 50
    fields = ("person", "role", "created_at")
    readonly_fields = ("person", "created_at")
    verbose_name_plural = "people"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user").order_by("user__email")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="person")
    def person(self, obj: Membership) -> SafeString | str:
        return cells.row(obj.user)


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
    page_actions = (SUSPEND, ACTIVATE)
    actions_detail = ("suspend", "activate")
    suspend, activate = SUSPEND.on_page(), ACTIVATE.on_page()
    fields = (
        "name",
        ("plan", "status_pill"),
        ("monthly_credit_limit", "retention_days"),
        ("created_at", "id"),
        "lists",
    )
    readonly_fields = ("id", "status_pill", "created_at", "lists")
    inlines = (MembershipInline,)

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

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        for membership, _fields in formset.changed_objects:
            trail.note(
                request, "member.changed", membership, user=membership.user.email, role=membership.role
            )
        for membership in formset.deleted_objects:
            trail.note(request, "member.removed", membership, user=membership.user.email)


class UserMembershipInline(ReadOnlyInline):
    model = Membership
    fields = ("tenant_link", "role", "created_at")
    readonly_fields = ("tenant_link",)
    verbose_name_plural = "tenants"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("tenant", "user")

    @display(description="tenant")
    def tenant_link(self, obj: Membership) -> SafeString | str:
        return cells.row(obj.tenant)


@admin.register(User)
class UserAdmin(OpsAdmin):
    """People. Passwords are theirs: neither shown, nor as a hash, nor set here."""

    list_display = ("email", "name", "tenants", "is_active", "is_staff", "is_superuser", "last_seen")
    list_filter = (yes_or_no("is_active"), yes_or_no("is_staff"), MadeFilter)
    list_select_related = False
    ordering = ("email",)
    search_fields = ("id", "email__startswith")
    search_help_text = "The start of an e-mail address, or an id"
    fields = (
        "email", "name", "is_active", "is_staff", "is_superuser", "groups", "id", "has_password",
        "last_login", "date_joined",
    )  # fmt: skip
    filter_horizontal = ("groups",)
    readonly_fields = ("id", "email", "has_password", "last_login", "date_joined")
    # What would let staff give themselves more than they have.
    rights = ("is_active", "is_staff", "is_superuser", "groups")
    inlines = (UserMembershipInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        queryset: QuerySet[User] = super().get_queryset(request).defer("password")
        return queryset.prefetch_related("memberships__tenant")

    def search_text(self, queryset: QuerySet[Any], term: str, names: list[str]) -> QuerySet[Any]:
        return super().search_text(queryset, term.lower(), names)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        if lookup.startswith("password"):
            return False
        return lookup == "memberships__tenant__id__exact" or super().lookup_allowed(lookup, value, request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fields = (*super().get_readonly_fields(request, obj),)
        return fields if request.user.is_superuser else (*fields, *self.rights)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser changes a superuser."""
        if isinstance(obj, User) and obj.is_superuser and not request.user.is_superuser:
            return False
        return bool(super().has_change_permission(request, obj))

    @display(description="tenants")
    def tenants(self, obj: User) -> SafeString | str:
        links = [cells.row(membership.tenant) for membership in obj.memberships.all()]
        return cells.inline(links) if links else cells.NOTHING

    @display(description="has a password", boolean=True)
    def has_password(self, obj: User) -> bool:
        return obj.has_usable_password()

    @display(description="last sign-in")
    def last_seen(self, obj: User) -> SafeString | str:
        return cells.when(obj.last_login)


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


@admin.register(Group)
class GroupAdmin(OpsAdmin):
    """What staff who are no superusers may see and do."""

    list_display = ("name",)
    list_select_related = False
    ordering = ("name",)
    search_fields = ("name__icontains",)
    filter_horizontal = ("permissions",)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The permissions that mean something here: to see or change what the console shows."""
        shown = [(model._meta.app_label, model._meta.model_name) for model in self.admin_site._registry]
        wanted = Q()
        for app, model in shown:
            wanted |= Q(content_type__app_label=app, content_type__model=model)
        verbs = Q(codename__startswith="view_") | Q(codename__startswith="change_")
        kwargs["queryset"] = Permission.objects.filter(wanted, verbs).select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    has_change_permission = has_delete_permission = has_add_permission
