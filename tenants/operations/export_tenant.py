"""Exports of everything a tenant holds: asked for, prepared by a worker, kept for a week, taken away."""

import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import IO

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from tenants import audit, erasure, leaving
from tenants.errors import Conflict, NotFound, WeirError
from tenants.export import tables
from tenants.export.archive import write_archive
from tenants.models import Tenant, TenantExport
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, require_tenant_id, tenant_scope

KEPT_FOR = timedelta(days=7)
REASON = "preparing exports"
FAILURE = "It could not be written. Ask for it again; if that fails too, tell whoever runs Weir for you."
_SAY_SO_EVERY_S = 0.5

Status = TenantExport.Status
UNDER_WAY = (Status.WAITING, Status.PREPARING)


class TakenOver(WeirError):
    """Somebody else prepares this export, or the tenant is gone."""

    code = "export_taken_over"
    status = 409


class Expired(WeirError):
    """The export's time is over; its file is gone."""

    code = "export_expired"
    status = 410
    title = "The export has expired"


def request_export(*, actor: str) -> TenantExport:
    """Have everything that the open tenant holds prepared as one file. Raises Conflict while one is being prepared."""
    with tenant_scope(require_tenant_id()):
        try:
            with transaction.atomic(using=APP_ALIAS):
                export = TenantExport.objects.create(created_by=actor)
        except IntegrityError:
            raise Conflict("An export is being prepared already. Take that one when it is ready.") from None
        audit.record(actor=actor, verb="tenant.exported", subject=export)
        transaction.on_commit(lambda: leaving.ring(leaving.EXPORT), using=APP_ALIAS)
    return export


def open_export(*, export_id: uuid.UUID, actor: str) -> tuple[TenantExport, IO[bytes]]:
    """The file of an export of the open tenant, for downloading. Raises NotFound, and Expired when its time is over."""
    with tenant_scope(require_tenant_id()):
        export = TenantExport.objects.filter(pk=export_id, status__in=[Status.READY, Status.EXPIRED]).first()
        if export is None:
            raise NotFound("There is no such export.")
        if export.status == Status.EXPIRED or not export.expires_at or export.expires_at < timezone.now():
            raise Expired("This export has expired. Ask for a new one.")
        audit.record(actor=actor, verb="tenant.export_taken", subject=export)
    try:
        return export, default_storage.open(export.stored_as)
    except FileNotFoundError:
        raise Expired("The file of this export is gone. Ask for a new one.") from None


def due_exports() -> list[tuple[uuid.UUID, uuid.UUID, str]]:
    """(tenant, export, status) of those that somebody has to prepare, or to take away."""
    with ops_scope(REASON):
        due = TenantExport.objects.using(OPS_ALIAS).extra(where=[leaving.EXPORTS_DUE])  # noqa: S610 - ours alone
        return list(due.order_by("id").values_list("tenant_id", "id", "status")[:100])


def prepare(tenant_id: uuid.UUID, export_id: uuid.UUID) -> bool:
    """Write an export's file and put it in the storage; False when somebody else has it. Begun again from the start
    when its worker fell silent. An unforeseen error marks it as failed and goes on to the caller."""
    worker = uuid.uuid4()
    if not _claim(tenant_id, export_id, worker):
        return False
    name = f"{tenant_id}/exports/{export_id}.zip"
    try:
        with tempfile.TemporaryFile() as out:
            _write(tenant_id, export_id, worker, out)
            size = out.tell()
            out.seek(0)
            default_storage.delete(name)
            stored = default_storage.save(name, File(out))
    except TakenOver:
        return False
    except Exception:
        _update(tenant_id, export_id, worker, status=Status.FAILED, finished_at=timezone.now(), error=FAILURE)
        raise
    now = timezone.now()
    if not _update(
        tenant_id, export_id, worker, status=Status.READY, stored_as=stored, size=size, finished_at=now,
        expires_at=now + KEPT_FOR, done=F("total"),
    ):  # fmt: skip
        erasure.take_back(stored, tenant_id)
        return False
    _take_away_older(tenant_id, export_id)
    return True


def take_away(tenant_id: uuid.UUID, export_id: uuid.UUID) -> None:
    """Delete the file of an export whose time is over, or that a newer one replaced. Harmless twice."""
    with tenant_scope(tenant_id):
        export = TenantExport.objects.filter(pk=export_id).first()
    if export is None or not export.stored_as:
        return
    default_storage.delete(export.stored_as)
    with tenant_scope(tenant_id):
        TenantExport.objects.filter(pk=export_id).update(status=Status.EXPIRED, stored_as="")


def _take_away_older(tenant_id: uuid.UUID, export_id: uuid.UUID) -> None:
    with tenant_scope(tenant_id):
        older = list(
            TenantExport.objects.filter(status=Status.READY, pk__lt=export_id).values_list("pk", flat=True)
        )
    for pk in older:
        take_away(tenant_id, pk)


def _claim(tenant_id: uuid.UUID, export_id: uuid.UUID, worker: uuid.UUID) -> bool:
    with tenant_scope(tenant_id):
        due = TenantExport.objects.filter(pk=export_id, status__in=UNDER_WAY).extra(  # noqa: S610 - ours alone
            where=[leaving.EXPORTS_DUE]
        )
        return bool(due.update(status=Status.PREPARING, worker=worker, seen_at=timezone.now(), done=0))


def _update(tenant_id: uuid.UUID, export_id: uuid.UUID, worker: uuid.UUID, **changes: object) -> bool:
    """Change the export while it is this worker's."""
    with tenant_scope(tenant_id):
        mine = TenantExport.objects.filter(pk=export_id, worker=worker, status=Status.PREPARING)
        return bool(mine.update(**changes))


def _write(tenant_id: uuid.UUID, export_id: uuid.UUID, worker: uuid.UUID, out: IO[bytes]) -> None:
    with tenant_scope(tenant_id):
        tenant = Tenant.objects.get(pk=tenant_id)
    total = tables.count(tenant_id, tables.exported())
    _update(tenant_id, export_id, worker, total=total)
    write_archive(tenant, out, when=timezone.now(), progress=_progress(tenant_id, export_id, worker, total))


def _progress(
    tenant_id: uuid.UUID, export_id: uuid.UUID, worker: uuid.UUID, total: int
) -> Callable[[int], None]:
    done, said = 0, time.monotonic()

    def progress(rows: int) -> None:
        nonlocal done, said
        done += rows
        if time.monotonic() - said >= _SAY_SO_EVERY_S:
            said = time.monotonic()
            if not _update(
                tenant_id, export_id, worker, done=done, seen_at=timezone.now(), total=max(total, done)
            ):
                raise TakenOver("Somebody else prepares this export.")

    return progress
