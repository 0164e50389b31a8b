"""The settings of one connection: its price and limits, a test of its key, its end."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from integrations.connection_changes import change_connection, find_connection, remove_connection
from integrations.models import Connection
from tenants.errors import WeirError
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows import queries
from workflows.lane_queries import lanes_of_connections
from workflows.operations.try_connection import try_connection
from workflows.web import describe
from workflows.web.forms import ConnectionForm
from workflows.web.frame import render_page
from workflows.web.vendors import VendorView, explain


@tenant_page("connections.change")
def vendor_settings(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        connection = find_connection(connection_id)
    if request.method != "POST":
        return _page(request, connection, ConnectionForm(initial=_values(connection)))
    form = ConnectionForm(request.POST)
    if form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                change_connection(connection_id=connection_id, actor=actor(request), **form.changes())
        except WeirError as error:
            explain(form, error)
        else:
            messages.success(request, f"The settings of {_named(connection)} are changed.")
            return redirect("vendor_settings", connection_id)
    return _page(request, connection, form, status=422)


@require_POST
@tenant_page("connections.change")
def test_key(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    """Ask the vendor what the key has left, which costs nothing."""
    with tenant_scope(request.membership.tenant_id):
        connection = find_connection(connection_id)
    try:
        tested = try_connection(
            tenant_id=request.membership.tenant_id, connection_id=connection_id, actor=actor(request)
        )
    except WeirError as error:
        messages.error(request, error.detail)
    else:
        if tested.ok:
            messages.success(
                request, f"{_named(connection)} answered in {tested.latency_ms:,} ms: the key works."
            )
        else:
            messages.error(request, f"{_named(connection)} did not take the key: {tested.message}")
    return redirect("vendor_settings", connection_id)


@tenant_page("connections.change")
def remove(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    """Destroy the key and take the connection out, after a question."""
    with tenant_scope(request.membership.tenant_id):
        connection = find_connection(connection_id)
    refused = ""
    if request.method == "POST":
        try:
            with tenant_scope(request.membership.tenant_id):
                remove_connection(connection_id=connection_id, actor=actor(request))
        except WeirError as error:
            refused = error.detail
        else:
            messages.success(request, f"{_named(connection)} is removed, and its key destroyed.")
            return redirect("vendors")
    context = {"vendor": VendorView(connection, None), "refused": refused}
    status = 409 if refused else 200
    return render_page(request, "workflows/remove_vendor.html", nav="vendors", status=status, **context)


def _page(
    request: TenantRequest, connection: Connection, form: ConnectionForm, *, status: int = 200
) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        lanes = queries.lane_views(list(lanes_of_connections([connection.pk]).values()))
    view = VendorView(connection, lanes[0] if lanes else None)
    limits = describe.limits(connection.windows, connection.parallelism)
    return render_page(
        request, "workflows/vendor_settings.html", nav="vendors", status=status, form=form, vendor=view,
        limits=limits,
    )  # fmt: skip


def _values(connection: Connection) -> dict[str, Any]:
    """What the form shows at first: one window is filled in, several are only told."""
    names = ("name", "price_per_credit", "currency", "on_ambiguous", "parallelism")
    found = {name: getattr(connection, name) for name in names}
    if connection.low_balance is not None:
        found["low_balance"] = f"{connection.low_balance / 1000:g}"
    if len(connection.windows) == 1 and not connection.windows[0].get("group"):
        window = connection.windows[0]
        found |= {"rate": window["rate"], "period": f"{window['period']:g}"}
    if found["price_per_credit"] is not None:
        found["price_per_credit"] = f"{found['price_per_credit'].normalize():f}"
    return found


def _named(connection: Connection) -> str:
    return f"{describe.vendor_title(connection.provider)} …{connection.secret_hint}"
