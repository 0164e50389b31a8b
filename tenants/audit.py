"""The audit trail: who did what to which object, from where, with which request."""

import uuid
from typing import Any

from django.db import models

from tenants import context
from tenants.models import AuditEvent
from tenants.scope import require_tenant_id


def record(
    *, actor: str, verb: str, subject: models.Model, tenant_id: uuid.UUID | None = None, **detail: Any
) -> AuditEvent:
    """Append one entry to the open tenant's trail, in the caller's transaction.

    In an ops scope no tenant is open; the ops console names the one that it touched.
    """
    here = context.current()
    return AuditEvent.objects.create(
        tenant_id=tenant_id or require_tenant_id(),
        actor=actor,
        verb=verb,
        subject_type=subject._meta.model_name or "",
        subject_id=str(subject.pk),
        detail=detail,
        request_id=here.request_id,
        ip=here.ip,
    )
