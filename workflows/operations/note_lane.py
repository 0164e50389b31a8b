"""What the engine writes of a lane by itself: a rest, a recovery, a key that the vendor refuses."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models.functions import Now
from django.urls import reverse

from integrations.connectors import registry
from integrations.models import Connection
from tenants import audit, mails
from tenants.models import AuditEvent, Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tenants.team_queries import addresses_of_admins
from workflows import telling
from workflows.lanes import book
from workflows.models import Lane

ENGINE = "system:engine"
AGAIN = timedelta(hours=1)


def note_breaker(tenant_id: uuid.UUID, lane_id: uuid.UUID, event: str, rests_s: float) -> None:
    """Tell the runs that have work in a lane that it rests, or goes on: `lane.rests` or `lane.recovered`."""
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        lane = Lane.objects.only("provider", "key_hint").filter(pk=lane_id).first()
        if lane is None:
            return
        runs = book.rows(
            cursor,
            "SELECT run_id FROM lane_run WHERE tenant_id = %s AND lane_id = %s AND state = 'active'",
            [tenant_id, lane_id],
        )
        detail: dict[str, Any] = {"provider": lane.provider, "lane": str(lane_id)}
        if rests_s:
            detail["rests_s"] = rests_s
        book.write_events(cursor, tenant_id, [(row[0], event, detail) for row in runs], actor=ENGINE)
        audit.record(actor=ENGINE, verb=event, subject=lane, **detail)


def pause_for_trouble(
    lane_id: uuid.UUID, tenant_id: uuid.UUID, outcome: str, reason: str, key_hash: str = ""
) -> bool:
    """Pause a lane whose key was refused or is out of credits (`outcome`), and mark its connection; records wait
    unburned. Admins get a mail, one per incident: a lane that is paused already stays as it is. Whether it was not.

    `key_hash`: of the key that was refused; where there is another by now, nothing is paused."""
    with tenant_scope(tenant_id):
        lane = (
            Lane.objects.select_for_update(of=("self",))
            .select_related("connection")
            .filter(pk=lane_id, paused=False)
            .first()
        )
        if lane is None or key_hash not in ("", lane.connection.key_hash):
            return False
        lane.paused, lane.pause_reason = True, outcome
        lane.save(update_fields=["paused", "pause_reason"])
        Connection.objects.filter(pk=lane.connection_id).update(status=outcome, last_error=reason[:300])
        audit.record(actor=ENGINE, verb="lane.paused", subject=lane, reason=outcome, provider=lane.provider)
        telling.lane_paused(lane, reason=outcome)
    return True


def tell_admins(lane_id: uuid.UUID, tenant_id: uuid.UUID) -> bool:
    """Mail the admins why a lane stands still; False where it does not, or the mail server did not take it.

    A vendor that tells of credits and refuses all the same would make one incident many: no mail within AGAIN of the
    engine's own resuming.
    """
    with tenant_scope(tenant_id):
        lane = Lane.objects.select_related("connection").filter(pk=lane_id, paused=True).first()
        lately = AuditEvent.objects.filter(at__gt=Now() - AGAIN, verb="lane.resumed", subject_id=str(lane_id))
        resumed = lately.order_by("-id").first()
        admins = addresses_of_admins()
        tenant_name = Tenant.objects.values_list("name", flat=True).get(pk=tenant_id)
    if lane is None or (resumed and resumed.actor == ENGINE):
        return False
    return mails.send_lane_paused(
        admins,
        tenant_name=tenant_name,
        vendor=registry.get(lane.provider).title,
        key_hint=lane.key_hint,
        kind=lane.pause_reason,
        why=lane.connection.last_error,
        link=f"{settings.BASE_URL.rstrip('/')}{reverse('vendors')}",
    )


def tell_low_balance(lane_id: uuid.UUID, tenant_id: uuid.UUID) -> bool:
    """Mail the admins that a vendor's key has few credits left; whether the mail server took it."""
    with tenant_scope(tenant_id):
        lane = Lane.objects.select_related("connection").filter(pk=lane_id).first()
        admins = addresses_of_admins()
        tenant_name = Tenant.objects.values_list("name", flat=True).get(pk=tenant_id)
    if lane is None or lane.connection.balance is None:
        return False
    return mails.send_low_balance(
        admins,
        tenant_name=tenant_name,
        vendor=registry.get(lane.provider).title,
        key_hint=lane.key_hint,
        credits=f"{lane.connection.balance / 1000:,g}",
        runs_out=lane.connection.runs_out_at,
        link=f"{settings.BASE_URL.rstrip('/')}{reverse('vendors')}",
    )
