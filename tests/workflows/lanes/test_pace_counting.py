"""How the pacer counts, to the start: windows that are counted one by one, and those that are counted in buckets."""

from typing import Any

import pytest

from workflows.lanes.pace import BUCKETS, EXACT_LIMIT, SPREAD, Pacer, WindowLimit

GUARD = 0.05  # of windows of ten seconds and more
LONG = WindowLimit(3, 100.0)  # not spread, counted one by one
DAY = WindowLimit(3, 24_000.0)  # counted in buckets of 100 seconds


def started(*limits: WindowLimit, at: tuple[float, ...], operation: str = "") -> Pacer:
    pacer = Pacer(limits)
    for moment in at:
        pacer.started(moment, operation)
    return pacer


class TestLimits:
    def test_they_come_as_json(self) -> None:
        told = {"rate": "5", "period": "2.5", "group": "find"}
        assert WindowLimit.from_json(told) == WindowLimit(5, 2.5, "find")
        assert WindowLimit.from_json({"rate": 5, "period": 1}) == WindowLimit(5, 1.0, "")

    @pytest.mark.parametrize(
        ("limit", "key"),
        [(WindowLimit(1, 60.0), "60:"), (WindowLimit(9, 0.5, "find"), "0.5:find")],
    )
    def test_their_key_is_the_period_and_the_group(self, limit: WindowLimit, key: str) -> None:
        assert limit.key == key

    @pytest.mark.parametrize(
        ("limit", "exact"),
        [
            (WindowLimit(EXACT_LIMIT, 3600.0), True),
            (WindowLimit(EXACT_LIMIT + 1, 1.0), False),
            (WindowLimit(1, 3601.0), False),
        ],
    )
    def test_small_and_short_ones_are_counted_one_by_one(self, limit: WindowLimit, exact: bool) -> None:
        pacer = started(limit, at=(1000.0, 1000.0))
        ((end, count),) = pacer.history().get(limit.key) or [[0.0, 2]]
        assert pacer.limits == [limit]
        assert count == 2
        assert type(pacer._counters[0]).__name__ == ("_Exact" if exact else "_Bucketed")
        assert end != 1000.0


class TestOneByOne:
    def test_a_start_counts_for_the_whole_window_and_the_guard(self) -> None:
        pacer = started(LONG, at=(1000.0, 1010.0))
        assert pacer.next_start(1020.0) == 1020.0
        pacer.started(1020.0)
        assert pacer.next_start(1020.0) == 1000.0 + 100.0 + GUARD
        assert pacer.next_start(1100.0) == 1100.0 + GUARD
        assert pacer.next_start(1100.06) == 1100.06
        pacer.started(1100.06)
        assert pacer.next_start(1100.06) == 1010.0 + 100.0 + GUARD

    def test_starts_may_be_told_in_any_order(self) -> None:
        assert started(LONG, at=(1020.0, 1000.0, 1010.0)).next_start(1020.0) == 1100.0 + GUARD

    def test_a_late_send_counts_when_it_was_sent(self) -> None:
        pacer = started(LONG, at=(1000.0, 1010.0, 1020.0))
        pacer.sent(1000.0, 1005.0)
        assert pacer.next_start(1020.0) == 1105.0 + GUARD
        pacer.sent(1005.0, 1030.0)
        assert pacer.next_start(1030.0) == 1110.0 + GUARD

    @pytest.mark.parametrize(("was", "at"), [(1000.0, 1000.0), (1000.0, 999.0), (1001.0, 1050.0)])
    def test_a_send_that_was_not_late_or_is_not_known_changes_nothing(self, was: float, at: float) -> None:
        pacer = started(LONG, at=(1000.0, 1010.0, 1020.0))
        pacer.sent(was, at)
        assert pacer.next_start(1020.0) == 1100.0 + GUARD

    def test_the_oldest_are_forgotten_once_no_window_needs_them(self) -> None:
        limit = WindowLimit(EXACT_LIMIT, 100.0)
        pacer = Pacer([limit])
        for number in range(2 * EXACT_LIMIT):
            pacer.started(float(number))
        assert pacer.started_since(-1.0) == 2 * EXACT_LIMIT
        pacer.started(float(2 * EXACT_LIMIT))
        assert pacer.started_since(-1.0) == EXACT_LIMIT + 1
        assert pacer.next_start(0.0) == EXACT_LIMIT + 1 + 100.0 + GUARD

    def test_since_a_moment_means_after_it(self) -> None:
        pacer = started(LONG, WindowLimit(5, 200.0), at=(1000.0, 1001.0, 1002.0))
        assert [pacer.started_since(moment) for moment in (999.0, 1000.0, 1001.5, 1002.0)] == [3, 2, 1, 0]
        assert Pacer([]).started_since(0.0) == 0


