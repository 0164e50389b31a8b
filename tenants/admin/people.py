"""People, and what staff may do."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.models import Membership, User
from tenants.ops_console import cells
from tenants.ops_console.base import OpsAdmin, ReadOnlyInline
from tenants.ops_console.filters import MadeFilter, yes_or_no


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
