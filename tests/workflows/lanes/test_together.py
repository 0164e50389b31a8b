"""Several steps in one call: when, which, and how they count."""

import random
from typing import Any

import pytest

from integrations.connectors import registry
from tests.workflows.lanes.pieces import NOW, a_holder, a_step, call_left, fly, run_in_lane, trip
from workflows.lanes import doubt
from workflows.lanes.holder import LaneHolder
from workflows.lanes.pace import Pacer, WindowLimit
from workflows.lanes.together import Together
from workflows.lanes.work import Job, RunInLane, Work

LONGEST = registry.get("prospeo").bulk["find"].timeout
WIDE = ({"rate": 10_000, "period": 1.0},)


def lane(run: RunInLane, **changes: Any) -> LaneHolder:
    return a_holder(run, **{"bulk": True, "windows": WIDE, "parallelism": 1, **changes})


def stamp(holder: LaneHolder, run: RunInLane, count: int, **changes: Any) -> list[Work]:
    works = [
        a_step(run.facts, **{"send_by": NOW + 3.0, "span": LONGEST, "fingerprint": f"{n:032x}", **changes})
        for n in range(count)
    ]
    holder.stamped.extend(works)
    return works


def sizes(holder: LaneHolder) -> list[int]:
    """How many steps each call has that may be started now."""
    found = []
    while holder.send_at(NOW) == NOW:
        found.append(len(holder.take_to_send(NOW)))
    return found


class TestWhen:
    @pytest.mark.parametrize(
        ("slots", "due", "calls"),
        [(1, 1, [1]), (1, 2, [2]), (1, 50, [50]), (1, 60, [50]), (4, 4, [1, 1, 1, 1]), (4, 5, [2, 1, 1, 1]),
         (4, 12, [3, 3, 3, 3]), (3, 160, [50, 50, 50])],
    )  # fmt: skip
    def test_only_what_finds_no_call_of_its_own_shares_one(
        self, slots: int, due: int, calls: list[int]
    ) -> None:
        run = run_in_lane()
        holder = lane(run, parallelism=slots)
        stamp(holder, run, due)
        assert sizes(holder) == calls
        assert (len(holder.in_flight), holder.busy) == (sum(calls), len(calls))
        assert len(holder.stamped) == due - sum(calls)

    def test_nobody_shares_unless_the_owner_wants_it(self) -> None:
        run = run_in_lane()
        holder = lane(run, bulk=False)
        stamp(holder, run, 9)
        assert sizes(holder) == [1]

    def test_a_call_for_several_is_one_in_flight_until_it_is_over(self) -> None:
        run = run_in_lane()
        holder = lane(run, parallelism=2)
        fly(holder, 1)
        works = stamp(holder, run, 6)
        assert holder.take_to_send(NOW) == works
        assert (holder.busy, holder.report(NOW).in_flight, holder.wait_reason(NOW)) == (2, 2, "")
        holder.call_over(works)
        assert (holder.busy, len(holder.in_flight), holder.riding) == (1, 1, 0)
        assert holder.settling == {work.id for work in works}

    def test_a_lane_that_probes_asks_one(self) -> None:
        run = run_in_lane()
        holder = lane(run)
        trip(holder)
        holder.held_until = NOW + 100
        stamp(holder, run, 5)
        assert len(holder.take_to_send(holder.breaker.until)) == 1

    def test_as_many_as_the_windows_have_room_for_now(self) -> None:
        run = run_in_lane()
        holder = lane(run, windows=({"rate": 5, "period": 1.0}, {"rate": 300, "period": 60.0}))
        for ago in (0.9, 0.8):
            call_left(holder, NOW - ago)
        stamp(holder, run, 9)
        assert sizes(holder) == [3]

    def test_it_stamps_as_much_as_its_calls_can_take(self) -> None:
        run = run_in_lane(200)
        assert len(lane(run).take_for_stamping(NOW)) == 50
        assert len(lane(run_in_lane(200), bulk=False).take_for_stamping(NOW)) == 2
        slow = lane(run_in_lane(200), windows=({"rate": 5, "period": 1.0},))
        assert len(slow.take_for_stamping(NOW)) == 5
        assert len(lane(run_in_lane(900), parallelism=40).take_for_stamping(NOW)) == 320


