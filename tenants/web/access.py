"""Who may see and do what on the pages under /app/: each view says it in its first line, the decorator."""

import functools
import zoneinfo
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar, cast

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django_htmx.http import HttpResponseClientRefresh
from django_htmx.middleware import HtmxDetails

from tenants.errors import WeirError
from tenants.models import User
from tenants.permissions import PERMISSIONS, role_allows
from tenants.queries import TenantOfUser

ZONE_COOKIE = "weir_tz"
_SAFE = ("GET", "HEAD", "OPTIONS")


class TenantRequest(HttpRequest):
    """A request of a signed-in member, as the middleware leaves it."""

    user: User
    membership: TenantOfUser
    memberships: Sequence[TenantOfUser]
    htmx: HtmxDetails


P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)


def actor(request: TenantRequest) -> str:
    """Who is acting, as the audit trail names people."""
    return f"user:{request.user.email}"


def allows(request: TenantRequest, permission: str) -> bool:
    """Whether the member may do this, by the one table of permissions."""
    return role_allows(request.membership.role, permission, is_owner=request.membership.is_owner)


def tenant_page(
    permission: str, *, post: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R | HttpResponse]]:
    """A page of the open tenant for members who have this permission, in the viewer's time zone.

    `post` is what sending its form takes, where that is more than seeing the page. Strangers go to sign in; an error of
    ours becomes a page that says what to do.
    """
    permissions = {"GET": permission, "POST": post or permission}
    unknown = set(permissions.values()) - PERMISSIONS.keys()
    if unknown:
        raise KeyError(f"Not in the table of permissions: {unknown}")

    def decorate(view: Callable[P, R]) -> Callable[P, R | HttpResponse]:
        @functools.wraps(view)
        def page(*args: P.args, **kwargs: P.kwargs) -> R | HttpResponse:
            request = cast(TenantRequest, args[0])
            if _is_stranger(request):
                return _to_sign_in(request)
            _require(request, permissions["GET" if request.method in _SAFE else "POST"])
            with timezone.override(_zone(request)):
                try:
                    return view(*args, **kwargs)
                except WeirError as error:
                    return _refusal(request, error)

        page.permissions = permissions  # type: ignore[attr-defined]
        return page

    return decorate


def _require(request: TenantRequest, permission: str) -> None:
    if not allows(request, permission):
        needed = PERMISSIONS[permission]
        raise PermissionDenied(
            f"To {needed.what} takes the role “{needed.role}”; you are {request.membership.role} of "
            f"{request.membership.tenant_name}. Ask an admin of it."
        )


def _is_stranger(request: HttpRequest) -> bool:
    return not request.user.is_authenticated


def _to_sign_in(request: TenantRequest) -> HttpResponse:
    """A fragment cannot show a form to sign in: the whole page has to."""
    return HttpResponseClientRefresh() if request.htmx else redirect_to_login(request.get_full_path())


def _refusal(request: TenantRequest, error: WeirError) -> HttpResponse:
    context = {"title": error.title, "detail": error.detail, "status": error.status}
    return render(request, "error.html", context, status=error.status)


def _zone(request: HttpRequest) -> zoneinfo.ZoneInfo:
    """The zone that weir.js left in a cookie, where it is one; else the server's."""
    name = request.COOKIES.get(ZONE_COOKIE, "")
    try:
        return zoneinfo.ZoneInfo(name if 0 < len(name) < 64 else settings.TIME_ZONE)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return zoneinfo.ZoneInfo(settings.TIME_ZONE)
