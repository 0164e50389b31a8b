"""Pausing, resuming and cancelling runs: one row per lane changes, whatever the size of the run."""

import time
import uuid

from django.db import OperationalError, transaction
from django.db.models import QuerySet
from psycopg.errors import LockNotAvailable

from tenants import audit
from tenants.errors import NotFound
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.errors import RunIsFinal
from workflows.lanes.ring import ring_after_commit
from workflows.models import LaneRun, Run, RunEvent
from workflows.operations.cancel import cancel_waiting
from workflows.states import FINAL_RUN, LaneRunState, RunStatus

CANCEL_AT_ONCE = 2_000
TRIES, AGAIN_S = 50, 0.02


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
        lanes = LaneRun.objects.filter(run_id=run_id)
        run = _changeable(_taken(run_id, lanes, lane_state))
        run.status = status
        run.save(update_fields=["status"])
        RunEvent.objects.create(run=run, kind=f"run.{status}", actor=actor)
        audit.record(actor=actor, verb=f"run.{status}", subject=run)
        ring_after_commit({(tenant_id, lane_id) for lane_id in lanes.values_list("lane_id", flat=True)})
    return run


def _taken(run_id: uuid.UUID, lanes: QuerySet[LaneRun], lane_state: LaneRunState) -> Run | None:
    """The run, locked, with its entries in lanes moved. Lanes before the run, as the engine has it; what the engine adds
    meanwhile, the sweep brings in line. A flush that ends the run clears its lanes with the run in hand: nobody waits for
    the run with its lanes in hand, unless it was in other hands each time."""
    for nowait in (*[True] * TRIES, False):
        try:
            with transaction.atomic(using=APP_ALIAS):
                lanes.update(state=lane_state)
                locked = Run.objects.select_for_update(no_key=True, nowait=nowait)
                found: Run | None = locked.filter(pk=run_id).first()
                return found
        except OperationalError as error:
            if not nowait or not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(AGAIN_S)
    raise AssertionError


def _changeable(run: Run | None) -> Run:
    if run is None:
        raise NotFound("There is no such run.")
    if run.is_final or run.status in FINAL_RUN:
        raise RunIsFinal(f"The run is {run.status} already; it cannot be changed any more.")
    return run
