"""A worker that ends in order: its lanes go over one by one, at once, with nothing that looks like a call in flight."""

import threading
import time
from collections.abc import Iterator

import pytest

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR, make_connection, make_tenant
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from workflows.lanes import ring
from workflows.lanes.runner import Runner
from workflows.models import Lane, Workflow
from workflows.operations import control_lane


@pytest.fixture
def two(vendors: Sandbox) -> Iterator[tuple[Runner, Runner]]:
    made = Runner(), Runner()
    yield made
    for runner in made:
        runner.stop()


def lane_of(tenant: Tenant, provider: str = "prospeo") -> Lane:
    windows = [{"rate": 20, "period": 1}]
    with tenant_scope(tenant):
        Workflow.objects.update(config={"finders": [provider], "verifier": None, "accept": ["valid"]})
        lane = Lane.objects.get(provider=provider)
        return control_lane.pin_limits(lane_id=lane.pk, windows=windows, parallelism=3, actor=ACTOR)


def no_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither rings nor sweeps: whoever takes a lane now heard of it from its last holder."""
    monkeypatch.setattr(ring, "ring", lambda lanes: None)
    monkeypatch.setattr("workflows.lanes.loops.SWEEP_EVERY_S", 60.0)


def test_another_worker_hears_of_free_lanes_from_their_last_holder(
    tenant: Tenant, vendors: Sandbox, two: tuple[Runner, Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = lane_of(tenant)
    vendors.fault("prospeo", "slow", seconds=0.1)
    two[0].start()
    run = wait(start(tenant, people(60, last="Nobody")), until=lambda run: run.pending < 50)
    no_rings(monkeypatch)
    two[1].start()
    time.sleep(0.5)  # its first sweep is over, its ear open
    two[0].begin_drain()
    began = time.monotonic()
    while lane.pk not in two[1].lanes and time.monotonic() < began + 5:
        time.sleep(0.01)
    assert time.monotonic() - began < 2
    assert not two[1].lanes[lane.pk].foreign, "what was stamped and not sent was put back before"
    wait(run)
    assert vendors.summary()["prospeo"]["over_limit"] == 0


def test_one_slow_call_holds_up_its_own_lane_alone(
    tenant: Tenant, vendors: Sandbox, two: tuple[Runner, Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_tenant("Second").tenant
    make_connection(other, "findymail", windows=[], parallelism=5)
    slow, quick = lane_of(tenant), lane_of(other, "findymail")
    vendors.fault("prospeo", "slow", seconds=6)
    two[0].start()
    start(tenant, people(1, last="Nobody"))
    run = start(other, people(100, last="Nobody"))
    wait(run, until=lambda run: run.pending < 95)
    no_rings(monkeypatch)
    two[1].start()
    time.sleep(0.5)
    assert slow.pk in two[0].lanes
    two[0].begin_drain()
    ending = threading.Thread(target=two[0].stop)
    ending.start()
    began = time.monotonic()
    while quick.pk not in two[1].lanes and time.monotonic() < began + 6:
        time.sleep(0.01)
    assert time.monotonic() - began < 3, "long before the slow call is answered"
    assert slow.pk in two[0].lanes
    ending.join()
    assert again(run).pending < 95