class TestInBuckets:
    def test_a_bucket_counts_as_if_all_came_at_its_end(self) -> None:
        pacer = started(DAY, at=(1000.0, 1099.0))
        assert pacer.next_start(1099.0) == 1099.0
        pacer.started(1199.0)
        assert pacer.next_start(1199.0) == 1100.0 + 24_000.0 + GUARD
        assert pacer.history() == {DAY.key: [[1100.0, 2], [1200.0, 1]]}

    def test_the_newest_that_fill_the_window_decide(self) -> None:
        pacer = started(DAY, at=(1000.0, 1100.0, 1200.0, 1300.0))
        assert pacer.next_start(1300.0) == 1200.0 + 24_000.0 + GUARD

    def test_a_start_in_an_earlier_bucket_is_counted_there(self) -> None:
        pacer = started(DAY, at=(1000.0, 1150.0, 1010.0))
        assert pacer.history() == {DAY.key: [[1100.0, 2], [1200.0, 1]]}

    def test_a_send_in_the_same_bucket_is_counted_once_and_in_a_later_one_in_both(self) -> None:
        pacer = started(DAY, at=(1000.0,))
        pacer.sent(1000.0, 1099.9)
        assert pacer.history() == {DAY.key: [[1100.0, 1]]}
        pacer.sent(1000.0, 1100.0)
        assert pacer.history() == {DAY.key: [[1100.0, 1], [1200.0, 1]]}

    def test_no_more_buckets_are_kept_than_the_window_has(self) -> None:
        pacer = started(DAY, at=tuple(100.0 * number for number in range(BUCKETS + 10)))
        buckets = pacer.history()[DAY.key]
        assert len(buckets) == BUCKETS + 2
        assert buckets[-1] == [100.0 * (BUCKETS + 10), 1]

    def test_since_a_moment_counts_the_buckets_that_end_after_it(self) -> None:
        pacer = started(DAY, at=(1000.0, 1010.0, 1150.0))
        assert [pacer.started_since(moment) for moment in (1000.0, 1100.0, 1199.0, 1200.0)] == [3, 1, 1, 0]


class TestSpreading:
    def test_each_start_keeps_nine_tenths_of_the_even_distance(self) -> None:
        for period in (1.0, 60.0):
            limit = WindowLimit(10, period)
            gap = SPREAD * (period + limit.guard) / 10
            assert started(limit, at=(100.0,)).next_start(100.0) == pytest.approx(100.0 + gap)
        assert started(WindowLimit(10, 61.0), at=(100.0,)).next_start(100.0) == 100.0
        assert Pacer([WindowLimit(10, 1.0)]).next_start(100.0) == 100.0

    def test_a_slower_pace_spreads_further_and_fills_the_window_sooner(self) -> None:
        pacer = started(WindowLimit(10, 1.0), at=(100.0,))
        pacer.pace = 0.5
        assert pacer.next_start(100.0) == pytest.approx(100.0 + SPREAD * 1.02 / 5)
        slow = started(WindowLimit(10, 100.0), at=(1000.0, 1001.0))
        slow.pace = 0.29
        assert slow.next_start(1001.0) == 1100.0 + GUARD  # 2.9 starts are two
        slow.pace = 0.01
        assert slow.next_start(1001.0) == 1101.0 + GUARD  # one at least

    def test_the_last_start_is_the_latest(self) -> None:
        limit = WindowLimit(10, 1.0)
        pacer = started(limit, at=(100.5, 100.0))
        assert pacer.next_start(100.0) == pytest.approx(100.5 + SPREAD * 1.02 / 10)

    def test_the_narrowest_window_decides(self) -> None:
        both = (WindowLimit(1, 10.0), WindowLimit(100, 1.0))
        for limits in (both, both[::-1]):
            assert started(*limits, at=(100.0,)).next_start(100.0) == pytest.approx(110.05)


class TestGroups:
    FIND, ALL = WindowLimit(1, 100.0, "find"), WindowLimit(2, 200.0)

    def test_an_operation_counts_in_its_own_windows_and_in_those_of_all(self) -> None:
        pacer = started(self.FIND, self.ALL, at=(1000.0,), operation="find")
        assert pacer.next_start(1000.0, "find") == 1100.0 + GUARD
        assert pacer.next_start(1000.0, "verify") == 1000.0
        assert pacer.next_start(1000.0) == 1000.0
        pacer.started(1001.0, "verify")
        assert pacer.next_start(1001.0, "verify") == 1200.0 + GUARD
        assert pacer.next_start(1001.0, "find") == 1200.0 + GUARD

    def test_a_late_send_moves_in_those_windows_alone(self) -> None:
        pacer = started(self.FIND, self.ALL, at=(1000.0,), operation="find")
        pacer.sent(1000.0, 1050.0, "verify")
        assert pacer.next_start(1050.0, "find") == 1100.0 + GUARD
        assert pacer.started_since(1000.0) == 0
        pacer.sent(1000.0, 1050.0, "find")
        assert pacer.next_start(1050.0, "find") == 1150.0 + GUARD

    def test_short_windows_of_an_operation_are_spread_by_its_own_starts(self) -> None:
        pacer = started(WindowLimit(10, 1.0, "find"), at=(100.0,), operation="verify")
        assert pacer.next_start(100.0, "find") == 100.0
        pacer.started(100.0, "find")
        assert pacer.next_start(100.0, "find") > 100.09


