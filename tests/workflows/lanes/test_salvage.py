"""An answer that PostgreSQL does not take ends its own record and holds up nobody else's."""

import pytest
from django.db import DataError

from integrations.outcomes import Done
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import people, start
from tests.workflows.lanes.test_recovery import Hand
from workflows.lanes import salvage, settle
from workflows.lanes.runner import Runner
from workflows.lanes.work import Batch
from workflows.models import Record, Step, StepQueue

# A character that JSON has and PostgreSQL's text has not.
POISON = Done({"email": "ada@engine.example", "note": "\0"}, credits=1000)


def test_the_others_of_its_batch_are_written_and_its_record_ends(tenant: Tenant, vendors: Sandbox) -> None:
    hand = Hand(tenant)
    run = start(tenant, people(3))
    works = hand.claim()
    hand.stamp(works[:2])
    batch = Batch(
        settlements=[hand.answer(works[0], POISON), hand.answer(works[1])], stamps=[(works[2], 30.0, 1000)]
    )
    with pytest.raises(DataError):
        settle.flush(batch, hand.holder)
    flushed = salvage.flush_apart(batch, hand.holder)
    assert flushed.stamped == {works[2].id}
    with tenant_scope(tenant):
        failed = Record.objects.get(run=run, status="failed")
        assert (failed.pk, failed.error["code"]) == (works[0].record_id, "internal_error")
        assert sorted(Step.objects.values_list("status", "credits")) == [("dead", 1000), ("done", 1000)]
        assert StepQueue.objects.filter(name="verify:zerobounce").count() == 1
    salvage.flush_apart(batch, hand.holder)
    with tenant_scope(tenant):
        assert Step.objects.count() == 2, "written once, however often it is tried"


def test_what_is_refused_even_without_its_answer_is_dropped(tenant: Tenant, vendors: Sandbox) -> None:
    hand = Hand(tenant)
    start(tenant, people(2))
    works = hand.claim()
    hand.stamp(works)
    lost = hand.answer(works[0])
    lost.http_status = 10**9  # no small integer
    flushed = salvage.flush_apart(Batch(settlements=[lost, hand.answer(works[1])]), hand.holder)
    assert flushed.late == 1
    with tenant_scope(tenant):
        assert Step.objects.count() == 1


def test_a_runner_goes_on_with_everything_else(
    tenant: Tenant, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from integrations.connectors.prospeo import Prospeo
    from tests.workflows.lanes.helpers import wait

    interpret, asked = Prospeo.interpret, []

    def poisoned(self: Prospeo, operation: str, response: object) -> object:
        asked.append(operation)
        return POISON if len(asked) == 3 else interpret(self, operation, response)  # type: ignore[arg-type]

    monkeypatch.setattr(Prospeo, "interpret", poisoned)
    run = start(tenant, people(12))
    runner = Runner()
    runner.start()
    try:
        run = wait(run, seconds=40)
    finally:
        runner.stop()
    assert (run.failed, run.found + run.not_found) == (1, 11)
