"""API keys: listed, and made; a new key is shown once, in the answer to the form."""

from django.conf import settings
from django.http import HttpResponse

from tenants.models import ApiKey
from tenants.operations.keys import create_api_key
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from workflows.web.forms import KeyForm
from workflows.web.frame import render_page


@tenant_page("keys.read", post="keys.change")
def keys(request: TenantRequest) -> HttpResponse:
    if request.method == "POST":
        return _create(request)
    return _page(request, KeyForm())


def _create(request: TenantRequest) -> HttpResponse:
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    with tenant_scope(request.membership.tenant_id):
        key, plain = create_api_key(
            name=form.cleaned_data["name"],
            livemode=form.cleaned_data["livemode"] == "live",
            scopes=form.cleaned_data["scopes"],
            created_by=request.user,
            actor=actor(request),
        )
    return _page(request, KeyForm(), created=key, plain=plain)


def _page(
    request: TenantRequest,
    form: KeyForm,
    *,
    status: int = 200,
    created: ApiKey | None = None,
    plain: str = "",
) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        rows = list(ApiKey.objects.select_related("created_by").order_by("-created_at"))
    return render_page(
        request,
        "workflows/developers.html",
        nav="developers",
        status=status,
        keys=rows,
        form=form,
        created=created,
        plain=plain,
        may_create=allows(request, "keys.change"),
        base_url=(settings.BASE_URL or request.build_absolute_uri("/")).rstrip("/"),
    )