class TestWho:
    @pytest.mark.parametrize(
        "change",
        [
            {"attempt": 2},
            {"crashes": 1},
            {"job": Job("poll")},
            {"operation": "verify"},
            {"span": LONGEST - 1},
            {"fingerprint": f"{0:032x}"},
        ],
    )
    def test_whoever_does_not_fit_goes_alone(self, change: dict[str, Any]) -> None:
        run = run_in_lane()
        holder = lane(run)
        fitting = stamp(holder, run, 3)
        (other,) = stamp(holder, run, 1, **{"fingerprint": "f" * 32, **change})
        assert holder.take_to_send(NOW) == fitting
        assert list(holder.stamped) == [other]
        if "fingerprint" not in change:
            stamp(holder, run, 3)
            assert holder.take_to_send(NOW) == [other]

    def test_one_whose_earlier_call_is_in_doubt_goes_alone(self) -> None:
        run = run_in_lane()
        (work,) = stamp(lane(run), run, 1)
        together = Together(registry.get("prospeo"), NOW, quiet_s=None)
        assert together.of(work) is not None
        work.taken = [doubt.entry(work.id, work, 1000)]
        assert together.of(work) is None

    def test_the_stamp_covers_the_longer_call(self) -> None:
        run = run_in_lane()
        assert lane(run).call_seconds(a_step(run.facts)) == LONGEST
        assert lane(run).call_seconds(a_step(run.facts, attempt=2)) == 30.0
        assert lane(run, bulk=False).call_seconds(a_step(run.facts)) == 30.0

    def test_of_a_vendor_without_such_an_endpoint_each_goes_alone(self) -> None:
        run = run_in_lane()
        holder = lane(run, provider="findymail")
        stamp(holder, run, 5)
        assert sizes(holder) == [1]


class TestLimitsOfItsOwn:
    def holder(self, **changes: Any) -> tuple[LaneHolder, RunInLane]:
        run = run_in_lane()
        return lane(run, provider="zerobounce", **changes), run

    def verify(self, holder: LaneHolder, run: RunInLane) -> int:
        """How many steps the next call has."""
        holder.stamped.clear()
        stamp(holder, run, 9, operation="verify", provider="zerobounce")
        works = holder.take_to_send(NOW)
        if len(works) > 1:
            holder.together.started(NOW, "verify")
            holder.together.sent(NOW, "verify")
        holder.call_over(works)
        return len(works)

    def test_what_the_endpoint_does_not_take_now_is_asked_alone(self) -> None:
        holder, run = self.holder()
        assert [self.verify(holder, run) for _ in range(3)] == [9, 1, 1]

    def test_nobody_wrote_down_what_the_holder_before_sent(self) -> None:
        holder, run = self.holder(quiet_s=30.0)
        assert self.verify(holder, run) == 1
        holder, run = self.holder(quiet_s=61.0)
        assert self.verify(holder, run) == 9

    def test_a_refusal_rests_these_calls_alone_where_they_have_limits_of_their_own(self) -> None:
        holder, run = self.holder()
        assert holder.together.rest("verify", NOW + 600)
        assert self.verify(holder, run) == 1
        assert not Together(registry.get("prospeo"), NOW, quiet_s=None).rest("find", NOW + 5)


def test_what_is_free_now_is_what_may_start_now_at_once() -> None:
    """Over random lives: `free` steps may start, one more may not, and no window ever has more than its rate."""
    dice = random.Random(7)
    for _ in range(60):
        windows = [
            WindowLimit(dice.randint(1, 9), dice.choice((0.5, 1.0, 60.0))) for _ in range(dice.randint(1, 3))
        ]
        if dice.random() < 0.3:
            windows.append(WindowLimit(3_000, 5_000.0))
        pacer, now = Pacer(windows), NOW
        left: list[float] = []
        for _ in range(80):
            now += dice.expovariate(4.0)
            most = dice.randint(1, 12)
            count = pacer.free(now, "find", most)
            assert 0 <= count <= most
            assert (count > 0) == (pacer.next_start(now, "find") <= now)
            if not count:
                continue
            count = dice.randint(1, count)
            pacer.started(now, "find", count)
            at = now + dice.choice((0.0, 0.0, 0.03))
            pacer.sent(at, "find", count)
            left += [at] * count
            now = at
            for window in windows:
                assert sum(at - window.period < then for then in left) <= window.rate
