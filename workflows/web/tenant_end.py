"""Leaving: an export of everything, and deleting the tenant."""

import uuid
from dataclasses import dataclass

from django import forms
from django.db.models import Count, Sum
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.text import slugify
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from integrations.queries import connections
from tenants.errors import Conflict
from tenants.models import ApiKey, Membership, TenantExport
from tenants.operations.delete_tenant import close_tenant
from tenants.operations.export_tenant import open_export, request_export
from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from tenants.web.confirmed import recently_confirmed
from workflows.models import Run, Upload
from workflows.web.frame import render_live, render_page, version_of

_NEVER = "none"


@dataclass(frozen=True, slots=True)
class ExportView:
    """The newest export as the page shows it; `state` is none where there is none."""

    state: str
    export: TenantExport | None
    version: str

    @property
    def under_way(self) -> bool:
        return self.state in (TenantExport.Status.WAITING, TenantExport.Status.PREPARING)

    @property
    def share(self) -> str:
        """How much is written, as a width; most of it, at most, before the file is in its place."""
        export = self.export
        return f"{min(97, 100 * export.done // export.total)}%" if export and export.total else "0%"


class DeleteForm(forms.Form):
    """The tenant's name, typed by hand."""

    name = forms.CharField(
        label="Name",
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
        error_messages={"required": "Type the name. Nothing was deleted."},
    )

    def __init__(self, *args: object, tenant_name: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.tenant_name = tenant_name

    def clean_name(self) -> str:
        typed = " ".join(self.cleaned_data["name"].split())
        if typed != " ".join(self.tenant_name.split()):
            raise forms.ValidationError(f"That is not “{self.tenant_name}”. Nothing was deleted.")
        return typed


@require_safe
@tenant_page("tenant.export")
def leave(request: TenantRequest) -> HttpResponse:
    view = _newest(request)
    return render_page(
        request,
        "workflows/leave.html",
        nav="settings",
        view=view,
        version=view.version,
        may_delete=allows(request, "tenant.delete"),
    )


@require_safe
@tenant_page("tenant.export")
def export_live(request: TenantRequest) -> HttpResponse:
    """What changed of the export since the version that the page shows."""
    view = _newest(request)
    return render_live(
        request, "workflows/_export.html", version=view.version, final=not view.under_way, view=view
    )


@require_POST
@tenant_page("tenant.export")
@recently_confirmed(back="leave")
def export(request: TenantRequest) -> HttpResponse:
    """Ask for an export; one that is being prepared already is the one."""
    try:
        with tenant_scope(request.membership.tenant_id):
            request_export(actor=actor(request))
    except Conflict:
        pass
    return redirect("leave")


@require_safe
@tenant_page("tenant.export")
@recently_confirmed(back="leave")
def download(request: TenantRequest, export_id: uuid.UUID) -> HttpResponseBase:
    """The file, streamed. Another tenant's is not found."""
    with tenant_scope(request.membership.tenant_id):
        found, file = open_export(export_id=export_id, actor=actor(request))
    name = f"{slugify(request.membership.tenant_name) or 'tenant'}-{found.created_at:%Y-%m-%d}.zip"
    answer = FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")
    answer["Cache-Control"] = "no-store"
    return answer


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page("tenant.delete")
@recently_confirmed()
def delete(request: TenantRequest) -> HttpResponse:
    """Say what is lost and what stays; then, once the name was typed, shut the tenant for good."""
    form = DeleteForm(
        request.POST if request.method == "POST" else None, tenant_name=request.membership.tenant_name
    )
    if request.method == "POST" and form.is_valid():
        with tenant_scope(request.membership.tenant_id):
            close_tenant(actor=actor(request))
        return redirect("tenant_gone")
    return render_page(
        request,
        "workflows/delete_tenant.html",
        nav="settings",
        status=422 if form.errors else 200,
        form=form,
        lost=_lost(request),
        exported=_newest(request),
    )


def _newest(request: TenantRequest) -> ExportView:
    with tenant_scope(request.membership.tenant_id):
        found = TenantExport.objects.order_by("-created_at").first()
    state = found.status if found else _NEVER
    if (
        found
        and state == TenantExport.Status.READY
        and (found.expires_at or timezone.now()) <= timezone.now()
    ):
        state = TenantExport.Status.EXPIRED
    return ExportView(state, found, version_of(state, found and (found.pk, found.done, found.total)))


def _lost(request: TenantRequest) -> list[str]:
    """What goes with the tenant, counted, in words."""
    with tenant_scope(request.membership.tenant_id):
        held = Run.objects.aggregate(runs=Count("pk"), records=Sum("total"))
        numbers = [
            (held["runs"], "run", "runs"),
            (held["records"] or 0, "record with its history", "records with their history"),
            (Upload.objects.count(), "uploaded file", "uploaded files"),
            (connections().count(), "vendor key", "vendor keys"),
            (ApiKey.objects.count(), "API key", "API keys"),
            (Membership.objects.count(), "membership", "memberships"),
        ]
    return [figures.counted(number, one, many) for number, one, many in numbers if number]
