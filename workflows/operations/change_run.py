"""Changing what a run may spend and how soon it has its turn, while it is under way."""

import uuid
from typing import Any, TypedDict

from tenants import audit
from tenants.errors import InvalidInput, NotFound
from tenants.scope import tenant_scope
from workflows.errors import RunIsFinal
from workflows.lanes.ring import ring_after_commit
from workflows.models import LaneRun, Run, RunEvent
from workflows.operations.accept_run import MAX_CREDIT_LIMIT
from workflows.states import FINAL_RUN, LaneRunState


class RunChanges(TypedDict, total=False):
    """Only what is to change. Credits in thousandths, None for no limit."""

    credit_limit: int | None
    priority: int


def change_run(*, tenant_id: uuid.UUID, run_id: uuid.UUID, actor: str, changes: RunChanges) -> None:
    """Change a run that is under way; what waits for its credit limit goes on within 2 s if there is room now.

    Two transactions when called outside of any scope: the engine holds lanes when it asks for a run, so nobody may ask
    for lanes with a run in hand. Raises InvalidInput naming the field, NotFound, RunIsFinal.
    """
    wanted: dict[str, Any] = dict(_checked(changes))
    with tenant_scope(tenant_id):
        run = Run.objects.select_for_update(of=("self",), no_key=True).filter(pk=run_id).first()
        if run is None:
            raise NotFound("There is no such run.")
        if run.is_final or run.status in FINAL_RUN:
            raise RunIsFinal(f"The run is {run.status} already; it cannot be changed any more.")
        changed = {
            name: [getattr(run, name), value] for name, value in wanted.items() if getattr(run, name) != value
        }
        if changed:
            Run.objects.filter(pk=run_id).update(**{name: value for name, (_, value) in changed.items()})
            RunEvent.objects.create(run=run, kind="run.changed", actor=actor, detail=changed)
            audit.record(actor=actor, verb="run.changed", subject=run, changes=changed)
    with tenant_scope(tenant_id):
        lanes = LaneRun.objects.filter(run_id=run_id)
        if "priority" in wanted:
            lanes.exclude(priority=wanted["priority"]).update(priority=wanted["priority"])
        # Also where nothing changed: whoever presses again may find what was interrupted in between.
        lanes.filter(state=LaneRunState.BUDGET).update(state=LaneRunState.ACTIVE)
        ring_after_commit({(tenant_id, lane_id) for lane_id in lanes.values_list("lane_id", flat=True)})


def _checked(changes: RunChanges) -> RunChanges:
    limit = changes.get("credit_limit")
    if limit is not None and not 0 <= limit <= MAX_CREDIT_LIMIT:
        raise _invalid("credit_limit", "A number of credits from 0 to 1,000,000,000, or null.")
    if "priority" in changes and not 0 <= changes["priority"] <= 9:
        raise _invalid("priority", "A whole number from 0 to 9.")
    return changes


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field}: {message}", errors=[{"field": field, "message": message}])
