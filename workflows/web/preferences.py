"""What a person chooses for themselves: theme and tenant."""

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from tenants import team_queries
from tenants.errors import InvalidInput
from tenants.middleware import SESSION_KEY
from tenants.operations.tenant_settings import change_tenant
from tenants.operations.tenants import get_tenant
from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from tenants.web.context_processors import THEME_COOKIE, THEMES
from workflows.web.frame import render_page
from workflows.web.team_forms import RenameForm

_YEAR = 365 * 86_400


@tenant_page("tenant.read")
def settings_page(request: TenantRequest) -> HttpResponse:
    return _settings(request, RenameForm(initial={"name": request.membership.tenant_name}))


@require_POST
@tenant_page("tenant.change")
def rename_tenant(request: TenantRequest) -> HttpResponse:
    form = RenameForm(request.POST)
    if form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                tenant = change_tenant(actor=actor(request), changes={"name": form.cleaned_data["name"]})
        except InvalidInput as error:
            form.add_error("name", error.errors[0]["message"])
        else:
            messages.success(request, f"The tenant is called “{tenant.name}” now.")
            return redirect("settings")
    return _settings(request, form, status=422)


def _settings(request: TenantRequest, form: RenameForm, *, status: int = 200) -> HttpResponse:
    may_invite = allows(request, "members.change")
    with tenant_scope(request.membership.tenant_id):
        tenant = get_tenant(request.membership.tenant_id)
        people = figures.counted(team_queries.count_members(), "person", "people")
        pending = team_queries.open_invitations() if may_invite else []
    return render_page(
        request, "workflows/settings.html", nav="settings", status=status, tenant=tenant, themes=THEMES,
        people=people, invited=sum(not one.expired for one in pending), may_invite=may_invite,
        may_rename=allows(request, "tenant.change"), rename_form=form, may_export=allows(request, "tenant.export"),
        may_audit=allows(request, "audit.read"), may_pay=allows(request, "billing.change"),
    )  # fmt: skip


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
