"""People, and what staff may do."""

from itertools import product
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.models import Invitation, Membership, User
from tenants.operations import invitations, people, team
from tenants.ops_console import cells, trail
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.base import OpsAdmin, ReadOnlyAdmin, ReadOnlyInline
from tenants.ops_console.filters import TENANT, MadeFilter, choice, yes_or_no


def _make(role: str, warning: str) -> OpsAction:
    return OpsAction(
        name=f"make_{role}",
        label=f"Make {role}",
        done=f"member(s) made {role}",
        warning=warning,
        run=lambda row, actor: team.change_role(member_id=row.pk, role=role, actor=actor),
        applies=lambda row: not row.is_owner and row.role != role,
        icon="badge",
    )


MAKE_ADMIN = _make(
    "admin", "They may connect vendors, make API keys and change the team from their next click on."
)
MAKE_EDITOR = _make("editor", "They may start runs and change workflows, and nothing beyond.")
MAKE_VIEWER = _make("viewer", "They may look at everything and change nothing.")
MAKE_OWNER = OpsAction(
    name="make_owner",
    label="Make owner",
    done="tenant(s) handed over",
    warning="The tenant is theirs to hand on or delete; who owned it stays admin. Both are told by mail. Only when the "
    "tenant asked for it, and you know who asked.",
    run=lambda row, actor: team.transfer_ownership(member_id=row.pk, by=None, actor=actor),
    applies=lambda row: not row.is_owner and row.role == Membership.Role.ADMIN,
    icon="key",
    danger=True,
)
REMOVE = OpsAction(
    name="remove",
    label="Remove from tenant",
    done="member(s) removed",
    warning="From their next click on they see nothing of the tenant. API keys that they made go on working.",
    run=lambda row, actor: team.remove_member(member_id=row.pk, actor=actor),
    applies=lambda row: not row.is_owner,
    icon="person_remove",
    danger=True,
)
TAKE_BACK = OpsAction(
    name="take_back",
    label="Revoke invitation",
    done="invitation(s) revoked",
    warning="The link stops working at once. The tenant can invite the address again.",
    run=lambda row, actor: invitations.revoke_invitation(invitation_id=row.pk, actor=actor),
    applies=lambda row: row.accepted_at is None and row.revoked_at is None,
    icon="unsubscribe",
    danger=True,
)


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    """Who belongs to which tenant. Changed by actions alone, so that the product's rules hold here too."""

    list_display = ("person", "tenant_link", "standing", "created")
    list_filter = (TENANT, choice("role"), yes_or_no("is_owner"), MadeFilter)
    list_select_related = ("tenant", "user")
    id_search = ("id", "user_id")
    search_help_text = "An id, of the membership or of the person, whole"
    actions: ClassVar[list[Any]] = [
        one.in_bulk() for one in (MAKE_ADMIN, MAKE_EDITOR, MAKE_VIEWER, MAKE_OWNER, REMOVE)
    ]
    page_actions = (MAKE_ADMIN, MAKE_EDITOR, MAKE_VIEWER, MAKE_OWNER, REMOVE)
    actions_detail = ("make_admin", "make_editor", "make_viewer", "make_owner", "remove")
    make_admin, make_editor, make_viewer = MAKE_ADMIN.on_page(), MAKE_EDITOR.on_page(), MAKE_VIEWER.on_page()
    make_owner, remove = MAKE_OWNER.on_page(), REMOVE.on_page()
    fields = ("account", "tenant_link", "standing", "created_at", "id")
    readonly_fields = ("account", "tenant_link", "standing", "id")

    @display(description="person")
    def person(self, obj: Membership) -> SafeString | str:
        return cells.page("tenants.membership", obj.pk, obj.user.email)

    @display(description="person")
    def account(self, obj: Membership) -> SafeString | str:
        return cells.row(obj.user)

    @display(description="role")
    def standing(self, obj: Membership) -> str:
        return "owner" if obj.is_owner else obj.role


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Who was asked to join which tenant; the digest of the link is never read."""

    list_display = ("address", "tenant_link", "role", "state", "invited_by", "created")
    list_filter = (TENANT, MadeFilter)
    list_select_related = ("tenant", "invited_by")
    actions: ClassVar[list[Any]] = [TAKE_BACK.in_bulk()]
    page_actions = (TAKE_BACK,)
    actions_detail = ("take_back",)
    take_back = TAKE_BACK.on_page()
    exclude = ("digest",)
    fields = (
        "email", "tenant_link", "role", "state", "invited_by", "created_at", "mailed_at", "expires_at", "accepted_at",
        "revoked_at", "id",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "state", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invitation]:
        queryset: QuerySet[Invitation] = super().get_queryset(request)
        return queryset.defer("digest")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return not lookup.startswith("digest") and super().lookup_allowed(lookup, value, request)

    @display(description="address")
    def address(self, obj: Invitation) -> SafeString | str:
        return cells.page("tenants.invitation", obj.pk, obj.email)

    @display(description="state")
    def state(self, obj: Invitation) -> SafeString | str:
        if obj.accepted_at:
            return cells.pill("done", "accepted")
        if obj.revoked_at:
            return cells.pill("revoked")
        return cells.pill("expired") if obj.expires_at <= timezone.now() else cells.pill("waiting")


class UserMembershipInline(ReadOnlyInline):
    model = Membership
    fields = ("tenant_link", "standing", "created_at")
    readonly_fields = ("tenant_link", "standing")
    verbose_name_plural = "tenants"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("tenant", "user")

    @display(description="tenant")
    def tenant_link(self, obj: Membership) -> SafeString | str:
        return cells.row(obj.tenant)

    @display(description="role")
    def standing(self, obj: Membership) -> SafeString | str:
        return cells.page("tenants.membership", obj.pk, "owner" if obj.is_owner else obj.role)


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

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """An account that is switched off is signed out everywhere. Its tenants can read that it was, and that somebody
        became staff or is no longer."""
        super().save_model(request, obj, form, change)
        verbs = []
        if "is_active" in form.changed_data:
            verbs.append("member.account_switched_on" if obj.is_active else "member.account_switched_off")
            if not obj.is_active:
                people.end_sessions(user=obj)
                team.revoke_invitations_of(obj.pk)
        if "is_staff" in form.changed_data:
            verbs.append("member.made_staff" if obj.is_staff else "member.staff_no_longer")
            trail.note(request, verbs[-1], obj)
        memberships = list(Membership.objects.filter(user=obj).select_related("user")) if verbs else []
        for verb, membership in product(verbs, memberships):
            trail.note(request, verb, membership, user=obj.email)

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
