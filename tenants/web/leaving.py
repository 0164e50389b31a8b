"""After the end: the page behind a deleted tenant, and deleting one's own account."""

from typing import cast

from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from tenants.errors import Conflict
from tenants.models import User
from tenants.operations import accounts as operations
from tenants.queries import tenants_of
from tenants.web.confirmed import recently_confirmed


@login_required
@require_safe
def tenant_gone(request: HttpRequest) -> HttpResponse:
    """Says what is happening; names no tenant, as there is none any more."""
    others = any(tenant.tenant_status == "active" for tenant in tenants_of(cast(User, request.user).pk))
    return render(request, "account/tenant_gone.html", {"others": others})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@recently_confirmed()
def delete_account(request: HttpRequest) -> HttpResponse:
    """Ask first, naming what keeps the account from going; then delete it and sign out."""
    user = cast(User, request.user)
    belongs = [tenant for tenant in tenants_of(user.pk) if tenant.tenant_status != "closing"]
    error, typed = "", " ".join(request.POST.get("email", "").split()).lower()
    if request.method == "POST" and typed != user.email:
        error = f"That is not “{user.email}”. Nothing was deleted."
    elif request.method == "POST":
        try:
            operations.delete_account(user_id=user.pk)
        except Conflict as refused:
            error = refused.detail
        else:
            logout(request)
            return redirect("account_gone")
    context = {
        "owned": [tenant for tenant in belongs if tenant.is_owner],
        "left": [tenant for tenant in belongs if not tenant.is_owner],
        "error": error,
        "typed": request.POST.get("email", ""),
    }
    return render(request, "account/delete_account.html", context, status=422 if error else 200)


@require_safe
def account_gone(request: HttpRequest) -> HttpResponse:
    return render(request, "account/account_gone.html")
