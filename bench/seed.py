"""Tenants with enough rows that the planner has a choice: finished runs, a run that waits in a lane, shared answers."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from django.utils import timezone

from integrations.operations import create_connection
from tenants.operations.people import create_user
from tenants.operations.tenants import create_tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from workflows.lanes.work import RunFacts, RunInLane
from workflows.models import Lane, Lookup, Record, Run, StepQueue, Workflow
from workflows.states import RecordStatus, RunStatus

PROVIDERS = ("prospeo", "findymail", "zerobounce")
CHUNK = 500


@dataclass(frozen=True)
class Seeded:
    """A tenant, its lane, and the run that waits in it."""

    tenant_id: uuid.UUID
    lane_id: uuid.UUID
    waiting: RunInLane


def seed(
    *, tenants: int, runs: int, waiting: int, tell: Callable[[str], None] = lambda _: None
) -> list[Seeded]:
    """`tenants` tenants, each with so many finished runs of two records, and one run of `waiting` queued steps.

    Written in turns, so that the tenants' rows lie between each other's, as they come in life.
    """
    made = [_tenant() for _ in range(tenants)]
    for start in range(0, runs, CHUNK):
        tell(f"Runs {start:,} to {min(start + CHUNK, runs):,} of {tenants} tenants")
        for one in made:
            _finished_runs(one, min(CHUNK, runs - start))
    for start in range(0, waiting, CHUNK):
        tell(f"Waiting steps {start:,} to {min(start + CHUNK, waiting):,} of {tenants} tenants")
        for one in made:
            _waiting_steps(one, min(CHUNK, waiting - start), start)
    return made


def _tenant() -> Seeded:
    owner = create_user(email=f"{uuid.uuid4().hex}@bench.example", password=None)
    tenant = create_tenant(name="Bench", plan="enterprise", owner=owner, actor="system:bench")
    with tenant_scope(tenant):
        for provider in PROVIDERS:
            create_connection(
                provider=provider,
                secret=Secret(uuid.uuid4().hex),
                actor="system:bench",
                mode="sandbox",
                parallelism=10,
            )
        lanes = {lane.provider: lane for lane in Lane.objects.all()}
        run = _run(RunStatus.RUNNING, {name: str(lane.pk) for name, lane in lanes.items()})
        run.save()
        run.refresh_from_db()
        facts = RunFacts(
            run.pk,
            tenant.pk,
            run.template,
            run.config,
            run.lanes,
            run.livemode,
            run.created_at,
            run.credit_limit,
        )
        in_lane = RunInLane(facts=facts, priority=5, vtime=0.0, since=facts.created_at)
        return Seeded(tenant.pk, lanes["prospeo"].pk, in_lane)


def _run(status: str, lanes: dict[str, str]) -> Run:
    workflow = Workflow.objects.get(slug="email-waterfall")
    return Run(
        workflow=workflow, template=workflow.template, config=workflow.config, lanes=lanes, status=status,
        source=Run.Source.API, name="Bench", created_by="system:bench", total=2, filled=2,
    )  # fmt: skip


def _finished_runs(one: Seeded, count: int) -> None:
    with tenant_scope(one.tenant_id):
        pattern = _run(RunStatus.COMPLETED, {})
        runs = [
            Run(
                tenant_id=one.tenant_id, workflow=pattern.workflow, template=pattern.template, config=pattern.config,
                status=RunStatus.COMPLETED, source=Run.Source.API, name=f"Bench {number}", created_by="system:bench",
                total=2, filled=2, found=2, finished_at=timezone.now(),
            )
            for number in range(count)
        ]  # fmt: skip
        Run.objects.bulk_create(runs)
        Record.objects.bulk_create(
            Record(
                tenant_id=one.tenant_id, run=run, position=position, input=person(position), output=person(position),
                status=RecordStatus.FOUND,
            )
            for run in runs
            for position in (1, 2)
        )  # fmt: skip


def _waiting_steps(one: Seeded, count: int, start: int) -> None:
    with tenant_scope(one.tenant_id):
        records = [
            Record(
                tenant_id=one.tenant_id, run_id=one.waiting.facts.id, position=start + n + 1, input=person(n)
            )
            for n in range(count)
        ]
        Record.objects.bulk_create(records)
        prints = [uuid.uuid4().hex for _ in records]
        StepQueue.objects.bulk_create(
            StepQueue(
                tenant_id=one.tenant_id, lane_id=one.lane_id, run_id=one.waiting.facts.id, record_id=record.pk,
                name="find:prospeo", query=record.input, fingerprint=mark,
            )
            for record, mark in zip(records, prints, strict=True)
        )  # fmt: skip
        Lookup.objects.bulk_create(
            Lookup(
                tenant_id=one.tenant_id, provider="prospeo", fingerprint=mark, leader=uuid.uuid4(), outcome="miss",
                answer={}, answered_at=timezone.now(),
            )
            for mark in prints[::2]
        )  # fmt: skip


def person(number: int) -> dict[str, str]:
    """A contact that the email waterfall accepts."""
    return {"first_name": f"Ada{number}", "last_name": "Smith", "domain": f"company{number}.example"}
