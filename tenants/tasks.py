"""Celery envelopes: they look what there is to do, so that losing or repeating one does no harm."""

import redis
import structlog
from celery import shared_task
from django.db import Error as DatabaseError

from tenants import leaving
from tenants.errors import WeirError
from tenants.models import TenantExport
from tenants.operations import delete_tenant, export_tenant

log = structlog.get_logger(__name__)


@shared_task(name=leaving.ERASE, ignore_result=True)
def erase_closing() -> None:
    """Go on with erasing the tenants that were closed."""
    for tenant_id in delete_tenant.closing_tenants():
        try:
            delete_tenant.erase(tenant_id)
        except (WeirError, DatabaseError, redis.RedisError, OSError) as error:
            # The others' turn; the sweep rings again for this one.
            log.warning("erasing_interrupted", error=type(error).__name__)


@shared_task(name=leaving.EXPORT, ignore_result=True)
def prepare_exports() -> None:
    """Prepare the exports that were asked for, and take away those whose time is over."""
    for tenant_id, export_id, status in export_tenant.due_exports():
        if status == TenantExport.Status.READY:
            export_tenant.take_away(tenant_id, export_id)
        else:
            export_tenant.prepare(tenant_id, export_id)
