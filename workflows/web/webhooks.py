"""Webhook endpoints: listed, added, changed, switched, rotated and deleted; what was sent, and sending it again.

A new secret is shown once, in the answer to the form.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from integrations.models import WebhookDelivery, WebhookEndpoint
from integrations.webhooks import operations, queries
from integrations.webhooks.signing import message_id
from tenants.errors import Conflict, NotFound, WeirError
from tenants.events import EVENTS
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from workflows.web.frame import render_page
from workflows.web.paging import page_of, row_id
from workflows.web.webhook_forms import EndpointForm, RotateSecretForm, TestForm

LATE_STATUSES = [(value, label) for value, label in WebhookDelivery.Status.choices]
_DISABLED: dict[str, str] = {
    WebhookEndpoint.Reason.PERSON: "It was switched off.",
    WebhookEndpoint.Reason.GONE: "It answered 410 Gone, which asks to be left alone.",
    WebhookEndpoint.Reason.FAILING: "Every attempt had failed for five days.",
}


@tenant_page("webhooks.read", post="webhooks.change")
def endpoints(request: TenantRequest) -> HttpResponse:
    """The list, and the form that adds one."""
    if request.method != "POST":
        return _list(request, EndpointForm())
    form = EndpointForm(request.POST)
    if form.is_valid():
        try:
            operations.check_url(form.cleaned_data["url"])
            with tenant_scope(request.membership.tenant_id):
                endpoint, secret = operations.create_endpoint(actor=actor(request), **form.cleaned_data)
        except WeirError as error:
            _show(form, error)
        else:
            return _list(request, EndpointForm(), created=endpoint, plain=secret.reveal())
    return _list(request, form, status=422)


@tenant_page("webhooks.read", post="webhooks.change")
def endpoint(request: TenantRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """One endpoint with its deliveries; sending the form changes it."""
    with tenant_scope(request.membership.tenant_id):
        found = queries.get_endpoint(endpoint_id)
    form = EndpointForm(
        request.POST if request.method == "POST" else None,
        initial={"url": found.url, "description": found.description, "events": found.events},
    )
    if request.method == "POST" and form.is_valid():
        try:
            if form.cleaned_data["url"] != found.url:
                operations.check_url(form.cleaned_data["url"])
            with tenant_scope(request.membership.tenant_id):
                operations.change_endpoint(endpoint_id=endpoint_id, actor=actor(request), **form.cleaned_data)
        except NotFound:
            raise
        except WeirError as error:
            _show(form, error)
        else:
            messages.success(request, "Saved. Deliveries that wait go there too.")
            return redirect("webhook", endpoint_id)
    wanted = request.GET.get("status", "")
    wanted = wanted if wanted in WebhookDelivery.Status.values else ""
    with tenant_scope(request.membership.tenant_id):
        rows = queries.deliveries(endpoint_id, status=wanted or None).defer("message__body")
        page = page_of(rows, request.GET, key="id", ascending=False, parse=row_id)
    return render_page(
        request, "workflows/webhook.html", nav="developers", status=422 if form.errors else 200, endpoint=found,
        form=form, page=page, statuses=LATE_STATUSES, status_now=wanted, events=EVENTS.items(), test_form=TestForm(),
        why_off=_DISABLED.get(found.reason, ""), **_may(request),
    )  # fmt: skip


@tenant_page("webhooks.read")
def delivery(request: TenantRequest, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> HttpResponse:
    """What was sent, and what came back each time."""
    with tenant_scope(request.membership.tenant_id):
        found = queries.get_delivery(endpoint_id, delivery_id)
        attempts = queries.attempts_of([delivery_id])[delivery_id]
    longest = max((attempt.latency_ms for attempt in attempts), default=0)
    return render_page(
        request, "workflows/webhook_delivery.html", nav="developers", endpoint=found.endpoint, delivery=found,
        attempts=[(attempt, _share(attempt.latency_ms, longest)) for attempt in reversed(attempts)],
        webhook_id=message_id(found.message_id), body=_pretty(found.message.body),
        size=len(found.message.body.encode()), **_may(request),
    )  # fmt: skip


@tenant_page("webhooks.change")
def rotate(request: TenantRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Ask how long both secrets are to sign, then show the new one."""
    with tenant_scope(request.membership.tenant_id):
        found = queries.get_endpoint(endpoint_id)
    form = RotateSecretForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        overlap = form.cleaned_data["overlap"]
        try:
            with tenant_scope(request.membership.tenant_id):
                found, secret = operations.rotate_secret(
                    endpoint_id=endpoint_id, actor=actor(request), overlap_seconds=overlap
                )
        except Conflict as error:
            form.add_error("overlap", error.detail)
        else:
            return _list(
                request, EndpointForm(), created=found, plain=secret.reveal(), rotated=True, overlap=overlap
            )
    return render_page(
        request, "workflows/webhook_rotate.html", nav="developers", status=422 if form.errors else 200,
        endpoint=found, form=form,
    )  # fmt: skip


