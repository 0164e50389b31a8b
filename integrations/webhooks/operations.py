"""Every write about endpoints and deliveries that a person, a key or the sender makes. All in the tenant's scope."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.models.functions import Now
from django.utils import timezone

from integrations import vault
from integrations.errors import VaultError
from integrations.models import WebhookDelivery, WebhookEndpoint, WebhookMessage, WebhookSecret
from integrations.webhooks import addresses, outbox, pieces, samples, signing
from tenants import audit
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.events import EVENTS
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from tenants.secret import Secret

MOST_ENDPOINTS = 20
MOST_SECRETS = 5
OVERLAP_SECONDS, LONGEST_OVERLAP = 86_400, 2_592_000
MAX_DESCRIPTION = 120
OPT_IN = ("record.completed",)
"""Told only to endpoints that name them: there is one for each record."""
DEFAULT_EVENTS = tuple(name for name in EVENTS if name not in OPT_IN)
SENDER = "system:webhooks"
UNSEALED = "the signing secret cannot be opened: rotate it"


def create_endpoint(
    *, url: str, actor: str, events: Sequence[str] | None = None, description: str = ""
) -> tuple[WebhookEndpoint, Secret]:
    """Have an address told of events; returns the endpoint and its secret, which is shown this once.

    The address was checked with `check_url` before, outside any transaction. Raises InvalidInput, and Conflict for an
    address that is told already and for one too many.
    """
    _read_url(url)
    chosen = _clean_events(events)
    description = _clean_description(description)
    with tenant_scope(require_tenant_id()):
        _one_at_a_time()
        others = list(WebhookEndpoint.objects.filter(kind=WebhookEndpoint.Kind.ENDPOINT))
        if len(others) >= MOST_ENDPOINTS:
            raise Conflict(f"A tenant has at most {MOST_ENDPOINTS} endpoints. Delete one first.")
        if any(other.url == url for other in others):
            raise Conflict("There is an endpoint with this address already.")
        endpoint = WebhookEndpoint.objects.create(
            url=url, events=chosen, description=description, created_by=actor
        )
        secret = _add_secret(endpoint)
        audit.record(
            actor=actor, verb="webhook_endpoint.created", subject=endpoint, host=_host(url), events=chosen
        )
    return endpoint, secret


def check_url(url: str) -> None:
    """Refuse an address that is not called; its name is looked up. Not inside a transaction: name servers take their time.

    Raises InvalidInput naming `url`.
    """
    try:
        addresses.check(url)
    except addresses.RefusedAddress as problem:
        raise _invalid("url", str(problem)) from None


def change_endpoint(
    *,
    endpoint_id: uuid.UUID,
    actor: str,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
) -> WebhookEndpoint:
    """Change what is given. Deliveries that wait go to the new address. Raises InvalidInput, NotFound, Conflict."""
    with tenant_scope(require_tenant_id()):
        if url is not None:
            _one_at_a_time()
        endpoint = _locked(endpoint_id, own=True)
        changes: dict[str, Any] = {}
        if url is not None and url != endpoint.url:
            _read_url(url)
            if WebhookEndpoint.objects.filter(url=url).exists():
                raise Conflict("There is an endpoint with this address already.")
            changes |= {
                "url": url,
                "failures": 0,
                "failing_since": None,
                "rest_until": None,
                "warned_at": None,
            }
        if events is not None:
            changes["events"] = _clean_events(events)
        if description is not None:
            changes["description"] = _clean_description(description)
        if not changes:
            return endpoint
        for name, value in changes.items():
            setattr(endpoint, name, value)
        endpoint.save(update_fields=list(changes))
        audit.record(
            actor=actor,
            verb="webhook_endpoint.changed",
            subject=endpoint,
            host=_host(endpoint.url),
            events=endpoint.events,
        )
    return endpoint


def rotate_secret(
    *, endpoint_id: uuid.UUID, actor: str, overlap_seconds: int = OVERLAP_SECONDS
) -> tuple[WebhookEndpoint, Secret]:
    """Give an endpoint, or the callbacks, another secret, which is shown this once. Until the overlap (0 to 30 days, in
    seconds) is over, each delivery is signed with the old one as well. Raises InvalidInput and NotFound, and Conflict where
    MOST_SECRETS would be valid at once."""
    if not 0 <= overlap_seconds <= LONGEST_OVERLAP:
        raise _invalid("overlap_seconds", f"0 to {LONGEST_OVERLAP}.")
    with tenant_scope(require_tenant_id()):
        endpoint = _locked(endpoint_id)
        ends = timezone.now() + timedelta(seconds=overlap_seconds)
        of_endpoint = WebhookSecret.objects.filter(endpoint=endpoint)
        of_endpoint.filter(expires_at__lte=timezone.now()).delete()
        of_endpoint.filter(expires_at__gt=ends).update(expires_at=ends)
        of_endpoint.filter(expires_at=None).update(expires_at=ends)
        if of_endpoint.filter(expires_at__gt=timezone.now()).count() >= MOST_SECRETS:
            raise Conflict(
                f"{MOST_SECRETS} secrets of this endpoint are valid. Wait until an overlap is over, or rotate without one, "
                "which ends all of them."
            )
        secret = _add_secret(endpoint)
        WebhookDelivery.objects.filter(
            endpoint=endpoint, status="waiting", holder=None, last_error=UNSEALED
        ).update(due_at=Now())
        audit.record(
            actor=actor,
            verb="webhook_endpoint.rotated",
            subject=endpoint,
            host=_host(endpoint.url),
            overlap=overlap_seconds,
        )
    return endpoint, secret


def create_callback_secret(*, actor: str) -> tuple[WebhookEndpoint, Secret]:
    """Make the secret that signs the callbacks of the tenant's runs; it is shown this once. Raises Conflict when there is
    one: rotate it to see another."""
    with tenant_scope(require_tenant_id()):
        endpoint, made = WebhookEndpoint.objects.get_or_create(
            kind=WebhookEndpoint.Kind.CALLBACK, defaults={"created_by": actor}
        )
        if not made and WebhookSecret.objects.filter(endpoint=endpoint).exists():
            raise Conflict("There is a secret for callbacks already. Rotate it to get another.")
        secret = _add_secret(endpoint)
        audit.record(
            actor=actor, verb="webhook_endpoint.created", subject=endpoint, host=_host(""), events=[]
        )
    return endpoint, secret


def ensure_secret(endpoint_id: uuid.UUID) -> Secret:
    """A secret for callbacks that nobody has made one for yet: they are signed all the same.

    Raises VaultError when there is one and it does not open.
    """
    with tenant_scope(require_tenant_id()):
        endpoint = _locked(endpoint_id)
        known = vault.open_webhook_secrets().get(endpoint_id)
        if known is None:
            return _add_secret(endpoint)
        if not known:
            raise VaultError("The secret for callbacks cannot be opened. Rotate it.")
        return known[0]


def switch_endpoint(*, endpoint_id: uuid.UUID, on: bool, actor: str) -> WebhookEndpoint:
    """Switch an endpoint off, or on again: what waited for it meanwhile goes out, what happened meanwhile does not.

    Raises NotFound. One that is as wanted stays as it is.
    """
    with tenant_scope(require_tenant_id()):
        # Off: what is being written for it is waited for, and put by like the rest.
        endpoint = _locked(endpoint_id, own=True, alone=not on)
        if on == (endpoint.status == WebhookEndpoint.Status.ENABLED):
            return endpoint
        if on:
            _set(endpoint, status=WebhookEndpoint.Status.ENABLED, reason="", disabled_at=None, notice="")
            _set(endpoint, failures=0, failing_since=None, rest_until=None, warned_at=None)
            pieces.let_go(endpoint)
        else:
            _switch_off(endpoint, WebhookEndpoint.Reason.PERSON)
        verb = "webhook_endpoint.enabled" if on else "webhook_endpoint.disabled"
        audit.record(actor=actor, verb=verb, subject=endpoint, host=_host(endpoint.url))
    return endpoint


def disable_for_trouble(endpoint: WebhookEndpoint, reason: WebhookEndpoint.Reason) -> None:
    """Switch off an endpoint that is gone or has failed for days; its row is locked by the caller. Admins get a mail."""
    if endpoint.status == WebhookEndpoint.Status.DISABLED:
        return
    endpoint.notice = WebhookEndpoint.Notice.DISABLED
    _switch_off(endpoint, reason)
    audit.record(
        actor=SENDER,
        verb="webhook_endpoint.disabled",
        subject=endpoint,
        host=_host(endpoint.url),
        reason=reason.value,
    )


def delete_endpoint(*, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, actor: str) -> None:
    """Delete an endpoint with its secrets and its delivery log; call it with no scope open: nobody waits for a long log.

    If the process dies meanwhile, the endpoint is off and has a part of its log. Raises NotFound.
    """
    with tenant_scope(tenant_id):
        endpoint = _locked(endpoint_id, own=True, alone=True)
        if endpoint.status == WebhookEndpoint.Status.ENABLED:  # from now on nothing is written for it
            _switch_off(endpoint, WebhookEndpoint.Reason.PERSON)
    pieces.delete(tenant_id, endpoint_id)
    with tenant_scope(tenant_id):
        endpoint = _locked(endpoint_id, own=True)
        audit.record(actor=actor, verb="webhook_endpoint.deleted", subject=endpoint, host=_host(endpoint.url))
        with connections[APP_ALIAS].cursor() as cursor:  # what is left of its deliveries goes with it, unread
            cursor.execute(
                "DELETE FROM integrations_webhookendpoint WHERE tenant_id = %s AND id = %s",
                [tenant_id, endpoint_id],
            )


def resend(*, endpoint_id: uuid.UUID, delivery_id: uuid.UUID, actor: str) -> WebhookDelivery:
    """Send a delivery once more, whatever came of it: the same id and body, on a schedule that begins anew.

    Raises NotFound, and Conflict while it waits for its next attempt under way, or its endpoint is off.
    """
    with tenant_scope(require_tenant_id()):
        endpoint = _locked(endpoint_id)
        delivery = (
            WebhookDelivery.objects.select_for_update().filter(pk=delivery_id, endpoint=endpoint).first()
        )
        if delivery is None:
            raise NotFound("There is no such delivery.")
        if endpoint.status == WebhookEndpoint.Status.DISABLED:
            raise Conflict("This endpoint is off. Switch it on first.")
        if delivery.holder is not None:
            raise Conflict("This delivery is being sent right now.")
        delivery.status, delivery.tries, delivery.finished_at = WebhookDelivery.Status.WAITING, 0, None
        delivery.due_at = Now()
        delivery.save(update_fields=["status", "tries", "finished_at", "due_at"])
        _set(endpoint, rest_until=None)
        audit.record(actor=actor, verb="webhook_delivery.resent", subject=delivery, endpoint=str(endpoint_id))
        outbox.wake_after_commit()
        delivery.refresh_from_db()
    return delivery


def send_test(*, endpoint_id: uuid.UUID, actor: str, event: str = "") -> WebhookDelivery:
    """Send a made-up event to one endpoint, whether it listens to it or not; its body says `"test": true`.

    Raises InvalidInput, NotFound, and Conflict when the endpoint is off.
    """
    event = event or "run.completed"
    if event not in EVENTS:
        raise _invalid("event", f"Choose one out of: {', '.join(EVENTS)}.")
    with tenant_scope(require_tenant_id()):
        endpoint = _locked(endpoint_id, own=True)
        if endpoint.status == WebhookEndpoint.Status.DISABLED:
            raise Conflict("This endpoint is off. Switch it on first.")
        at = timezone.now().isoformat().replace("+00:00", "Z")
        message = WebhookMessage.objects.create(
            id=uuid7(), event=event, body=outbox.body_of(event, samples.sample(event, at), at=at, test=True)
        )
        delivery = WebhookDelivery.objects.create(message=message, endpoint=endpoint, lane=endpoint.pk)
        _set(endpoint, rest_until=None)
        audit.record(actor=actor, verb="webhook_endpoint.tested", subject=endpoint, event=event)
        outbox.wake_after_commit()
        delivery.refresh_from_db()
    return delivery


def told(endpoint_ids: Sequence[uuid.UUID], notice: str) -> None:
    """The admins have been told this of these endpoints."""
    with tenant_scope(require_tenant_id()):
        WebhookEndpoint.objects.filter(pk__in=endpoint_ids, notice=notice).update(notice="")


def _switch_off(endpoint: WebhookEndpoint, reason: str) -> None:
    """What waits for it is not sent from now on; strays.py puts by what is left of it here."""
    _set(endpoint, status=WebhookEndpoint.Status.DISABLED, reason=reason, disabled_at=timezone.now())
    pieces.hold(endpoint)


def _one_at_a_time() -> None:
    """Who gives an endpoint its address waits for who does so for another: each is to see the other's."""
    with connections[APP_ALIAS].cursor() as cursor:
        name = f"webhook-endpoints:{require_tenant_id()}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def _set(endpoint: WebhookEndpoint, **values: Any) -> None:
    for name, value in values.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=list(values))


