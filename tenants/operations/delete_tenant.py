"""Closing a tenant for good, and erasing what it held: every row, file, key and message, but for totals without names.

`close_tenant` shuts it at once; `erase` does the rest in short transactions and may be killed and started again
anywhere. What is left to do is read from the database each time, so nothing is done twice.
"""

import uuid
from collections.abc import Callable
from typing import Any

import structlog
from django.db import connections, transaction
from django.utils import timezone

from tenants import audit, erasure, signals
from tenants.classes import Isolated
from tenants.errors import Conflict, InvalidInput
from tenants.models import AuditEvent, ClosedTenant, Tenant
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, require_tenant_id, tenant_scope

CHUNK = 2_000
REASON = "erasing a tenant"
CLOSED = "tenant.closing"

log = structlog.get_logger(__name__)

Checkpoint = Callable[[str], None]


def _go_on(step: str) -> None:
    """The checkpoint of everyday: nothing. Tests die here."""


def close_tenant(*, actor: str, reason: str = "") -> Tenant:
    """Shut the open tenant for good: its pages and keys are refused from now on, its vendors' keys cannot be opened
    any more, and `erase` may begin. Raises Conflict when it is being closed already."""
    if len(reason) > 200 or "\0" in reason:
        raise InvalidInput(
            "A reason has up to 200 characters.", errors=[{"field": "reason", "message": "0-200"}]
        )
    with tenant_scope(require_tenant_id()) as tenant_id:
        tenant = Tenant.objects.select_for_update().get(pk=tenant_id)
        if tenant.status == Tenant.Status.CLOSING:
            raise Conflict("This tenant is being deleted already.")
        tenant.status = Tenant.Status.CLOSING
        tenant.save(update_fields=["status"])
        audit.record(actor=actor, verb=CLOSED, subject=tenant, reason=reason)
        signals.tenant_closing.send(sender=Tenant, tenant=tenant, actor=actor)
    return tenant


def rows_held() -> dict[str, int]:
    """How many rows the open tenant has in each table, those of empty tables left out."""
    tenant_id = require_tenant_id()
    counts: dict[str, int] = {}
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        for entry in erasure.rows_of():
            cursor.execute(f'SELECT count(*) FROM "{entry.table}" WHERE {entry.column} = %s', [tenant_id])  # noqa: S608
            if (count := cursor.fetchone()[0]) > 0:
                counts[entry.table] = count
    return counts


def closing_tenants() -> list[uuid.UUID]:
    """The tenants that are shut and not erased to the end."""
    with ops_scope(REASON):
        shut = Tenant.objects.filter(status=Tenant.Status.CLOSING).values_list("pk", flat=True)
        begun = ClosedTenant.objects.exclude(erasing=None).values_list("erasing", flat=True)
        return sorted({*shut, *(tenant_id for tenant_id in begun if tenant_id)})


def erase(tenant_id: uuid.UUID, *, checkpoint: Checkpoint = _go_on) -> ClosedTenant | None:
    """Go on with erasing a tenant that was closed; call it outside any scope.

    Returns what is left of the tenant once everything else is gone; None while calls to vendors are in flight: call it
    again. Raises Conflict for a tenant that was not closed.
    """
    with ops_scope(REASON):
        there = Tenant.objects.filter(pk=tenant_id).first()
        closed = ClosedTenant.objects.filter(erasing=tenant_id).first()
    if there is not None:
        if there.status != Tenant.Status.CLOSING:
            raise Conflict("Only a tenant that was closed is erased.")
        closed = closed or _note(there)
        checkpoint("noted")
        if not erasure.halted(tenant_id):
            return None
        checkpoint("halted")
        _count(closed, tenant_id)
        erasure.forget_elsewhere(tenant_id)
        checkpoint("forgotten elsewhere")
        for entry in erasure.rows_of():
            while _erase_some(closed, tenant_id, entry):
                checkpoint(f"rows of {entry.table}")
        _erase_last(closed, tenant_id)
    elif closed is None:
        raise Conflict("There is no such tenant.")
    checkpoint("tenant gone")
    # What somebody wrote meanwhile: a request counted, a file stored by a worker that had begun before.
    erasure.forget_elsewhere(tenant_id)
    checkpoint("forgotten again")
    with ops_scope(REASON):
        closed.erasing, closed.erased_at = None, timezone.now()
        closed.save(update_fields=["erasing", "erased_at"])
    log.info("tenant_erased", closed_tenant=str(closed.pk), rows=sum(closed.counts.values()))
    return closed