@tenant_page("webhooks.change")
def delete(request: TenantRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Ask first, then delete the endpoint with the log of its deliveries."""
    with tenant_scope(request.membership.tenant_id):
        found = queries.get_endpoint(endpoint_id)
    if request.method != "POST":
        return render_page(request, "workflows/webhook_delete.html", nav="developers", endpoint=found)
    operations.delete_endpoint(
        tenant_id=request.membership.tenant_id, endpoint_id=endpoint_id, actor=actor(request)
    )
    messages.success(request, "The endpoint is deleted.")
    return redirect("webhooks")


@require_POST
@tenant_page("webhooks.change")
def make_callback_secret(request: TenantRequest) -> HttpResponse:
    """Make the secret that signs the callbacks of runs."""
    try:
        with tenant_scope(request.membership.tenant_id):
            found, secret = operations.create_callback_secret(actor=actor(request))
    except Conflict as error:
        messages.error(request, error.detail)
        return redirect("webhooks")
    return _list(request, EndpointForm(), created=found, plain=secret.reveal())


@require_POST
@tenant_page("webhooks.change")
def switch(request: TenantRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    on = request.POST.get("on") == "1"
    with tenant_scope(request.membership.tenant_id):
        operations.switch_endpoint(endpoint_id=endpoint_id, on=on, actor=actor(request))
    messages.success(
        request,
        "The endpoint is on. What waited goes out now." if on else "The endpoint is off. What waits is kept.",
    )
    return redirect("webhook", endpoint_id)


@require_POST
@tenant_page("webhooks.send")
def send_test(request: TenantRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Send a made-up event, and show what becomes of it."""
    form = TestForm(request.POST)
    event = form.cleaned_data["event"] if form.is_valid() else ""
    try:
        with tenant_scope(request.membership.tenant_id):
            sent = operations.send_test(endpoint_id=endpoint_id, actor=actor(request), event=event)
    except Conflict as error:
        messages.error(request, error.detail)
        return redirect("webhook", endpoint_id)
    return redirect("webhook_delivery", endpoint_id, sent.pk)


@require_POST
@tenant_page("webhooks.send")
def resend(request: TenantRequest, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> HttpResponse:
    try:
        with tenant_scope(request.membership.tenant_id):
            operations.resend(endpoint_id=endpoint_id, delivery_id=delivery_id, actor=actor(request))
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, "It is on its way again, with the same id.")
    return redirect("webhook_delivery", endpoint_id, delivery_id)


def _list(request: TenantRequest, form: EndpointForm, *, status: int = 200, **shown: Any) -> HttpResponse:
    with tenant_scope(request.membership.tenant_id):
        rows = list(WebhookEndpoint.objects.all())
    own = [row for row in rows if row.kind == WebhookEndpoint.Kind.ENDPOINT]
    return render_page(
        request, "workflows/webhooks.html", nav="developers", status=status, endpoints=own, headline=_headline(own),
        callbacks=next((row for row in rows if row.kind == WebhookEndpoint.Kind.CALLBACK), None), form=form,
        # A page that shows a secret names no address that would make another one when it is loaded again.
        events=EVENTS.items(), form_action=reverse("webhooks"), **_may(request), **shown,
    )  # fmt: skip


def _headline(rows: Sequence[WebhookEndpoint]) -> str:
    on = [row for row in rows if row.status == WebhookEndpoint.Status.ENABLED]
    failing = sum(row.is_failing for row in on)
    if not rows:
        return "No webhook endpoint"
    words = f"{len(on)} webhook endpoint{'' if len(on) == 1 else 's'} on"
    if failing:
        words += f", {failing} failing"
    return words if len(on) == len(rows) else f"{words}, {len(rows) - len(on)} off"


def _may(request: TenantRequest) -> dict[str, bool]:
    return {"may_change": allows(request, "webhooks.change"), "may_send": allows(request, "webhooks.send")}


def _show(form: EndpointForm, error: WeirError) -> None:
    """The error beside the field that it is about."""
    for entry in error.errors:
        if entry["field"] in form.fields:
            form.add_error(entry["field"], entry["message"])
            return
    form.add_error("url" if isinstance(error, Conflict) else None, error.detail)


def _share(latency_ms: int, longest: int) -> str:
    """How long a bar is, in percent."""
    return f"{max(1, round(100 * latency_ms / longest)) if longest else 1}%"


def _pretty(body: str) -> str:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
