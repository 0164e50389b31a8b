"""Tenants with enough rows that the planner has a choice: finished runs, a run that waits in a lane, shared answers."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Model
from django.utils import timezone

from integrations.operations import create_connection
from tenants.ids import uuid7
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
    """One run with its first record; copies of them are the others."""
    with tenant_scope(one.tenant_id):
        run = _run(RunStatus.COMPLETED, {})
        run.found, run.finished_at = 2, timezone.now()
        run.save()
        record = Record.objects.create(
            run=run, position=1, input=person(1), output=person(1), status=RecordStatus.FOUND
        )
        runs = [uuid7() for _ in range(count - 1)]
        _copy(run, [{"id": pk, "name": f"Bench {number}"} for number, pk in enumerate(runs)])
        places = [(run.pk, 2), *((pk, position) for pk in runs for position in (1, 2))]
        _copy(
            record,
            [{"id": uuid7(), "run_id": pk, "position": n, "input": person(n)} for pk, n in places],
        )


def _waiting_steps(one: Seeded, count: int, start: int) -> None:
    """One step that waits, with its record and a known answer for it; copies of them are the others."""
    run_id, people = one.waiting.facts.id, [person(n) for n in range(1, count)]
    with tenant_scope(one.tenant_id):
        record = Record.objects.create(run_id=run_id, position=start + 1, input=person(0))
        step = StepQueue.objects.create(
            lane_id=one.lane_id, run_id=run_id, record_id=record.pk, name="find:prospeo", query=record.input,
            fingerprint=uuid.uuid4().hex,
        )  # fmt: skip
        lookup = Lookup.objects.create(
            provider="prospeo", fingerprint=step.fingerprint, leader=uuid.uuid4(), outcome="miss", answer={},
            answered_at=timezone.now(),
        )  # fmt: skip
        records, marks = [uuid7() for _ in people], [uuid.uuid4().hex for _ in people]
        _copy(
            record,
            [
                {"id": pk, "position": start + n, "input": given}
                for n, (pk, given) in enumerate(zip(records, people, strict=True), start=2)
            ],
        )
        _copy(
            step,
            [
                {"id": uuid7(), "record_id": pk, "query": given, "fingerprint": mark}
                for pk, given, mark in zip(records, people, marks, strict=True)
            ],
        )
        _copy(lookup, [{"id": uuid7(), "fingerprint": mark, "leader": uuid.uuid4()} for mark in marks[1::2]])


def _copy(pattern: Model, changes: list[dict[str, Any]]) -> None:
    """Rows like this one but for these columns, written by one statement: the ORM takes minutes for as many."""
    table = connection.ops.quote_name(pattern._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO {table} SELECT made.* FROM {table} pattern
                CROSS JOIN jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS change (fields, place)
                CROSS JOIN LATERAL jsonb_populate_record(pattern, change.fields) made
                WHERE pattern.id = %s ORDER BY change.place""",
            [json.dumps(changes, default=str), pattern.pk],
        )


def person(number: int) -> dict[str, str]:
    """A contact that the email waterfall accepts."""
    return {"first_name": f"Ada{number}", "last_name": "Smith", "domain": f"company{number}.example"}