def _note(tenant: Tenant) -> ClosedTenant:
    """What staff will see of it: who closed it in which role, never a name of the tenant's."""
    with tenant_scope(tenant.pk):
        asked = AuditEvent.objects.filter(verb=CLOSED).order_by("-id").first()
    actor = asked.actor if asked else "system:unknown"
    with ops_scope(REASON):
        closed, _ = ClosedTenant.objects.get_or_create(
            erasing=tenant.pk,
            defaults={
                "plan": tenant.plan,
                "closed_by": "owner" if actor.startswith("user:") else actor,
                "reason": asked.detail.get("reason", "") if asked else "",
                "closed_at": asked.at if asked else timezone.now(),
            },
        )
    return closed


def _count(closed: ClosedTenant, tenant_id: uuid.UUID) -> None:
    if closed.counts:
        return
    with tenant_scope(tenant_id):
        closed.counts = rows_held()
    with ops_scope(REASON):
        closed.save(update_fields=["counts"])


def _erase_some(closed: ClosedTenant, tenant_id: uuid.UUID, entry: Isolated) -> bool:
    """Erase one chunk of a table in a transaction of its own; False when there was nothing."""
    if not entry.append_only:
        with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
            return _delete(cursor, tenant_id, entry) > 0
    with ops_scope(REASON), transaction.atomic(using=OPS_ALIAS), connections[OPS_ALIAS].cursor() as cursor:
        return _carry_over(cursor, closed, tenant_id, entry) > 0


def _delete(cursor: Any, tenant_id: uuid.UUID, entry: Isolated) -> int:
    own = f'SELECT id FROM "{entry.table}" WHERE {entry.column} = %s LIMIT {CHUNK}'  # noqa: S608 - a table of ours
    cursor.execute(f'DELETE FROM "{entry.table}" WHERE id IN ({own})', [tenant_id])  # noqa: S608
    return int(cursor.rowcount)


def _carry_over(cursor: Any, closed: ClosedTenant, tenant_id: uuid.UUID, entry: Isolated) -> int:
    """Rows that no login may delete: the database erases them for a closing tenant, after what is kept of them was
    written. One at a time per tenant: nothing may be kept twice."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"erase:{tenant_id}"])
    cursor.execute(
        f'SELECT id FROM "{entry.table}" WHERE {entry.column} = %s LIMIT {CHUNK}',  # noqa: S608
        [tenant_id],
    )
    ids = [row[0] for row in cursor.fetchall()]
    if not ids:
        return 0
    if keep := erasure.keep_of(entry.table):
        keep(cursor, closed.pk, ids)
    cursor.execute(
        "SELECT public.weir_erase_rows(%s, %s::regclass, %s)", [tenant_id, f'public."{entry.table}"', ids]
    )
    return int(cursor.fetchone()[0])


def _erase_last(closed: ClosedTenant, tenant_id: uuid.UUID) -> None:
    """The tenant's own row, with what came in between. Its lock keeps everybody out who would write more: foreign keys
    and the engine's flush take a share of it."""
    with ops_scope(REASON), transaction.atomic(using=OPS_ALIAS), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute("SELECT id FROM tenants_tenant WHERE id = %s FOR UPDATE", [tenant_id])
        for entry in erasure.rows_of():
            if entry.kind == "secret":
                continue  # out of the ops login's reach; one that came in between fails here, and erase starts over
            while (
                _carry_over(cursor, closed, tenant_id, entry)
                if entry.append_only
                else _delete(cursor, tenant_id, entry)
            ):
                pass
        cursor.execute("DELETE FROM tenants_tenant WHERE id = %s", [tenant_id])
