"""Celery envelopes: ids come in, an operation is called. Harmless twice, and losing one costs a sweep at most."""

import uuid

from celery import shared_task

from tenants.failpoints import reach
from tenants.task_base import TenantTask
from workflows.lanes import ring
from workflows.operations import retention
from workflows.operations.fill_run import fill_run as fill


@shared_task(name=ring.RING_LANE, base=TenantTask, in_scope=False, ignore_result=True)
def ring_lane(tenant_id: str, lane_id: str) -> None:
    """Hand a lane to the runner of the process that this lands in."""
    reach("ring.received")
    ring.ring_here(uuid.UUID(tenant_id), uuid.UUID(lane_id))
    reach("ring.handed")


@shared_task(name=ring.RING_LANES, ignore_result=True)
def ring_lanes(lanes: list[list[str]]) -> None:
    """Hand lanes, each told with its tenant, to the runner of the process that this lands in."""
    reach("ring.received")
    for tenant_id, lane_id in lanes:
        ring.ring_here(uuid.UUID(tenant_id), uuid.UUID(lane_id))
    reach("ring.handed")


@shared_task(name=ring.FILL_RUN, base=TenantTask, in_scope=False, ignore_result=True)
def fill_run(tenant_id: str, run_id: str) -> None:
    """Turn the rows of an upload into records."""
    fill(uuid.UUID(tenant_id), uuid.UUID(run_id))


@shared_task(name=ring.PURGE, ignore_result=True)
def purge_expired() -> None:
    """Delete what is past its tenant's retention."""
    retention.purge()
