"""How starts are counted, to the start: windows that are counted one by one, and those that are counted in buckets."""

from math import inf

import pytest

from workflows.lanes.pace import Pacer
from workflows.lanes.windows import (
    BUCKETS,
    CATCH_UP_S,
    EXACT_LIMIT,
    SPREAD,
    Buckets,
    Counter,
    StartLog,
    WindowLimit,
)

GUARD = 0.05  # of windows of ten seconds and more
LONG = WindowLimit(3, 100.0)  # counted one by one, not spread
DAY = WindowLimit(3, 24_000.0)  # counted in buckets of 100 seconds


def counter(limit: WindowLimit, *sent: float) -> Counter:
    """A window in which calls left at these moments."""
    made = Counter(limit, StartLog())
    for at in sent:
        made.log.add(at)
        if made.buckets is not None:
            made.buckets.add(at)
    return made


class TestLimits:
    def test_they_come_as_json(self) -> None:
        told = {"rate": "5", "period": "2.5", "group": "find"}
        assert WindowLimit.from_json(told) == WindowLimit(5, 2.5, "find")
        assert WindowLimit.from_json({"rate": 5, "period": 1}) == WindowLimit(5, 1.0, "")

    @pytest.mark.parametrize(
        ("limit", "key"), [(WindowLimit(1, 60.0), "60:"), (WindowLimit(9, 0.5, "find"), "0.5:find")]
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
        made = counter(limit)
        assert (made.buckets is None) is exact
        assert exact or (made.buckets is not None and made.buckets.period == limit.period)


class TestLog:
    def test_it_is_in_order_and_what_is_told_late_counts_as_now(self) -> None:
        log = StartLog([1.0, 2.0])
        for at in (2.0, 5.0, 4.0):
            log.add(at)
        assert list(log.times) == [1.0, 2.0, 2.0, 5.0, 5.0]
        assert (log.unsent, log.last) == (0, -inf)

    def test_since_a_moment_means_after_it(self) -> None:
        log = StartLog([1.0, 2.0, 2.0, 3.0])
        assert [log.count_since(at) for at in (0.0, 1.0, 2.0, 2.5, 3.0)] == [4, 3, 1, 1, 0]

    def test_the_oldest_are_forgotten_once_no_window_needs_them(self) -> None:
        log = StartLog(float(number) for number in range(2 * EXACT_LIMIT))
        assert len(log.times) == 2 * EXACT_LIMIT
        log.add(2.0 * EXACT_LIMIT - 1)
        assert len(log.times) == EXACT_LIMIT
        assert log.times[0] == EXACT_LIMIT + 1
        fresh = StartLog()
        for number in range(2 * EXACT_LIMIT):
            fresh.add(float(number))
        assert len(fresh.times) == 2 * EXACT_LIMIT


class TestBuckets:
    def test_a_bucket_counts_as_if_all_came_at_its_end(self) -> None:
        buckets = Buckets(24_000.0)
        for at in (1000.0, 1099.9, 1100.0):
            buckets.add(at)
        buckets.add(1150.0, 2)
        assert list(buckets.entries) == [[1100.0, 2], [1200.0, 3]]
        assert (buckets.total, buckets.width) == (5, 24_000.0 / BUCKETS)
        assert [buckets.count_since(at) for at in (1099.0, 1100.0, 1200.0)] == [5, 3, 0]

    def test_what_is_told_late_counts_with_the_latest(self) -> None:
        buckets = Buckets(100.0, number=10)
        buckets.put(50.0, 1)
        buckets.put(50.0, 2)
        buckets.put(40.0, 4)
        buckets.put(50.1, 8)
        assert list(buckets.entries) == [[50.0, 7], [50.1, 8]]
        assert buckets.total == 15

    def test_what_is_over_is_forgotten(self) -> None:
        buckets = Buckets(100.0, number=10)
        for end in (10.0, 20.0, 30.0):
            buckets.put(end, 2)
        buckets.expire(9.9)
        assert buckets.total == 6
        buckets.expire(20.0)
        assert (list(buckets.entries), buckets.total) == ([[30.0, 2]], 2)
        buckets.expire(1000.0)
        assert (list(buckets.entries), buckets.total) == ([], 0)

    def test_adding_forgets_what_the_window_needs_no_more(self) -> None:
        buckets = Buckets(100.0, number=10)
        buckets.add(5.0)
        buckets.add(129.9)
        assert len(buckets.entries) == 2
        buckets.add(130.0)
        assert list(buckets.entries) == [[130.0, 1], [140.0, 1]]


class TestOneByOne:
    def test_a_start_counts_for_the_whole_window_and_the_guard(self) -> None:
        assert counter(LONG, 1000.0, 1010.0).earliest(1020.0) == -inf
        assert counter(LONG, 1000.0, 1010.0, 1020.0).earliest(1020.0) == 1100.0 + GUARD
        assert counter(LONG, 1000.0, 1010.0, 1020.0, 1100.1).earliest(1100.1) == 1110.0 + GUARD

    def test_what_has_not_left_yet_takes_room(self) -> None:
        window = counter(LONG, 1000.0)
        window.log.unsent = 1
        assert window.earliest(1000.0) == -inf
        window.log.unsent = 2
        assert window.earliest(1000.0) == 1100.0 + GUARD
        window.log.unsent = 3
        assert window.earliest(1000.0) == inf

    def test_nothing_starts_before_what_is_known(self) -> None:
        window = counter(LONG)
        window.floor = 500.0
        assert window.earliest(100.0) == 500.0

    def test_the_starts_of_the_last_period(self) -> None:
        window = counter(LONG, 1000.0, 1010.0)
        window.log.unsent = 4
        assert [window.used(now) for now in (1050.0, 1100.0, 1110.0)] == [6, 5, 4]


class TestInBuckets:
    def test_the_end_of_the_bucket_that_frees_a_place_decides(self) -> None:
        assert counter(DAY, 1000.0, 1099.0).earliest(1099.0) == -inf
        assert counter(DAY, 1000.0, 1099.0, 1150.0).earliest(1150.0) == 1100.0 + 24_000.0 + GUARD
        full = counter(DAY, 1000.0, 1150.0, 1250.0, 1350.0)
        assert full.earliest(1350.0) == 1200.0 + 24_000.0 + GUARD

    def test_what_has_not_left_yet_takes_room(self) -> None:
        window = counter(DAY, 1000.0)
        window.log.unsent = 2
        assert window.earliest(1000.0) == 1100.0 + 24_000.0 + GUARD
        window.log.unsent = 3
        assert window.earliest(1000.0) == inf

    def test_what_is_over_counts_no_more(self) -> None:
        window = counter(DAY, 1000.0, 1010.0, 1020.0)
        assert window.earliest(1100.0 + 24_000.0 + 0.04) > 25_000.0
        assert window.earliest(1100.0 + 24_000.0 + GUARD) == -inf

    def test_the_starts_of_the_last_period(self) -> None:
        window = counter(DAY, 1000.0, 1150.0)
        window.log.unsent = 4
        assert [window.used(now) for now in (1200.0, 25_100.0, 25_200.0)] == [6, 5, 4]

    def test_nothing_starts_before_what_is_known(self) -> None:
        window = counter(DAY)
        window.floor = 500.0
        assert window.earliest(100.0) == 500.0


class TestSpreading:
    @pytest.mark.parametrize(("period", "guard"), [(1.0, 0.02), (60.0, 0.05)])
    def test_each_start_keeps_nine_tenths_of_the_even_distance(self, period: float, guard: float) -> None:
        window = counter(WindowLimit(10, period))
        assert window.gap == pytest.approx(SPREAD * (period + guard) / 10)
        window.start(100.0)
        assert window.earliest(100.0) == pytest.approx(100.0 - CATCH_UP_S + window.gap)
        window.start(window.due + 0.004)
        assert window.due == pytest.approx(100.0 - CATCH_UP_S + 2 * window.gap), (
            "a late timer puts off nothing"
        )

    def test_long_windows_are_not_spread(self) -> None:
        assert counter(WindowLimit(10, 60.1)).gap == 0.0

    def test_a_slower_pace_allows_less_and_spreads_further(self) -> None:
        window = counter(WindowLimit(10, 1.0))
        window.scale(0.29)
        assert window.allowed == 2
        assert window.gap == pytest.approx(SPREAD * 1.02 / 2.9)
        window.scale(0.01)
        assert window.allowed == 1


class TestRoom:
    def test_as_many_as_are_spread_over_the_time(self) -> None:
        window = counter(WindowLimit(10, 1.0))
        assert window.room(100.0, 100.0) == 1
        assert window.room(100.0, 100.0 + 3.5 * window.gap) == 4

    def test_as_many_as_the_window_has_left(self) -> None:
        window = counter(LONG, 1000.0)
        assert window.room(1010.0, 1011.0) == 2
        window.log.unsent = 1
        assert window.room(1010.0, 1011.0) == 1
        window.log.unsent = 3
        assert window.room(1010.0, 1011.0) == 1
        assert counter(DAY, 1000.0).room(1010.0, 1011.0) == 2

    def test_what_is_over_by_the_end_leaves_its_place(self) -> None:
        window = counter(WindowLimit(3, 100.0), 1000.0, 1001.0)
        assert window.room(1050.0, 1100.0 + GUARD) == 2
        assert window.room(1050.0, 1100.0) == 1

    def test_over_a_whole_window_the_spread_alone_counts(self) -> None:
        window = counter(WindowLimit(2, 1.0), 100.0, 100.0)
        assert window.room(100.0, 101.01) == 1
        assert window.room(100.0, 102.0) == 1 + int(2.0 / window.gap)
        assert counter(LONG, 1000.0).room(1000.0, 2000.0) == 10 * EXACT_LIMIT


class TestGroups:
    FIND, ALL = WindowLimit(1, 100.0, "find"), WindowLimit(2, 200.0)

    def go(self, pacer: Pacer, at: float, operation: str) -> None:
        pacer.started(at, operation)
        pacer.sent(at, operation)

    def test_an_operation_counts_in_its_own_windows_and_in_those_of_all(self) -> None:
        pacer = Pacer([self.FIND, self.ALL])
        self.go(pacer, 1000.0, "find")
        assert pacer.next_start(1000.0, "find") == 1100.0 + GUARD
        assert pacer.next_start(1000.0, "verify") == 1000.0
        self.go(pacer, 1001.0, "verify")
        assert pacer.next_start(1001.0, "verify") == 1200.0 + GUARD
        assert pacer.next_start(1001.0, "find") == 1200.0 + GUARD
        assert (pacer.grouped, Pacer([self.ALL]).grouped) == (True, False)

    @pytest.mark.parametrize(("old", "new"), [("", ""), ("", "find"), ("find", "find")])
    def test_new_limits_count_what_may_have_been_theirs(self, old: str, new: str) -> None:
        pacer = Pacer([WindowLimit(9, 50.0, old)])
        self.go(pacer, 1000.0, "find")
        pacer.relimit([WindowLimit(1, 100.0, new)])
        assert pacer.next_start(1000.0, "find") == 1100.0 + GUARD
