"""Rendering a page inside the frame: rail, top bar, environment badge."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from integrations.models import Connection
from tenants.scope import tenant_scope
from tenants.web.access import EDITOR, TenantRequest, allows


def render_page(
    request: TenantRequest, template: str, *, nav: str, status: int = 200, **context: Any
) -> HttpResponse:
    """The page in its frame. `nav` is the rail's item; the context must be plain data, read before."""
    context |= {
        "nav": nav,
        "sandbox": only_sandbox(request),
        "may_edit": allows(request, EDITOR),
    }
    return render(request, template, context, status=status)


def only_sandbox(request: TenantRequest) -> bool:
    """Whether every vendor of the tenant is connected in sandbox mode: its answers are made up."""
    with tenant_scope(request.membership.tenant_id):
        modes = set(Connection.objects.order_by().values_list("mode", flat=True).distinct())
    return modes == {Connection.Mode.SANDBOX}
