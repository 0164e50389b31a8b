"""Reads of runs, records and their steps. All of them need the tenant's scope."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Min, Prefetch, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform

from tenants.errors import NotFound
from tenants.ids import first_id_at
from workflows.catalog import TEMPLATES
from workflows.estimates import Finish, estimated_finish, estimates, finishes
from workflows.lane_queries import (
    LaneView,
    RunLane,
    is_shared,
    lane_views,
    run_lanes,
    run_wait,
    waiting_for,
)
from workflows.models import Lane, LaneRun, LaneState, Record, Run, RunVendor, Step, StepQueue, Workflow
from workflows.states import FINAL_RECORD, LaneRunState, RecordStatus, StepStatus, WaitReason

__all__ = [
    "Finish",
    "LaneView",
    "RunLane",
    "StepView",
    "estimated_finish",
    "estimates",
    "failed_groups",
    "finishes",
    "get_record",
    "get_run",
    "lane_views",
    "record_steps",
    "records",
    "run_lanes",
    "run_vendors",
    "run_wait",
    "runs",
    "workflows",
]


@dataclass(frozen=True, slots=True)
class StepView:
    """One attempt of a record: how it ended, or why it waits. Credits in thousandths; times are None until they are."""

    id: uuid.UUID
    name: str
    operation: str
    provider: str
    status: str
    outcome: str | None
    reason: str
    attempt: int
    http_status: int | None
    latency_ms: int | None
    credits: int
    answer: dict[str, Any] | None
    wait_reason: str | None
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


def workflows() -> QuerySet[Workflow]:
    """The tenant's workflows."""
    return Workflow.objects.order_by("id")


def runs(
    status: str | None = None,
    workflow: uuid.UUID | None = None,
    *,
    test_only: bool = False,
    since: datetime | None = None,
    before: datetime | None = None,
) -> QuerySet[Run]:
    """The tenant's runs, the newest first, each with its workflow; by status, by workflow, and by when they were created
    where given."""
    # Not joined: under row-level security PostgreSQL would start from the tenant's few workflows and sort all their runs.
    found = (
        Run.objects.by_policy()
        .prefetch_related(Prefetch("workflow", Workflow.objects.by_policy()))
        .order_by("-id")
    )
    if test_only:
        found = found.filter(livemode=False)
    if status:
        found = found.filter(status=status)
    if since:
        found = found.filter(id__gte=first_id_at(since))
    if before:
        found = found.filter(id__lt=first_id_at(before))
    return found.filter(workflow=workflow) if workflow else found


def get_run(run_id: uuid.UUID, *, test_only: bool = False) -> Run:
    """One run with its workflow. Raises NotFound, also for a live run where test runs alone are meant."""
    found = runs(test_only=test_only).prefetch_related(None).select_related("workflow")
    run: Run | None = found.filter(pk=run_id).first()
    if run is None:
        raise NotFound("There is no such run.")
    return run


def run_vendors(run_id: uuid.UUID) -> list[RunVendor]:
    """What each vendor did for a run, in the order in which the run's workflow asks them."""
    rows = list(RunVendor.objects.filter(run_id=run_id).select_related("run"))
    if not rows:
        return []
    run = rows[0].run
    order = TEMPLATES[run.template].providers(run.config)
    last = len(order)
    ranks = {pair: rank for rank, pair in enumerate(order)}
    return sorted(rows, key=lambda row: (ranks.get((row.operation, row.provider), last), row.provider))


def records(run_id: uuid.UUID, status: str | None = None) -> QuerySet[Record]:
    """The records of a run by position; of one status where given. The run is not looked for."""
    found = Record.objects.filter(run_id=run_id).order_by("position")
    return found.filter(status=status) if status else found


@dataclass(frozen=True, slots=True)
class FailedGroup:
    """The failed records of a run that have one error, with the message of one of them."""

    code: str
    message: str
    count: int
    asked: bool  # a vendor was asked: without other input a retry can help


def failed_groups(run_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[FailedGroup]]:
    """The errors of these runs' failed records, the commonest first: one query."""
    found = (
        Record.objects.filter(run_id__in=run_ids, status=RecordStatus.FAILED)
        .order_by()
        .values("run_id", code=KeyTextTransform("code", "error"))
        .annotate(
            count=Count("id"), message=Min(KeyTextTransform("message", "error")), started=Count("started_at")
        )
        .order_by("-count", "code")
    )
    groups: dict[uuid.UUID, list[FailedGroup]] = {}
    for row in found:
        group = FailedGroup(row["code"] or "", row["message"] or "", row["count"], bool(row["started"]))
        groups.setdefault(row["run_id"], []).append(group)
    return groups


def get_record(run_id: uuid.UUID, record_id: uuid.UUID) -> Record:
    """One record of a run. Raises NotFound."""
    record: Record | None = Record.objects.filter(run_id=run_id, pk=record_id).first()
    if record is None:
        raise NotFound("There is no such record in this run.")
    return record


def record_steps(record: Record) -> list[StepView]:
    """A record's steps in time order: the attempts that ended, then the one that waits or is in flight."""
    steps = [_ended(step) for step in Step.objects.filter(record_id=record.pk).order_by("id")]
    if record.status in FINAL_RECORD:
        return steps
    # At most one: the next call of a record is queued when the one before has been settled.
    queued = StepQueue.objects.filter(run_id=record.run_id, record_id=record.pk).order_by("id")
    # `not_before` may be infinite, which Python has no time for.
    queued = queued.defer("not_before").annotate(later=Q(not_before__isnull=False))
    return steps + [_under_way(entry) for entry in queued]


def _ended(step: Step) -> StepView:
    return StepView(
        id=step.pk,
        name=step.name,
        operation=step.operation,
        provider=step.provider,
        status=step.status,
        outcome=step.outcome or None,
        reason=step.reason,
        attempt=step.attempt,
        http_status=step.http_status,
        latency_ms=step.latency_ms,
        credits=step.credits,
        answer=step.answer,
        wait_reason=None,
        ready_at=step.ready_at,
        started_at=step.started_at,
        finished_at=step.finished_at,
    )


def _under_way(entry: Any) -> StepView:
    operation, _, provider = entry.name.partition(":")
    return StepView(
        id=entry.pk,
        name=entry.name,
        operation=operation,
        provider=provider,
        status=StepStatus.RUNNING if entry.sent_at else StepStatus.WAITING,
        outcome=None,
        reason="",
        attempt=entry.attempt,
        http_status=None,
        latency_ms=None,
        credits=0,
        answer=None,
        wait_reason=None if entry.sent_at else _why_waiting(entry),
        ready_at=entry.ready_at,
        started_at=entry.sent_at,
        finished_at=None,
    )


def _why_waiting(entry: Any) -> str | None:
    if entry.later:
        return str(entry.reason or WaitReason.BACKOFF)
    in_lane = LaneRun.objects.filter(lane_id=entry.lane_id, run_id=entry.run_id).first()
    state = LaneState.objects.filter(lane_id=entry.lane_id).first()
    lane = Lane.objects.filter(pk=entry.lane_id).first()
    shared = is_shared(entry.lane_id, entry.run_id)
    return waiting_for(lane, state, in_lane.state if in_lane else LaneRunState.ACTIVE, shared=shared)
