"""Work that arrives in one process for a lane that another one holds."""

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Iterator

import pytest

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.sandbox import Sandbox
from tests.workflows.lanes.hands import NOW, holder, run_in_lane, works
from tests.workflows.lanes.helpers import people, start, wait
from workflows.lanes import lease, relay
from workflows.lanes.runner import Runner
from workflows.models import Lane


@pytest.fixture
def two(vendors: Sandbox) -> Iterator[tuple[Runner, Runner]]:
    """The first has leased the lanes; rings come to the second, as to another process."""
    first, second = Runner(), Runner()
    first.start()
    yield first, second
    first.stop()
    second.stop()


def begin(tenant: Tenant, two: tuple[Runner, Runner]) -> None:
    wait(start(tenant, people(3)))
    assert len(two[0].lanes) == 2  # everybody is found by the first finder, and verified
    two[1].start()


def test_a_holder_hears_at_once_of_work_that_was_rung_elsewhere(
    tenant: Tenant, two: tuple[Runner, Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.lanes.loops.LOOK_EVERY_S", 60.0)
    begin(tenant, two)
    began = time.monotonic()
    wait(start(tenant, people(6)[3:]))
    assert time.monotonic() - began < 2.5, "sooner than an idle lane is released"
    assert not two[1].lanes


def test_without_redis_the_next_look_finds_it(
    tenant: Tenant, two: tuple[Runner, Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.Relay, "ask", lambda self, lane_id: None)
    monkeypatch.setattr("workflows.lanes.holder.IDLE_RELEASE_S", 60.0)
    monkeypatch.setattr("workflows.lanes.driver.IDLE_RELEASE_S", 60.0)
    begin(tenant, two)
    wait(start(tenant, people(6)[3:]), seconds=20)
    assert not two[1].lanes


def test_a_run_whose_queue_was_read_to_its_end_is_read_again_when_there_is_more() -> None:
    lane, run = holder(), run_in_lane(1)
    lane.refresh(lane.facts, [run], NOW)
    lane.turns.poked = False
    lane.turns.claimed(run, [], NOW, ended=True)
    assert not lane.claim_plan(NOW)
    lane.refresh(lane.facts, [dataclasses.replace(run, fed=False)], NOW)
    assert not lane.claim_plan(NOW)
    lane.refresh(lane.facts, [dataclasses.replace(run, fed=True)], NOW)
    assert [mine.facts.id for mine, _ in lane.claim_plan(NOW)] == [run.facts.id]


def test_what_is_in_hand_already_is_no_reason_to_read_again() -> None:
    lane, run = holder(), run_in_lane(1)
    lane.refresh(lane.facts, [run], NOW)
    lane.turns.claimed(run, works(run, 1), NOW, ended=True)
    lane.refresh(lane.facts, [dataclasses.replace(run, fed=True)], NOW)
    assert run.exhausted


def test_a_look_says_which_runs_have_work_waiting(tenant: Tenant, vendors: Sandbox) -> None:
    start(tenant, people(1))
    with tenant_scope(tenant):
        lanes = {lane.provider: lane.pk for lane in Lane.objects.all()}
    _, runs = lease.look(list(lanes.values()))
    assert [run.fed for run in runs[lanes["prospeo"]]] == [True]
    assert runs[lanes["zerobounce"]] == []


def test_an_offer_reaches_the_others_alone() -> None:
    heard: dict[str, list[uuid.UUID]] = {"one": [], "other": []}
    lanes = [uuid.uuid4(), uuid.uuid4()]

    async def go() -> int:
        one, other = (relay.Relay(lambda lane_id: None, heard[name].append) for name in ("one", "other"))
        listening = [asyncio.create_task(each.listen()) for each in (one, other)]
        await asyncio.sleep(0.5)
        told = await one.offer(lanes)
        await asyncio.sleep(0.5)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        for each in (one, other):
            await each.close()
        return told

    assert asyncio.run(go()) >= 2, "runners of other tests may listen"
    assert not set(heard["one"]).intersection(lanes)
    assert set(heard["other"]).issuperset(lanes)
