"""What a person chooses for themselves: theme and tenant."""

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from tenants.middleware import SESSION_KEY
from tenants.models import Membership
from tenants.operations.tenants import get_tenant
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, tenant_page
from tenants.web.context_processors import THEME_COOKIE, THEMES
from workflows.web.frame import render_page

_YEAR = 365 * 86_400


@tenant_page("tenant.read")
def settings_page(request: TenantRequest) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        tenant = get_tenant(request.membership.tenant_id)
        members = list(Membership.objects.select_related("user").order_by("user__email")[:200])
    return render_page(
        request, "workflows/settings.html", nav="settings", tenant=tenant, members=members, themes=THEMES
    )


@require_POST
@tenant_page("tenant.read")
def choose_theme(request: TenantRequest) -> HttpResponse:
    response = HttpResponseRedirect(_back(request))
    theme = request.POST.get("theme", "")
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=_YEAR, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie(THEME_COOKIE)
    return response


@require_POST
@tenant_page("tenant.read")
def switch_tenant(request: TenantRequest) -> HttpResponse:
    """Open another tenant of this person; one that they do not belong to changes nothing."""
    wanted = request.POST.get("tenant", "")
    if any(str(membership.tenant_id) == wanted for membership in request.memberships):
        request.session[SESSION_KEY] = wanted
    return redirect("home")


def _back(request: TenantRequest) -> str:
    target = request.POST.get("next") or request.headers.get("Referer", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if safe else "/app/settings/"
