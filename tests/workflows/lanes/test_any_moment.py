"""Pausing, resuming, cancelling, retrying and changing runs at any moment, and suppressing people whom they are about, with
calls in flight and vendors that fail.

Seeded; `WEIR_SEEDS=20` plays so many more games. Left alone afterwards, every run ends or waits at a limit that has no
room; every record has one end, and the books of run, ledger and vendors say the same.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Sum

from billing.models import UsageEvent
from integrations.models import Suppression
from integrations.suppressions import add_suppressions, remove_suppressions
from tenants.errors import WeirError
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from tests.workflows.lanes.test_change_run import parked
from workflows.lanes.runner import Runner
from workflows.models import Lane, LaneRun, Record, Run, RunEvent, Step, StepQueue, Workflow
from workflows.operations.change_run import change_run
from workflows.operations.control_lane import pause_lane, resume_lane
from workflows.operations.control_run import cancel_run, pause_run, resume_run
from workflows.operations.failed_records import discard_failed
from workflows.operations.retry import retry_record, retry_run
from workflows.states import FINAL_RECORD, RECORD_COUNTS

SECONDS = 5.0
CALL = 1_000  # the most that a call costs
PROVIDERS = ("prospeo", "findymail", "zerobounce", "jobs")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def everything(committed: None, tenant: Tenant, sandbox: Sandbox, connect: Callable[..., Any]) -> Sandbox:
    for provider in PROVIDERS:
        connect(provider, secret=f"key-{provider}", mode="sandbox", windows=[], parallelism=8)
        sandbox.fault(provider, "status_500", rate=0.04)
        sandbox.fault(provider, "slow", rate=0.2, seconds=0.3)
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, "finders": ["prospeo", "jobs", "findymail"], "max_attempts": 2}
        workflow.save(update_fields=["config"])
    return sandbox


def play(tenant: Tenant, dice: random.Random) -> list[Run]:
    """A few seconds of somebody who cannot make up their mind."""
    # The last run asks about the same people as the first.
    lasts = ("Smith0", "Smith1", "Smith2", "Smith0")
    runs = [start(tenant, people(25, last=last), credit_limit=60_000) for last in lasts]
    until = time.monotonic() + SECONDS
    done: Counter[str] = Counter()
    while time.monotonic() < until:
        time.sleep(dice.uniform(0.0, 0.08))
        run = dice.choice(runs)
        action = dice.choices(list(ACTIONS), weights=[weight for weight, _ in ACTIONS.values()])[0]
        try:
            ACTIONS[action][1](tenant, run, dice)
            done[action] += 1
        except WeirError as refused:
            done[f"{action} {refused.code}"] += 1
    assert len(done) > 6, done
    return runs


def _in_scope(operation: Callable[..., Any]) -> Callable[[Tenant, Run, random.Random], None]:
    def act(tenant: Tenant, run: Run, dice: random.Random) -> None:
        with tenant_scope(tenant):
            operation(run_id=run.pk, actor=ACTOR)

    return act


def _retry_one(tenant: Tenant, run: Run, dice: random.Random) -> None:
    with tenant_scope(tenant):
        record = Record.objects.filter(run_id=run.pk).order_by("position")[dice.randrange(25)]
        changes = {"last_name": f"Jones{dice.randrange(9)}"} if dice.random() < 0.5 else None
        retry_record(
            run_id=run.pk, record_id=record.pk, actor=ACTOR, restart=dice.random() < 0.3, changes=changes
        )


def _suppress(tenant: Tenant, run: Run, dice: random.Random) -> None:
    number = dice.randrange(25)
    lines = [f"Person{number} Smith{dice.randrange(3)}, firm{number}.example", f"firm{number}.example"]
    with tenant_scope(tenant):
        add_suppressions(lines=[dice.choice(lines)], actor=ACTOR)


def _take_off(tenant: Tenant, run: Run, dice: random.Random) -> None:
    with tenant_scope(tenant):
        listed = list(Suppression.objects.values_list("pk", flat=True))
        if listed:
            remove_suppressions(ids=[dice.choice(listed)], actor=ACTOR)


def _change(tenant: Tenant, run: Run, dice: random.Random) -> None:
    limit = dice.randrange(5_000, 90_000)
    change_run(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR, changes={"credit_limit": limit})


def _lane(operation: Callable[..., Any]) -> Callable[[Tenant, Run, random.Random], None]:
    def act(tenant: Tenant, run: Run, dice: random.Random) -> None:
        with tenant_scope(tenant):
            lane = Lane.objects.get(provider=dice.choice(PROVIDERS))
            operation(lane_id=lane.pk, actor=ACTOR)

    return act


ACTIONS: dict[str, tuple[float, Callable[[Tenant, Run, random.Random], object]]] = {
    "pause": (4, _in_scope(pause_run)),
    "resume": (6, _in_scope(resume_run)),
    "cancel": (0.15, _in_scope(cancel_run)),
    "retry": (
        3,
        lambda tenant, run, dice: retry_run(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR),
    ),
    "retry one": (3, _retry_one),
    "discard": (
        1,
        lambda tenant, run, dice: discard_failed(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR),
    ),
    "change": (2, _change),
    "suppress": (1, _suppress),
    "take off": (1, _take_off),
    "pause lane": (1, _lane(pause_lane)),
    "resume lane": (3, _lane(resume_lane)),
}


def let_go(tenant: Tenant, runs: list[Run]) -> list[Run]:
    """Whatever was paused goes on, and then nobody does anything: the runs once they have ended, for which the limits are
    lifted of those that wait at one that has no room."""
    with tenant_scope(tenant):
        for lane in Lane.objects.all():
            resume_lane(lane_id=lane.pk, actor=ACTOR)
    for run in runs:
        try:
            with tenant_scope(tenant):
                resume_run(run_id=run.pk, actor=ACTOR)
        except WeirError:
            continue
    for run in runs:
        if not wait(run, until=lambda run: run.is_final or _has_no_room(run), seconds=90).is_final:
            change_run(tenant_id=tenant.pk, run_id=run.pk, actor=ACTOR, changes={"credit_limit": None})
    return [wait(run, seconds=90) for run in runs]


def _has_no_room(run: Run) -> bool:
    return run.credit_limit is not None and parked(run) and run.credit_limit - run.credits_spent < CALL


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(1, 1 + int(os.environ.get("WEIR_SEEDS", "1"))))
def test_the_books_agree_whatever_was_done_to_the_runs_and_whenever(
    tenant: Tenant, everything: Sandbox, runner: Runner, seed: int
) -> None:
    runs = let_go(tenant, play(tenant, random.Random(seed)))
    runner.stop()
    runs = [again(run) for run in runs]
    with tenant_scope(tenant):
        assert not StepQueue.objects.exists()
        assert not LaneRun.objects.exists()
        for run in runs:
            statuses = Counter(Record.objects.filter(run_id=run.pk).values_list("status", flat=True))
            assert {name: getattr(run, name) for name in RECORD_COUNTS if getattr(run, name)} == statuses
            assert (statuses.keys() <= set(FINAL_RECORD), statuses.total(), run.pending) == (True, 25, 0)
            assert run.credits_reserved == 0
            steps = Step.objects.filter(run_id=run.pk).aggregate(credits=Sum("credits"))["credits"] or 0
            ledger = (
                UsageEvent.objects.filter(run_id=run.pk).aggregate(credits=Sum("credits"))["credits"] or 0
            )
            assert run.credits_spent == steps == ledger
            kinds = set(RunEvent.objects.filter(run_id=run.pk).values_list("kind", flat=True))
            assert {"run.accepted", "run.started", f"run.{run.status}"} <= kinds
        calls = {
            row["provider"]: (row["n"], row["c"])
            for row in UsageEvent.objects.filter(kind="attempt")
            .values("provider")
            .annotate(n=Sum("quantity"), c=Sum("credits"))
        }
    journal = everything.summary()
    assert {name: calls.get(name, (0, 0))[0] for name in journal} == {
        n: v["calls"] for n, v in journal.items()
    }
    # What a cancelled job cost is not known: the vendor was at it, and nobody asks any more.
    known = {name: round(v["credits"] * 1000) for name, v in journal.items() if name != "jobs"}
    assert {name: calls.get(name, (0, 0))[1] for name in known} == known
