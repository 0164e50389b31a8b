"""One's own account: naming the first tenant, and signing single browsers out."""

from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.middleware import SESSION_KEY
from tenants.models import User
from tenants.operations import people
from tenants.queries import tenants_of
from tenants.web.accounts import INVITATION


@login_required
@require_http_methods(["GET", "POST"])
def workspace(request: HttpRequest) -> HttpResponse:
    """Where somebody goes who belongs to no active tenant: start one, follow the invitation, or learn whom to ask."""
    user = cast(User, request.user)
    known = [tenant for tenant in tenants_of(user.pk) if tenant.tenant_status != "closing"]
    if any(tenant.tenant_status == "active" for tenant in known):
        return redirect(settings.LOGIN_REDIRECT_URL)
    if INVITATION in request.session:
        return redirect("invitation_followed")
    may_start = settings.SIGNUP == "open" and not known
    error = ""
    if request.method == "POST" and may_start:
        try:
            tenant = people.start_tenant(
                name=request.POST.get("name", ""), owner=user, actor=f"user:{user.email}"
            )
        except Conflict:
            return redirect(settings.LOGIN_REDIRECT_URL)
        except InvalidInput as refused:
            error = refused.detail
        else:
            request.session[SESSION_KEY] = str(tenant.pk)
            return redirect(settings.LOGIN_REDIRECT_URL)
    context = {
        "may_start": may_start,
        "suspended": known,
        "error": error,
        "name": request.POST.get("name", ""),
    }
    status = 422 if error else 200 if may_start else 403
    return render(request, "account/workspace.html", context, status=status)


@login_required
@require_POST
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """Sign out one of one's own browsers; another's session is not found."""
    try:
        people.end_session(session_id=session_id, user=cast(User, request.user))
    except NotFound as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, "Signed out there.")
    return redirect("usersessions_list")
