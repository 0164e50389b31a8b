"""Pausing, resuming and cancelling runs: one row per lane changes, whatever the size of the run."""

import uuid

from tenants import audit
from tenants.errors import NotFound
from tenants.scope import require_tenant_id, tenant_scope
from workflows.errors import RunIsFinal
from workflows.lanes.ring import ring_after_commit
from workflows.models import LaneRun, Run, RunEvent
from workflows.operations.cancel import cancel_waiting
from workflows.states import FINAL_RUN, LaneRunState, RunStatus

CANCEL_AT_ONCE = 2_000


def pause_run(*, run_id: uuid.UUID, actor: str) -> Run:
    """Start no more calls of a run; those in flight are finished. In effect within 2 s. Raises RunIsFinal, NotFound."""
    return _move(run_id, RunStatus.PAUSED, LaneRunState.PAUSED, actor)


def resume_run(*, run_id: uuid.UUID, actor: str) -> Run:
    """Let a paused run go on. Raises RunIsFinal, NotFound."""
    return _move(run_id, RunStatus.RUNNING, LaneRunState.ACTIVE, actor)


def cancel_run(*, run_id: uuid.UUID, actor: str) -> Run:
    """End a run for good: what waits is cancelled, calls in flight are finished and kept. Raises RunIsFinal, NotFound."""
    run = _move(run_id, RunStatus.CANCELLED, LaneRunState.CANCELLED, actor)
    cancel_waiting(run.tenant_id, run.pk, most=CANCEL_AT_ONCE)  # the rest is the sweep's
    with tenant_scope(run.tenant_id):
        run.refresh_from_db()
    return run


def _move(run_id: uuid.UUID, status: RunStatus, lane_state: LaneRunState, actor: str) -> Run:
    with tenant_scope(require_tenant_id()) as tenant_id:
        run = _changeable(Run.objects.filter(pk=run_id).first())
        if run.status == status or (status == RunStatus.RUNNING and run.status == RunStatus.QUEUED):
            return run
        # Lanes before the run, as the engine has it; what the engine adds meanwhile, the sweep brings in line.
        lanes = LaneRun.objects.filter(run_id=run_id)
        lanes.update(state=lane_state)
        run = _changeable(Run.objects.select_for_update(no_key=True).filter(pk=run_id).first())
        run.status = status
        run.save(update_fields=["status"])
        RunEvent.objects.create(run=run, kind=f"run.{status}", actor=actor)
        audit.record(actor=actor, verb=f"run.{status}", subject=run)
        ring_after_commit({(tenant_id, lane_id) for lane_id in lanes.values_list("lane_id", flat=True)})
    return run


def _changeable(run: Run | None) -> Run:
    if run is None:
        raise NotFound("There is no such run.")
    if run.is_final or run.status in FINAL_RUN:
        raise RunIsFinal(f"The run is {run.status} already; it cannot be changed any more.")
    return run