class TestTakingOver:
    def test_what_an_earlier_holder_started_counts_in_that_window_alone(self) -> None:
        other = WindowLimit(3, 200.0)
        pacer = Pacer([LONG, other])
        pacer.assume(LONG, 1000.0, 3)
        assert pacer.next_start(1000.0) == 1100.0 + GUARD
        assert pacer.history() == {LONG.key: [[pytest.approx(1000.0, abs=0.5), 3]], other.key: []}
        pacer.assume(WindowLimit(3, 7.0), 1000.0, 3)
        assert pacer.next_start(1100.1) == 1100.1

    def test_the_history_of_long_windows_is_told_in_buckets_of_the_window(self) -> None:
        minute, short = WindowLimit(9, 60.0), WindowLimit(9, 59.0)
        pacer = started(minute, short, at=(100.0, 100.1, 100.25, 103.0))
        assert pacer.history() == {minute.key: [[100.25, 2], [100.5, 1], [103.25, 1]]}

    def test_no_more_of_it_is_told_than_the_window_has(self) -> None:
        hour = WindowLimit(EXACT_LIMIT, 3600.0)
        pacer = started(hour, at=tuple(15.0 * number for number in range(BUCKETS + 10)))
        told = pacer.history()[hour.key]
        assert len(told) == BUCKETS + 2
        assert told[-1] == [15.0 * (BUCKETS + 10), 1]


class TestPlanning:
    def test_about_as_many_as_the_rate_brings_within_the_horizon(self) -> None:
        pacer = Pacer([WindowLimit(20, 1.0), WindowLimit(600, 60.0)])
        assert pacer.capacity(100.0, 0.5) == 1 + 5  # 600 a minute are ten a second
        assert pacer.capacity(100.0, 0.0) == 1
        pacer.pace = 0.5
        assert pacer.capacity(100.0, 1.0) == 1 + 5

    def test_none_where_the_first_comes_later(self) -> None:
        pacer = started(WindowLimit(1, 10.0), at=(100.0,))
        assert pacer.capacity(100.0, 10.04) == 0
        assert pacer.capacity(100.0, 10.05) == 2

    def test_other_operations_do_not_count(self) -> None:
        pacer = Pacer([WindowLimit(4, 1.0, "find"), WindowLimit(8, 1.0)])
        assert pacer.capacity(100.0, 1.0, "find") == 5
        assert pacer.capacity(100.0, 1.0, "verify") == 9
        assert Pacer([]).capacity(100.0, 1.0) == 10_000
        assert Pacer([]).capacity(100.0, 1.0, most=7) == 7


class TestOtherLimits:
    def test_a_window_that_stays_keeps_its_count(self) -> None:
        for limit in (LONG, DAY):
            pacer = started(limit, at=(1000.0, 1001.0))
            pacer.relimit([WindowLimit(2, limit.period)])
            assert [found.rate for found in pacer.limits] == [2]
            assert pacer.next_start(1001.0) >= 1000.0 + limit.period

    def test_a_new_window_counts_what_the_longest_old_one_saw(self) -> None:
        short, longer = WindowLimit(9, 10.0), WindowLimit(9, 50.0)
        for limits in ((short, longer), (longer, short)):
            pacer = Pacer(limits)
            pacer.assume(longer, 1000.0, 3)  # the short one knows of none
            pacer.relimit([WindowLimit(3, 100.0)])
            assert pacer.next_start(1002.0) == 1100.0 + GUARD

    def test_it_takes_the_counts_of_buckets_as_they_are(self) -> None:
        pacer = started(DAY, at=(1000.0, 1001.0, 1150.0))
        pacer.relimit([WindowLimit(3, 48_000.0)])
        assert pacer.next_start(1150.0) == 1200.0 + 48_000.0 + GUARD

    @pytest.mark.parametrize(
        ("old", "new", "kept"),
        [
            ("", "", True),
            ("", "find", True),
            ("find", "find", True),
            ("verify", "find", False),
            ("find", "", False),
        ],
    )
    def test_it_counts_no_other_operations_starts(self, old: str, new: str, kept: bool) -> None:
        pacer = started(WindowLimit(9, 50.0, old), at=(1000.0,), operation=old)
        pacer.relimit([WindowLimit(1, 100.0, new)])
        assert (pacer.next_start(1000.0, new) > 1000.0) is kept

    def test_no_limits_are_no_limits(self) -> None:
        pacer = started(LONG, at=(1000.0, 1000.0, 1000.0))
        pacer.relimit([])
        assert (pacer.limits, pacer.next_start(1000.0)) == ([], 1000.0)
        fresh: Any = Pacer([])
        fresh.relimit([LONG])
        assert fresh.next_start(1000.0) == 1000.0
