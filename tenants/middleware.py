"""Finds the tenant of a signed-in person, for pages under /app/. Opens no scope: operations and queries do that."""

import uuid
from collections.abc import Callable

from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django_htmx.http import HttpResponseClientRefresh

from tenants import context
from tenants.queries import TenantOfUser, tenants_of

SESSION_KEY = "tenant_id"
SEEN_EVERY = 300
"""Seconds between two notes of when a session was last used."""


class TenantMiddleware:
    """Sets request.membership and request.memberships; the choice of tenant is kept in the session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/app/") or not request.user.is_authenticated:
            return self.get_response(request)
        memberships = [m for m in tenants_of(request.user.pk) if m.tenant_status == "active"]
        membership = chosen(memberships, request.session.get(SESSION_KEY))
        if membership is None:  # the page there says why, and what to do
            return HttpResponseClientRefresh() if request.htmx else redirect("account_workspace")  # type: ignore[attr-defined]
        request.memberships = memberships  # type: ignore[attr-defined]
        request.membership = membership  # type: ignore[attr-defined]
        context.update(
            tenant_id=membership.tenant_id, plan=membership.plan, actor=f"user:{request.user.email}"
        )
        return self.get_response(request)


class SessionSeenMiddleware:
    """Notes when and from where each session of a person was last used; they see it in their list of sessions."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(("/app/", "/accounts/")) and request.user.is_authenticated:
            self._note(request)
        return self.get_response(request)

    @staticmethod
    def _note(request: HttpRequest) -> None:
        key, ip = request.session.session_key or "", context.current().ip
        if not ip or not cache.add(f"seen:{salted_hmac('weir.seen', key).hexdigest()}", 1, SEEN_EVERY):
            return
        changes = {"last_seen_at": timezone.now(), "ip": ip}
        if not UserSession.objects.filter(session_key=key, user_id=request.user.pk).update(**changes):
            UserSession.objects.create_from_request(request)


def chosen(memberships: list[TenantOfUser], wanted: str | None) -> TenantOfUser | None:
    """The tenant kept in the session while the person still belongs to it, else the first."""
    for membership in memberships:
        if wanted and membership.tenant_id == uuid.UUID(wanted):
            return membership
    return memberships[0] if memberships else None
