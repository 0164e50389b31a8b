"""How many calls may start, to the call: at once, soon, by what the vendor says, and by what the holder before left."""

from typing import Any

import pytest

from integrations.connectors.base import Quota
from tenants.secret import Secret
from tests.workflows.lanes.pieces import NOW, a_holder, call_left, lane_facts, run_in_lane, trip
from workflows.lanes.pace import Pacer, WindowLimit
from workflows.lanes.windows import Counter, StartLog

GUARD = 0.05
DAY = WindowLimit(3, 24_000.0)  # counted in buckets of 100 seconds


def told(pacer: Pacer, remaining: int, *, now: float = 100.0) -> None:
    """The vendor says what is left of its minute, which ends in ten seconds."""
    pacer.told([Quota(remaining=remaining, reset_after=10.0, period=60.0)], 0, now)


def begin(pacer: Pacer, at: float = 100.0, operation: str = "") -> None:
    pacer.started(at, operation)
    pacer.sent(at, operation)


class TestAtOnce:
    def test_of_a_window_in_buckets_what_its_starts_leave(self) -> None:
        counter = Counter(DAY, StartLog())
        assert counter.free(1000.0) == 3
        for at in (1000.0, 1150.0):
            assert counter.buckets is not None
            counter.log.add(at)
            counter.buckets.add(at)
        assert counter.free(1150.0) == 1
        counter.log.unsent = 1
        assert counter.free(1150.0) == 0
        counter.log.unsent = 0
        assert counter.free(1100.0 + 24_000.0 + GUARD) == 2, "the first bucket is over"
        assert counter.free(1200.0 + 24_000.0 + GUARD) == 3

    def test_none_while_what_is_left_of_the_vendors_window_is_spread(self) -> None:
        pacer = Pacer([])
        told(pacer, 100)
        begin(pacer)
        assert pacer.free(100.05, "find", 7) == 0
        assert pacer.free(100.2, "find", 7) == 7

    def test_none_while_nothing_is_left_of_it_and_all_from_its_end_on(self) -> None:
        pacer = Pacer([])
        told(pacer, 0)
        assert pacer.free(109.9, "find", 7) == 0
        assert pacer.free(110.0, "find", 7) == 7
        assert pacer.next_start(110.0) == 110.0

    def test_no_more_than_is_left_of_it(self) -> None:
        pacer = Pacer([])
        told(pacer, 4)
        assert pacer.free(100.0, "find", 7) == 4


class TestSoon:
    def test_an_operations_own_window_bounds_what_is_planned_of_it_alone(self) -> None:
        pacer = Pacer([WindowLimit(2, 100.0, "find")])
        assert pacer.capacity(100.0, 0.25, "find") == 2
        assert pacer.capacity(100.0, 0.25, "verify") == 10_000
        begin(pacer, operation="find")
        assert pacer.capacity(100.0, 0.25, "find") == 1
        assert pacer.capacity(100.0, 0.25, "verify") == 10_000

    def test_what_is_left_of_the_vendors_window_is_spread_until_its_end(self) -> None:
        pacer = Pacer([WindowLimit(1000, 60.0)])
        told(pacer, 100)
        begin(pacer)
        assert pacer.next_start(100.0) == pytest.approx(100.1)

    def test_but_no_slower_than_a_tenth_of_the_lanes_own_pace(self) -> None:
        pacer = Pacer([WindowLimit(1000, 60.0)])
        told(pacer, 2)
        begin(pacer)
        assert pacer.next_start(100.0) == pytest.approx(100.0 + 10 * 0.9 * 60.05 / 1000)


class TestHandOver:
    def heir(self, told: dict[str, Any], *limits: WindowLimit, now: float = 1000.0) -> Pacer:
        pacer = Pacer(limits)
        pacer.restore(told, now, 0.0, quiet_s=0.0)
        return pacer

    @pytest.mark.parametrize(("period", "ago"), [(600.0, [600.0, 60.5]), (1.0, [60.5])])
    def test_starts_are_handed_over_for_as_long_as_a_window_may_count_them(
        self, period: float, ago: list[float]
    ) -> None:
        pacer = Pacer([WindowLimit(3, period)])
        for at in (400.0, 939.5):
            begin(pacer, at)
        assert pacer.history(1000.0, 0.0, last=True)["last"] == {"": ago}

    def test_a_window_of_a_new_length_takes_what_was_written_of_the_longest(self) -> None:
        written = {"600:": [[950.0, 1]], "3600:": [[400.0, 2], [950.0, 1]], "90:": [[950.0, 1]]}
        pacer = self.heir(written, WindowLimit(3, 7200.0))
        assert pacer.next_start(1000.0) == 400.0 + 7200.0 + GUARD

    def test_a_hand_over_that_names_no_starts_is_of_a_lane_without_any(self) -> None:
        assert self.heir({"last": {}}, WindowLimit(3, 10.0)).next_start(1000.0) == 1000.0


class TestLane:
    def test_a_new_key_is_used_from_now_on_and_nothing_else_changes(self) -> None:
        holder = a_holder()
        before = holder.facts
        holder.take_key(Secret("another"), "http://elsewhere", "1" * 16, NOW + 3)
        assert holder.secret is not None
        assert (holder.secret.reveal(), holder.base_url) == ("another", "http://elsewhere")
        assert holder.facts == lane_facts(
            id=before.id, tenant_id=before.tenant_id, connection_id=before.connection_id, key_hash="1" * 16
        )
        assert holder.resumed_at == NOW + 3

    def test_nothing_is_stamped_where_nothing_waits_or_nothing_may_be_sent(self) -> None:
        assert a_holder().stamp_room(NOW) == 0
        assert a_holder(run_in_lane(3)).stamp_room(NOW) == 3
        assert a_holder(run_in_lane(3), paused=True).stamp_room(NOW) == 0
        assert a_holder(run_in_lane(3), cooldown_s=60.0).stamp_room(NOW) == 0
        resting = a_holder(run_in_lane(3))
        trip(resting)
        assert resting.stamp_room(NOW) == 0
        lapsed = a_holder(run_in_lane(3))
        assert lapsed.stamp_room(lapsed.held_until) == 0

    def test_a_lane_without_limits_tells_its_calls_of_the_last_second(self) -> None:
        holder = a_holder(windows=())
        call_left(holder, NOW - 1.5)
        assert holder.report(NOW).started_last_period == 0
        call_left(holder, NOW - 0.5)
        assert holder.report(NOW).started_last_period == 1
