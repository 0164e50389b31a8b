"""The audit trail: who did what to which object, from where, with which request."""

import json
import uuid
from typing import Any

from django.db import models

from tenants import context
from tenants.ids import uuid7
from tenants.models import AuditEvent
from tenants.scope import require_tenant_id

INSERT = """
    INSERT INTO tenants_auditevent (id, tenant_id, actor, verb, subject_type, subject_id, detail, request_id, ip)
    VALUES (%(audit_id)s, %(audit_tenant)s, %(audit_actor)s, %(audit_verb)s, %(audit_type)s, %(audit_subject)s,
            %(audit_detail)s, %(audit_request)s, %(audit_ip)s)"""
"""For statements that write more than the entry; takes `parameters`."""


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


def parameters(*, actor: str, verb: str, subject: models.Model, **detail: Any) -> dict[str, Any]:
    """One entry to the open tenant's trail, as `INSERT` takes it."""
    here = context.current()
    return {
        "audit_id": uuid7(),
        "audit_tenant": require_tenant_id(),
        "audit_actor": actor,
        "audit_verb": verb,
        "audit_type": subject._meta.model_name or "",
        "audit_subject": str(subject.pk),
        "audit_detail": json.dumps(detail),
        "audit_request": here.request_id,
        "audit_ip": here.ip,
    }
