"""The audit trail: who did what to which object, from where, with which request."""

from typing import Any

from django.db import models

from tenants import context
from tenants.models import AuditEvent
from tenants.scope import require_tenant_id


def record(*, actor: str, verb: str, subject: models.Model, **detail: Any) -> AuditEvent:
    """Append one entry to the open tenant's trail, in the caller's transaction."""
    here = context.current()
    return AuditEvent.objects.create(
        tenant_id=require_tenant_id(),
        actor=actor,
        verb=verb,
        subject_type=subject._meta.model_name or "",
        subject_id=str(subject.pk),
        detail=detail,
        request_id=here.request_id,
        ip=here.ip,
    )
