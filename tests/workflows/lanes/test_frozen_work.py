"""What was in flight at an earlier release ends under this code: every file in `frozen/`, one for each release.

`WEIR_FREEZE=2027-01 pytest tests/workflows/lanes/test_frozen_work.py` writes the file of a release. Files stay as they are.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db.models import Sum

from integrations.outcomes import AwaitCallback, Done, Poll, Retry
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.sandbox import Sandbox
from tests.workflows.lanes.freezer import freeze, thaw
from tests.workflows.lanes.helpers import people, start, wait
from tests.workflows.lanes.test_recovery import Hand
from workflows.lanes.runner import Runner
from workflows.models import Callback, Record, Run, Step, StepQueue, Workflow
from workflows.states import FINAL_RECORD

FOLDER = Path(__file__).parent / "frozen"
FILES = sorted(FOLDER.glob("*.json"))
ADDRESS = "everyone@firm0.example"


@pytest.fixture
def connected(committed: None, tenant: Tenant, sandbox: Sandbox, connect: Callable[..., Any]) -> Sandbox:
    for provider in ("prospeo", "findymail", "zerobounce", "jobs"):
        connect(provider, secret=f"key-{provider}", mode="sandbox", windows=[], parallelism=10)
    return sandbox


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_work_that_was_in_flight_at_an_earlier_release_ends(
    tenant: Tenant, connected: Sandbox, path: Path
) -> None:
    frozen = json.loads(path.read_text())
    thaw(tenant, frozen)
    with tenant_scope(tenant):
        runs = list(Run.objects.order_by("id"))
        assert (len(runs), StepQueue.objects.count()) == (len(frozen["run"]), len(frozen["step_queue"]))
        assert {"<waiting>", "<stamped>", "backoff", "duplicate", "poll", "callback"} <= states(frozen)
    runner = Runner()
    runner.start()
    try:
        runs = [wait(run, seconds=60) for run in runs]
    finally:
        runner.stop()
    with tenant_scope(tenant):
        assert not StepQueue.objects.exists()
        for run in runs:
            assert run.status == "completed"
            assert (run.pending, run.credits_reserved) == (0, 0)
            assert set(Record.objects.filter(run=run).values_list("status", flat=True)) <= set(FINAL_RECORD)
            spent = Step.objects.filter(run_id=run.pk).aggregate(n=Sum("credits"))["n"] or 0
            assert run.credits_spent == spent
        found = Record.objects.filter(status="found").count()
        # Of all that were in flight only the one whose vendor has forgotten its job is not found.
        assert found == Record.objects.count() - 1


def test_there_is_a_file_for_the_first_release_that_has_jobs() -> None:
    assert "2026-11" in [path.stem for path in FILES]


@pytest.mark.skipif("WEIR_FREEZE" not in os.environ, reason="writes a file, when a release is made")
def test_freezing(tenant: Tenant, connected: Sandbox) -> None:
    make_work(tenant)
    target = FOLDER / f"{os.environ['WEIR_FREEZE']}.json"
    assert not target.exists(), "files of releases stay as they are"
    target.write_bytes(orjson.dumps(freeze(tenant), option=orjson.OPT_INDENT_2) + b"\n")


def states(frozen: dict[str, list[dict[str, Any]]]) -> set[str]:
    return {row["reason"] or ("<stamped>" if row["sent_at"] else "<waiting>") for row in frozen["step_queue"]}


def make_work(tenant: Tenant) -> None:
    """Runs with steps in every state that the queue knows."""
    first = start(tenant, people(6), credit_limit=1_000_000)
    hand = Hand(tenant, "prospeo")
    works = hand.claim(3)
    hand.stamp(works)
    found = Done({"email": ADDRESS, "email_status": "valid"}, 1000)
    hand.settle([hand.answer(works[0], found), hand.answer(works[1], Retry("error", "away", after=3.0))])
    start(tenant, people(3))  # the third of them is being asked for already
    hand.stamp([work for work in hand.claim(20) if work.run.id != first.pk])
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        usual = workflow.config
        workflow.config = {**usual, "finders": ["jobs"], "verifier": "jobs"}
        workflow.save(update_fields=["config"])
    start(tenant, people(2, last="Everyone Else"))
    hand = Hand(tenant, "jobs")
    polled, other = hand.claim()
    hand.stamp([polled, other])
    hand.settle([hand.answer(polled, Poll(2.0, {"job": "frozen"})), hand.answer(other, found)])
    (verify,) = hand.claim()
    hand.stamp([verify])
    hand.settle([hand.answer(verify, AwaitCallback("posted", 3600))])
    body = orjson.dumps({"job": "posted", "status": "done", "result": {"email": ADDRESS, "verdict": "valid"}})
    with tenant_scope(tenant):
        Callback.objects.create(
            entry_id=verify.id, record_id=verify.record_id, attempt=1, digest="0" * 64, body=body
        )
        workflow.config = usual
        workflow.save(update_fields=["config"])
    with ops_scope("test"):  # whoever held these has died
        StepQueue.objects.exclude(sent_at=None).update(deadline_at="2020-01-01T00:00Z")
