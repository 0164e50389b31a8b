"""What a cancelled run keeps: what its records have cost until then; and runs that end just then."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from integrations.outcomes import Miss
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.workflows.lanes.helpers import again, people, start
from tests.workflows.lanes.test_recovery import Hand
from tests.workflows.lanes.test_suppressed import configure
from workflows.errors import RunIsFinal
from workflows.lanes import book
from workflows.models import LaneRun, Record
from workflows.operations.control_run import cancel_run, pause_run


def test_a_record_that_is_cancelled_between_two_steps_says_what_it_has_cost(
    tenant: Tenant, committed: None, connect: Any
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="sandbox")
    run = start(tenant, people(2))
    hand = Hand(tenant)
    asked, waiting = hand.claim()
    hand.stamp([asked])
    hand.settle([hand.answer(asked)])
    with tenant_scope(tenant):
        cancel_run(run_id=run.pk, actor=ACTOR)
        paid = dict(Record.objects.values_list("pk", "credits"))
    assert paid == {asked.record_id: 1_000, waiting.record_id: 0}
    assert (again(run).credits_spent, again(run).cancelled) == (1_000, 2)


@pytest.mark.parametrize("change", [cancel_run, pause_run])
def test_whoever_stops_a_run_that_is_ending_is_told_so_and_keeps_it_from_nothing(
    tenant: Tenant, committed: None, connect: Any, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    """The flush that ends the run clears its lanes with the run in hand."""
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="sandbox")
    configure(tenant, finders=["prospeo"], verifier=None)
    run = start(tenant, people(1))
    hand = Hand(tenant)
    [work] = hand.claim()
    hand.stamp([work])
    has_the_run, go_on = threading.Event(), threading.Event()
    after = book._after_the_end

    def hold(*args: Any) -> list[uuid.UUID]:
        has_the_run.set()
        go_on.wait(10)
        return after(*args)

    def stop() -> None:
        with tenant_scope(tenant):
            change(run_id=run.pk, actor=ACTOR)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as threads:
        patch.setattr(book, "_after_the_end", hold)
        ending = threads.submit(_and_close, lambda: hand.settle([hand.answer(work, Miss())]))
        assert has_the_run.wait(10)
        stopping = threads.submit(_and_close, stop)
        time.sleep(0.3)  # it has its lanes by now, and asks for the run
        go_on.set()
        assert ending.result(10).completed == [run.pk]
        with pytest.raises(RunIsFinal):
            stopping.result(10)
    assert again(run).status == "completed"
    with tenant_scope(tenant):
        assert not LaneRun.objects.exists()


def _and_close(act: Callable[[], Any]) -> Any:
    try:
        return act()
    finally:
        connections.close_all()
