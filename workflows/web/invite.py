"""Inviting people: the form, and the link that is shown this once."""

import uuid

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from billing.errors import NoSeatLeft
from tenants.errors import Conflict, InvalidInput
from tenants.operations import invitations
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows.web.frame import render_page
from workflows.web.team_forms import InviteForm


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page("members.change")
def invite(request: TenantRequest) -> HttpResponse:
    if request.method != "POST":
        return _page(request, InviteForm())
    form = InviteForm(request.POST)
    if form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                invited = invitations.invite(
                    **form.cleaned_data, invited_by=request.user, actor=actor(request)
                )
        except (Conflict, InvalidInput, NoSeatLeft) as error:
            form.refuse(error)
        else:
            return _sent(request, invited)
    return _page(request, form, status=422)


@require_POST
@tenant_page("members.change")
def resend(request: TenantRequest, invitation_id: uuid.UUID) -> HttpResponse:
    try:
        with tenant_scope(request.membership.tenant_id):
            invited = invitations.resend(
                invitation_id=invitation_id, invited_by=request.user, actor=actor(request)
            )
    except (Conflict, NoSeatLeft) as error:
        messages.error(request, error.detail)
        return redirect("team")
    return _sent(request, invited)


@require_POST
@tenant_page("members.change")
def revoke(request: TenantRequest, invitation_id: uuid.UUID) -> HttpResponse:
    try:
        with tenant_scope(request.membership.tenant_id):
            invitation = invitations.revoke_invitation(invitation_id=invitation_id, actor=actor(request))
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"The invitation of {invitation.email} is taken back; its link is dead.")
    return redirect("team")


def _sent(request: TenantRequest, invited: invitations.Invited) -> HttpResponse:
    """Mail it, outside any transaction, and show the link: the mailed one proves the mailbox, the shown one does not."""
    mailed = invitations.deliver(invited, link=_link(request, invited.mailed_token))
    return _page(
        request, InviteForm(), sent=invited.invitation, mailed=mailed, link=_link(request, invited.token)
    )


def _link(request: TenantRequest, token: str) -> str:
    base = settings.BASE_URL or request.build_absolute_uri("/")
    return base.rstrip("/") + reverse("invitation", args=[token])


def _page(request: TenantRequest, form: InviteForm, *, status: int = 200, **context: object) -> HttpResponse:
    return render_page(
        request, "workflows/team_invite.html", nav="settings", status=status, form=form, **context
    )
