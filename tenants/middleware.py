"""Finds the tenant of a signed-in person, for pages under /app/. Opens no scope: operations and queries do that."""

import uuid
from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from tenants import context
from tenants.queries import TenantOfUser, tenants_of

SESSION_KEY = "tenant_id"


class TenantMiddleware:
    """Sets request.membership and request.memberships; the choice of tenant is kept in the session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/app/") or not request.user.is_authenticated:
            return self.get_response(request)
        memberships = [m for m in tenants_of(request.user.pk) if m.tenant_status == "active"]
        membership = chosen(memberships, request.session.get(SESSION_KEY))
        if membership is None:
            raise PermissionDenied("Your account belongs to no active tenant. Ask whoever runs Weir for you.")
        request.memberships = memberships  # type: ignore[attr-defined]
        request.membership = membership  # type: ignore[attr-defined]
        context.update(
            tenant_id=membership.tenant_id, plan=membership.plan, actor=f"user:{request.user.email}"
        )
        return self.get_response(request)


def chosen(memberships: list[TenantOfUser], wanted: str | None) -> TenantOfUser | None:
    """The tenant kept in the session while the person still belongs to it, else the first."""
    for membership in memberships:
        if wanted and membership.tenant_id == uuid.UUID(wanted):
            return membership
    return memberships[0] if memberships else None
