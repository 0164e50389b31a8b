"""What people of ours did in the console goes into the trail of the tenant that it touched, and into the log."""

import uuid
from typing import Any

import structlog
from django.db import models
from django.http import HttpRequest

from tenants import audit
from tenants.models import Tenant

_log = structlog.stdlib.get_logger("weir.ops_console")


def actor_of(request: HttpRequest) -> str:
    """How staff are named wherever an actor is."""
    return f"staff:{request.user.email}"  # type: ignore[union-attr]


def tenant_id_of(instance: models.Model) -> uuid.UUID | None:
    """Whose row this is; None for what belongs to no tenant."""
    return instance.pk if isinstance(instance, Tenant) else getattr(instance, "tenant_id", None)


def note(request: HttpRequest, verb: str, instance: models.Model, **detail: Any) -> None:
    """Append to the tenant's trail, in the ops login's transaction if one is open; what is nobody's is logged alone."""
    tenant_id = tenant_id_of(instance)
    _log.info(verb, actor=actor_of(request), model=instance._meta.label_lower, id=str(instance.pk))
    if tenant_id is not None:
        audit.record(actor=actor_of(request), verb=verb, subject=instance, tenant_id=tenant_id, **detail)
