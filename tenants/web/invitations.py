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
from tenants.web.accounts import INVITATION, followed


@require_http_methods(["GET", "HEAD", "POST"])
def invitation_page(request: HttpRequest, token: str) -> HttpResponse:
    """By the link itself. Only from here on does the browser's session know of the invitation."""
    found = invitations.find_open(token)
    if found is None:
        return _over(request)
    if not request.user.is_authenticated or found.email == request.user.email:
        _remember(request, token)
    return _answer(request, found, invitations.digest_of(token))


@require_http_methods(["GET", "HEAD", "POST"])
def followed_page(request: HttpRequest) -> HttpResponse:
    """After signing in or up, without the link."""
    found, _ = followed(request)
    if found is None:
        return _over(request)
    return _answer(request, found, bytes.fromhex(request.session[INVITATION]["digest"]))


def _answer(request: HttpRequest, found: OpenInvitation, digest: bytes) -> HttpResponse:
    if not request.user.is_authenticated:
        query = urlencode({"email": found.email})
        return _page(request, "signed_out", found, sign_up=f"{reverse('account_signup')}?{query}")
    user = request.user
    if found.email != user.email:
        return _page(request, "other", found, status=403)
    if not invitations.belongs_to(found.email, user):
        return _page(request, "unverified", found, status=403)
    if request.method == "POST":
        return _accept(request, digest, user)
    ranks = RANKS[: RANKS.index(found.role) + 1]
    return _page(request, "ready", found, may=[what for rank in ranks for what in added_by(rank)])


def _accept(request: HttpRequest, digest: bytes, user: User) -> HttpResponse:
    try:
        member = invitations.accept_by_digest(digest=digest, user=user)
    except (NotFound, NotAllowed):
        return _over(request)
    _forget(request)
    request.session[SESSION_KEY] = str(member.tenant_id)
    name = next((t.tenant_name for t in tenants_of(user.pk) if t.tenant_id == member.tenant_id), "")
    messages.success(request, f"You belong to {name} now, as {member.role}.")
    return redirect("home")


def _over(request: HttpRequest) -> HttpResponse:
    _forget(request)
    return _page(request, "over", None, status=404)


def _remember(request: HttpRequest, token: str) -> None:
    """Where to come back to; an address that the mailed link proves needs no code at sign-up."""
    digest = invitations.digest_of(token).hex()
    before = request.session.get(INVITATION)
    known = isinstance(before, dict) and before["digest"] == digest and before["proven"]
    proven = not request.user.is_authenticated and invitations.came_by_mail(token)
    request.session[INVITATION] = {"digest": digest, "proven": proven or known}


def _forget(request: HttpRequest) -> None:
    request.session.pop(INVITATION, None)


def _page(
    request: HttpRequest, state: str, found: OpenInvitation | None, *, status: int = 200, **context: Any
) -> HttpResponse:
    return render(
        request,
        "invitation.html",
        {"state": state, "invitation": found, "here": request.path, **context},
        status=status,
    )
