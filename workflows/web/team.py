"""The team: who belongs to the tenant, their roles, and the ways out of it."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from tenants import team_queries
from tenants.errors import Conflict, NotFound
from tenants.middleware import SESSION_KEY
from tenants.operations import team as operations
from tenants.permissions import RANKS, added_by
from tenants.scope import tenant_scope
from tenants.team_queries import Member
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from tenants.web.confirmed import recently_confirmed
from workflows.web.frame import render_page
from workflows.web.team_forms import ROLES, TransferForm


@tenant_page("members.read")
def team(request: TenantRequest) -> HttpResponse:
    """Everybody sees who belongs; who may change that sees invitations and second factors as well."""
    may_change = allows(request, "members.change")
    with tenant_scope(request.membership.tenant_id):
        members = team_queries.members()
        pending = team_queries.open_invitations() if may_change else []
    waiting = sum(not invitation.expired for invitation in pending)
    headline = figures.counted(len(members), "person", "people") + (f", {waiting} invited" if waiting else "")
    return render_page(
        request, "workflows/team.html", nav="settings", headline=headline, members=members, pending=pending,
        roles=ROLES, ranks=[(rank, added_by(rank)) for rank in RANKS], may_change=may_change,
        may_transfer=allows(request, "tenant.transfer"),
    )  # fmt: skip


@require_POST
@tenant_page("members.change")
def change_role(request: TenantRequest, member_id: uuid.UUID) -> HttpResponse:
    try:
        with tenant_scope(request.membership.tenant_id):
            member = operations.change_role(
                member_id=member_id, role=request.POST.get("role", ""), actor=actor(request)
            )
            email = member.user.email
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"{email} is {_a(member.role)} now.")
    return redirect("team")


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page("members.change")
def remove(request: TenantRequest, member_id: uuid.UUID) -> HttpResponse:
    """Ask first, naming what stays; then remove."""
    with tenant_scope(request.membership.tenant_id):
        member = _member(member_id)
        keys = team_queries.keys_made_by(member.user_id)
    if request.method == "POST":
        try:
            with tenant_scope(request.membership.tenant_id):
                operations.remove_member(member_id=member_id, actor=actor(request))
        except Conflict as error:
            messages.error(request, error.detail)
        else:
            messages.success(request, f"{member.email} does not belong to the team any more.")
        return redirect("team")
    return render_page(
        request, "workflows/team_remove.html", nav="settings", member=member, keys=keys
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page("members.read")
def leave(request: TenantRequest) -> HttpResponse:
    """Ask first; then leave, for another tenant of the person's or for the page that says that there is none."""
    tenant_id, name = request.membership.tenant_id, request.membership.tenant_name
    if request.method == "POST":
        try:
            with tenant_scope(tenant_id):
                operations.leave_tenant(user_id=request.user.pk, actor=actor(request))
        except Conflict as error:
            messages.error(request, error.detail)
            return redirect("team")
        request.session.pop(SESSION_KEY, None)
        messages.success(request, f"You left {name}.")
        return redirect("home")
    with tenant_scope(tenant_id):
        keys = team_queries.keys_made_by(request.user.pk)
    return render_page(request, "workflows/team_leave.html", nav="settings", keys=keys)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page("tenant.transfer")
@recently_confirmed()
def transfer(request: TenantRequest) -> HttpResponse:
    """Choose an admin and type the tenant's name; then the tenant is theirs."""
    name = request.membership.tenant_name
    with tenant_scope(request.membership.tenant_id):
        heirs = [m for m in team_queries.members() if m.role == "admin" and m.is_active and not m.is_owner]
    form = TransferForm(request.POST or None, heirs=heirs, tenant_name=name)
    if request.method == "POST" and form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                owner = operations.transfer_ownership(
                    member_id=uuid.UUID(form.cleaned_data["member"]), by=request.user.pk, actor=actor(request)
                )
                email = owner.user.email
        except (Conflict, NotFound) as error:
            messages.error(request, error.detail)
        else:
            messages.success(request, f"{email} owns {name} now. You are an admin of it.")
        return redirect("team")
    status = 422 if form.errors else 200
    return render_page(
        request, "workflows/team_transfer.html", nav="settings", form=form, heirs=heirs, status=status
    )


def _member(member_id: uuid.UUID) -> Member:
    member = team_queries.find_member(member_id)
    if member is None:
        raise NotFound("There is no such member.")
    return member


def _a(role: str) -> str:
    return f"{'an' if role[0] in 'aeio' else 'a'} {role}"
