"""Rendering a page inside the frame: rail, top bar, environment badge."""

import hashlib
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from billing import stripe_gateway
from billing.models import Subscription
from integrations.models import Connection
from integrations.queries import connections
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, allows

UNCHANGED = 204
LAST = 286


def render_page(
    request: TenantRequest, template: str, *, nav: str, status: int = 200, **context: Any
) -> HttpResponse:
    """The page in its frame. `nav` is the rail's item; the context must be plain data, read before."""
    context |= {
        "nav": nav,
        "sandbox": only_sandbox(request),
        "may_edit": allows(request, "runs.change"),
        "query": _query(request),
        "overdue": _overdue(request),
        "may_pay": allows(request, "billing.change"),
    }
    return render(request, template, context, status=status)


def render_live(
    request: TenantRequest, template: str, *, version: str, final: bool = False, **context: Any
) -> HttpResponse:
    """A fragment for a page that asks again and names the version that it shows (`v`).

    204 while nothing changed; 286, which ends the asking, once it is final.
    """
    if not final and version == request.GET.get("v"):
        return HttpResponse(status=UNCHANGED)
    context |= {"version": version, "may_edit": allows(request, "runs.change"), "query": _query(request)}
    return render(request, template, context, status=LAST if final else 200)


def _overdue(request: TenantRequest) -> Subscription | None:
    """The tenant's subscription while a payment is overdue; no statement where billing is off."""
    if not stripe_gateway.enabled():
        return None
    with tenant_scope(request.membership.tenant_id):
        row: Subscription | None = Subscription.objects.filter(grace_until__isnull=False).first()
    return row


def _query(request: TenantRequest) -> str:
    """The page's query string, which its live part asks for again, without the version."""
    params = request.GET.copy()
    params.pop("v", None)
    return params.urlencode()


def version_of(*shown: object) -> str:
    """Changes when anything that is shown does."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:12]


def only_sandbox(request: TenantRequest) -> bool:
    """Whether every vendor of the tenant is connected in sandbox mode: its answers are made up."""
    with tenant_scope(request.membership.tenant_id):
        modes = set(connections().order_by().values_list("mode", flat=True).distinct())
    return modes == {Connection.Mode.SANDBOX}
