"""The page behind an invitation's link: for who is signed out, for whom it is meant, and for somebody else.

Looking at it changes nothing (mail scanners follow links); the button on it accepts.
"""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from tenants.errors import NotAllowed, NotFound
from tenants.middleware import SESSION_KEY
from tenants.models import User
from tenants.operations import invitations
from tenants.permissions import RANKS, added_by
from tenants.queries import OpenInvitation, tenants_of
from tenants.web.accounts import INVITATION, INVITATION_NEXT, INVITATION_PROVEN


@require_http_methods(["GET", "HEAD", "POST"])
def invitation_page(request: HttpRequest, token: str) -> HttpResponse:
    found = invitations.find_open(token)
    if found is None:
        return _over(request)
    if not request.user.is_authenticated:
        return _signed_out(request, found, token)
    user = request.user
    if found.email != user.email:
        return _page(request, "other", found, status=403)
    _remember(request)
    if not invitations.belongs_to(found.email, user):
        return _page(request, "unverified", found, status=403)
    if request.method == "POST":
        return _accept(request, token, user)
    ranks = RANKS[: RANKS.index(found.role) + 1]
    return _page(request, "ready", found, may=[what for rank in ranks for what in added_by(rank)])


def _accept(request: HttpRequest, token: str, user: User) -> HttpResponse:
    try:
        member = invitations.accept_invitation(token=token, user=user)
    except (NotFound, NotAllowed):
        return _over(request)
    _forget(request)
    request.session[SESSION_KEY] = str(member.tenant_id)
    name = next((t.tenant_name for t in tenants_of(user.pk) if t.tenant_id == member.tenant_id), "")
    messages.success(request, f"You belong to {name} now, as {member.role}.")
    return redirect("home")


def _signed_out(request: HttpRequest, found: OpenInvitation, token: str) -> HttpResponse:
    """Remember where to come back to; an address that the mailed link proves needs no code at sign-up."""
    _remember(request)
    if invitations.came_by_mail(token):
        request.session[INVITATION_PROVEN] = found.email
    query = urlencode({"email": found.email})
    return _page(request, "signed_out", found, sign_up=f"{reverse('account_signup')}?{query}")


def _over(request: HttpRequest) -> HttpResponse:
    _forget(request)
    return _page(request, "over", None, status=404)


def _remember(request: HttpRequest) -> None:
    request.session[INVITATION] = True
    request.session[INVITATION_NEXT] = request.path


def _forget(request: HttpRequest) -> None:
    for key in (INVITATION, INVITATION_NEXT, INVITATION_PROVEN):
        request.session.pop(key, None)


def _page(
    request: HttpRequest, state: str, found: OpenInvitation | None, *, status: int = 200, **context: Any
) -> HttpResponse:
    return render(
        request,
        "invitation.html",
        {"state": state, "invitation": found, "here": request.path, **context},
        status=status,
    )
