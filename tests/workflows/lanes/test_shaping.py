"""How a lane follows its vendor's word, its people's settings and the turns of its runs."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from integrations.connectors import registry
from integrations.connectors.base import Quota
from integrations.http import VendorClient
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.hands import NOW, give, holder, lane_facts, run_in_lane, send, stamped
from tests.workflows.lanes.helpers import people, start, wait
from tests.workflows.lanes.test_recovery import Hand, expire
from workflows.lanes import flusher, lease, ring, settle, stamp
from workflows.lanes.caller import Caller
from workflows.lanes.driver import LaneDriver
from workflows.lanes.runner import Runner
from workflows.lanes.work import Batch, Flushed
from workflows.models import Lane, LaneState, Workflow
from workflows.operations import control_lane


def test_a_429_halves_the_calls_at_once_too_and_both_come_back_by_steps() -> None:
    lane = holder(windows=(), parallelism=8)
    lane.cool_down(NOW, 2.0)
    assert lane.parallelism == 4
    give(lane, [run_in_lane(1)], 30)
    assert lane.stamp_room(NOW) == 0, "closed for every run"
    seen = []
    for second in range(3, 60):
        lane.recover_pace(NOW + second)
        seen.append(lane.parallelism)
    assert seen[-1] == 8
    assert len(set(seen)) > 3, "step by step"


def test_whoever_resumes_a_lane_ends_its_rest() -> None:
    lane = holder()
    lane.told([Quota(0, 40_000.0, 86_400.0)], lane.pacer.started(NOW, "find"), NOW)
    give(lane, [run_in_lane(1)], 3)
    lane.pacer.sent(NOW, "find")
    assert lane.wait_reason(NOW + 60) == "cooldown"
    for paused in (True, False):
        lane.refresh(lane_facts(paused=paused), lane.turns.runs.values(), NOW + 61)
    stamped(lane, NOW + 62)
    assert lane.send_at(NOW + 62) == NOW + 62


def test_the_rest_that_a_vendor_asked_for_by_its_headers_outlives_the_holder() -> None:
    lane = holder()
    lane.told([Quota(0, 500.0, 86_400.0)], lane.pacer.started(NOW, "find"), NOW)
    assert lane.report(NOW).cooldown_s == 500.0
    assert holder(cooldown_s=500.0).send_at(NOW) is None


def turns(lane: Any, count: int, every: float = 0.1) -> list[uuid.UUID]:
    """Whose steps are sent, in order."""
    now = NOW
    order: list[uuid.UUID] = []
    while len(order) < count:
        stamped(lane, now)
        while lane.send_at(now) == now and len(order) < count:
            work = send(lane, now)
            del lane.in_flight[work.id]
            order.append(work.run.id)
        now += every
    return order


def test_runs_of_a_lane_take_turns() -> None:
    lane, runs = holder(), [run_in_lane(number) for number in range(4)]
    give(lane, runs, 50)
    assert set(Counter(turns(lane, 80)).values()) == {20}


def test_a_small_run_behind_a_large_one_is_next_but_for_what_is_stamped() -> None:
    lane, large, small = holder(), run_in_lane(1), run_in_lane(2)
    give(lane, [large], 400)
    turns(lane, 100)
    waiting = len(lane.stamped)
    give(lane, [small], 3)
    assert small.facts.id in turns(lane, waiting + 2), "within the stamps of a quarter of a second and a turn"


def test_an_urgent_run_goes_first_and_one_that_waits_grows_urgent_with_time() -> None:
    lane, urgent, patient = holder(), run_in_lane(1, priority=7), run_in_lane(2, priority=5)
    give(lane, [urgent, patient], 3_000)
    order = turns(lane, 1_500)
    first = order.index(patient.facts.id)
    assert 1_000 < first < 1_300, "two minutes at ten a second make up for two steps of priority"


def test_a_lane_that_waits_long_needs_no_thread_and_hardly_a_timer() -> None:
    """A hundred lanes that rest for an hour: what they do in a second."""
    looked = Counter[str]()

    class Desk:
        def __init__(self) -> None:
            self.loop, self.dirty = asyncio.get_running_loop(), asyncio.Event()

        def unstamp(self, works: list[Any]) -> None:
            assert works == []

        def spawn(self, coroutine: Any) -> None:
            raise AssertionError("nothing is due")

    async def rest() -> int:
        desk, drivers = Desk(), []
        for number in range(100):
            lane = holder()
            lane.held_until = time.monotonic() + 1e6
            run = run_in_lane(number)
            give(lane, [run], 60, time.monotonic())
            lane.cooldown_until = time.monotonic() + 3_600
            lane.note_wait = lambda now, n=number: looked.update([str(n)])  # type: ignore[method-assign]
            drivers.append(LaneDriver(lane, desk, None, let_go=None, look_again=None))  # type: ignore[arg-type]
            drivers[-1].start()
        await asyncio.sleep(2.5)
        tasks = len(asyncio.all_tasks())
        for driver in drivers:
            driver._end()
        return tasks

    assert asyncio.run(rest()) == 1, "only the test's own"
    assert max(looked.values()) <= 5


# --- on the real engine ---------------------------------------------------------------------------------------------------


def use_prospeo_alone(tenant: Tenant) -> None:
    with tenant_scope(tenant):
        Workflow.objects.filter(slug="email-waterfall").update(
            config={"finders": ["prospeo"], "verifier": None, "accept": ["valid"]}
        )


def test_the_vendors_headers_slow_the_lane_before_it_is_refused(
    tenant: Tenant, committed: None, sandbox: Sandbox, runner: Runner, connect: Callable[..., Any]
) -> None:
    use_prospeo_alone(tenant)
    connect("prospeo", secret="shared", mode="sandbox", windows=[{"rate": 30, "period": 1}], parallelism=5)
    sandbox.set_key("prospeo", "shared", windows=[{"rate": 40, "period": 60}], parallelism=50)

    async def others() -> None:
        """Somebody else uses the same key."""
        async with VendorClient() as client:
            for person in people(22, last="Else"):
                await client.call(
                    registry.get("prospeo"),
                    "find",
                    person,
                    secret=Secret("shared"),
                    base_url=f"{sandbox.url}/prospeo",
                )

    asyncio.run(others())
    start(tenant, people(60, last="Nobody"))
    time.sleep(6)
    ours = sandbox.summary()["prospeo"]
    assert (ours["rate_limited"], ours["over_limit"]) == (0, 0)
    assert 22 + 4 < ours["calls"] <= 40, "it goes on with what is left, and no further"


@pytest.fixture
def slow_lane(tenant: Tenant, vendors: Sandbox) -> Lane:
    use_prospeo_alone(tenant)
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        return control_lane.pin_limits(
            lane_id=lane.pk, windows=[{"rate": 20, "period": 1}], parallelism=5, actor=ACTOR
        )


def test_pause_resume_and_pin_bite_within_two_seconds(
    tenant: Tenant, vendors: Sandbox, slow_lane: Lane, runner: Runner
) -> None:
    run = start(tenant, people(300, last="Nobody"))
    wait(run, until=lambda run: run.pending < 290)

    def started_after(change: Callable[..., Any], **options: Any) -> list[float]:
        with tenant_scope(tenant):
            change(lane_id=slow_lane.pk, actor=ACTOR, **options)
        began = time.monotonic()
        time.sleep(3.5)
        return [call["mono"] - began for call in vendors.calls(provider="prospeo") if call["mono"] > began]

    assert all(at <= 2 for at in started_after(control_lane.pause_lane))
    assert min(started_after(control_lane.resume_lane)) <= 2
    pinned = started_after(control_lane.pin_limits, windows=[{"rate": 1, "period": 1}], parallelism=None)
    assert sum(at > 2 for at in pinned) <= 2


def test_another_runner_takes_over_at_once_and_knows_the_last_starts(
    tenant: Tenant, vendors: Sandbox, slow_lane: Lane
) -> None:
    vendors.set_key("prospeo", "key-prospeo", windows=[{"rate": 20, "period": 1}], parallelism=5)
    first, second = Runner(), Runner()
    first.start()
    run = start(tenant, people(150, last="Nobody"))
    wait(run, until=lambda run: run.pending < 100)
    second.start()
    first.begin_drain()
    ring.hosts_runner(second.tell)
    assert first._thread is not None
    first._thread.join(10)
    try:
        wait(run)
    finally:
        second.stop()
    times = [call["mono"] for call in vendors.calls(provider="prospeo")]
    assert (len(times) - 1) / (times[-1] - times[0]) >= 0.9 * 20
    assert vendors.summary()["prospeo"]["over_limit"] == 0


@pytest.mark.parametrize(("written", "stays"), [(6.0, 1.0), (7.0, 2.0), (8.0, 2.0)])
def test_a_renewal_that_waited_does_not_undo_what_a_flush_wrote_later(
    tenant: Tenant, vendors: Sandbox, written: float, stays: float
) -> None:
    hand = Hand(tenant)
    start(tenant, people(1))
    [work] = hand.claim()
    flushed = '{"60:": [[1.0, 1]], "at:written": 7.0}'
    settle.flush(Batch(stamps=[(work, 30.0, 1000)], starts=[(tenant.pk, hand.lane.pk, flushed)]), hand.holder)
    told = f'{{"60:": [[2.0, 1]], "at:written": {written}}}'
    assert lease.renew(hand.holder, [lease.Report(hand.lane.pk, 9, 0, "", 0.0, 1.0, told)])
    with tenant_scope(tenant):
        state = LaneState.objects.get(lane=hand.lane)
    assert (state.starts["60:"], state.in_flight) == ([[stays, 1]], 9)
    expire(hand.lane)
    taken = lease.acquire(hand.lane.pk, uuid.uuid4())
    assert taken is not None
    with tenant_scope(tenant):
        left = LaneState.objects.get(lane=hand.lane).starts
    assert left == {"60:": [[stays, 1]]}, "the next holder's clock is another"


def test_a_call_ends_before_its_stamps_deadline_however_long_the_flush_took(
    tenant: Tenant, vendors: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = 2.0
    monkeypatch.setattr(stamp, "STAMP_GRACE_S", grace)
    monkeypatch.setattr(flusher, "STAMP_GRACE_S", grace)
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pin_limits(lane_id=lane.pk, windows=[], parallelism=1, actor=ACTOR)
    vendors.fault("prospeo", "slow", seconds=1.0)
    flush, ask = settle.flush, Caller._ask
    deadlines: dict[uuid.UUID, float] = {}
    spare: list[float] = []

    def slow(batch: Batch, holder: uuid.UUID) -> Flushed:
        began = time.monotonic()
        flushed = flush(batch, holder)
        if batch.stamps and not deadlines:
            time.sleep(1.0)
        deadlines.update((work.id, began + seconds + grace) for work, seconds, _ in batch.stamps)
        return flushed

    async def noted(self: Caller, works: Any, secret: Any, sent: Any) -> Any:
        spare.extend(deadlines[work.id] - (time.monotonic() + work.span) for work in works)
        return await ask(self, works, secret, sent)

    monkeypatch.setattr(settle, "flush", slow)
    monkeypatch.setattr(Caller, "_ask", noted)
    wait(start(tenant, people(3, last="Nobody")))
    assert min(spare) > 0


def test_what_an_orderly_holder_left_of_its_last_starts_is_good_for_one_hand_over(
    tenant: Tenant, vendors: Sandbox
) -> None:
    hand = Hand(tenant)
    with tenant_scope(tenant):
        LaneState.objects.filter(lane=hand.lane).update(starts={"last": {"": [0.5]}, "60:": [[1.0, 2]]})
    lease.release([hand.lane.pk], hand.holder)
    taken = lease.acquire(hand.lane.pk, hand.holder)
    assert taken is not None
    assert taken[0].starts == {"last": {"": [0.5]}, "60:": [[1.0, 2]]}
    expire(hand.lane)  # it died before it wrote anything
    taken = lease.acquire(hand.lane.pk, uuid.uuid4())
    assert taken is not None
    assert taken[0].starts == {"60:": [[1.0, 2]]}