def _locked(endpoint_id: uuid.UUID, *, own: bool = False, alone: bool = False) -> WebhookEndpoint:
    """The endpoint, locked; with `own` only one with an address of its own. With `alone` nobody writes events for it."""
    rows = WebhookEndpoint.objects.select_for_update(no_key=not alone).filter(pk=endpoint_id)
    endpoint: WebhookEndpoint | None = rows.first()
    if endpoint is None or (own and endpoint.kind != WebhookEndpoint.Kind.ENDPOINT):
        raise NotFound("There is no such endpoint.")
    return endpoint


def _add_secret(endpoint: WebhookEndpoint) -> Secret:
    secret = signing.new_secret()
    vault.seal_webhook_secret(endpoint, secret)
    return secret


def _read_url(url: str) -> None:
    try:
        addresses.read(url)
    except addresses.RefusedAddress as problem:
        raise _invalid("url", str(problem)) from None


def _clean_events(events: Sequence[str] | None) -> list[str]:
    if events is None:
        return list(DEFAULT_EVENTS)
    unknown = [name for name in events if name not in EVENTS]
    if unknown or not events:
        raise _invalid("events", f"Choose one or more out of: {', '.join(EVENTS)}.")
    return [name for name in EVENTS if name in events]


def _clean_description(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > MAX_DESCRIPTION or "\0" in text:
        raise _invalid("description", f"At most {MAX_DESCRIPTION} characters.")
    return text


def _host(url: str) -> str:
    """What the trail names of an address: its path may be a secret."""
    try:
        return addresses.read(url).host if url else "run callbacks"
    except addresses.RefusedAddress:
        return ""


def _invalid(name: str, message: str) -> InvalidInput:
    return InvalidInput(f"{name}: {message}", errors=[{"field": name, "message": message}])
