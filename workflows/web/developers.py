"""API keys: listed, made, rotated and revoked; a new key is shown once, in the answer to the form."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from tenants.errors import Conflict, NotFound, WeirError
from tenants.models import ApiKey
from tenants.operations.keys import create_api_key, revoke_api_key, rotate_api_key
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from workflows.web.frame import render_page
from workflows.web.key_forms import SCOPES, KeyForm, RotateForm

ENDED_SHOWN = 50


@tenant_page("keys.read", post="keys.change")
def keys(request: TenantRequest) -> HttpResponse:
    if request.method != "POST":
        return _page(request, KeyForm())
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                key, plain = create_api_key(
                    name=form.cleaned_data["name"],
                    livemode=form.cleaned_data["livemode"] == "live",
                    scopes=form.cleaned_data["scopes"],
                    expires_at=form.expires_at(),
                    created_by=request.user,
                    actor=actor(request),
                )
        except WeirError as error:
            field = next((entry["field"] for entry in error.errors if entry["field"] in form.fields), None)
            form.add_error(field, error.detail)
        else:
            return _page(request, KeyForm(), created=key, plain=plain)
    return _page(request, form, status=422)


@tenant_page("keys.change")
def rotate(request: TenantRequest, key_id: uuid.UUID) -> HttpResponse:
    """Ask how long both are to work, then show the new key."""
    key = _key(request, key_id)
    form = RotateForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                new, plain = rotate_api_key(
                    key_id=key_id,
                    overlap_seconds=form.cleaned_data["overlap"],
                    created_by=request.user,
                    actor=actor(request),
                )
        except Conflict as error:
            form.add_error(None, error.detail)
        else:
            key = _key(request, key_id)
            return _page(request, KeyForm(), created=new, plain=plain, replaced=key)
    status = 422 if form.errors else 200
    return render_page(
        request, "workflows/key_rotate.html", nav="developers", status=status, key=key, form=form
    )


@tenant_page("keys.change")
def revoke(request: TenantRequest, key_id: uuid.UUID) -> HttpResponse:
    """Ask first, naming what uses the key and when it last did; then end it."""
    key = _key(request, key_id)
    if request.method != "POST":
        return render_page(request, "workflows/key_revoke.html", nav="developers", key=key)
    try:
        with tenant_scope(request.membership.tenant_id):
            revoke_api_key(key_id=key_id, actor=actor(request))
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"“{key.name}” is revoked: it is refused from now on.")
    return redirect("developers")


def _key(request: TenantRequest, key_id: uuid.UUID) -> ApiKey:
    with tenant_scope(request.membership.tenant_id):
        key: ApiKey | None = ApiKey.objects.defer("digest").filter(pk=key_id).first()
    if key is None:
        raise NotFound("There is no such key.")
    return key


def _page(request: TenantRequest, form: KeyForm, *, status: int = 200, **shown: Any) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        rows = list(ApiKey.objects.defer("digest").select_related("created_by").order_by("-id"))
    replaced = {row.replaces_id for row in rows if row.replaces_id and row.revoked_at is None}
    may_change = allows(request, "keys.change")
    return render_page(
        request,
        "workflows/developers.html",
        nav="developers",
        status=status,
        keys=[row for row in rows if row.status == ApiKey.Status.ACTIVE],
        ended=[row for row in rows if row.status != ApiKey.Status.ACTIVE][:ENDED_SHOWN],
        replaced_ids=replaced,
        form=form,
        scopes=SCOPES,
        may_create=may_change,
        # A page that shows a key names no address that would make another one when it is loaded again.
        form_action=reverse("developers"),
        base_url=(settings.BASE_URL or request.build_absolute_uri("/")).rstrip("/"),
        **shown,
    )
