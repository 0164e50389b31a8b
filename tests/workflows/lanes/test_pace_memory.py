"""What a pacer remembers when limits change and holders follow each other, and how far it follows the vendor's count."""

from math import inf
from typing import Any

import pytest

from integrations.connectors.base import Quota
from workflows.lanes.pace import Pacer, WindowLimit

GUARD = 0.05  # of windows of ten seconds and more
DAY = WindowLimit(3, 24_000.0)  # counted in buckets of 100 seconds
MINUTE = WindowLimit(3, 60.0)
OFFSET = 500.0  # how far the clock of what is written is ahead


def sent(*limits: WindowLimit, at: tuple[float, ...], operation: str = "find") -> Pacer:
    pacer = Pacer(limits)
    for moment in at:
        pacer.started(moment, operation)
        pacer.sent(moment, operation)
    return pacer


def heir(told: Any, *limits: WindowLimit, now: float, quiet_s: float | None = 0.0) -> Pacer:
    pacer = Pacer(limits)
    pacer.restore(told, now, OFFSET, quiet_s=quiet_s)
    return pacer


class TestOtherLimits:
    def test_a_window_in_buckets_takes_the_counts_of_the_one_before(self) -> None:
        pacer = sent(DAY, at=(1000.0, 1001.0, 1150.0))
        pacer.relimit([WindowLimit(3, 48_000.0)])
        assert pacer.next_start(1150.0) == 1100.0 + 48_000.0 + GUARD
        pacer.relimit([WindowLimit(1, 24_000.0)])
        assert pacer.next_start(1150.0) == 1200.0 + 24_000.0 + GUARD

    def test_one_that_stays_keeps_its_own_count_and_a_new_one_takes_the_longest(self) -> None:
        longer = WindowLimit(9, 48_000.0)
        for limits in ((DAY, longer), (longer, DAY)):
            pacer = sent(*limits, at=(1000.0, 1250.0))
            pacer.relimit([WindowLimit(2, 24_000.0)])
            assert pacer.next_start(1250.0) == 1100.0 + 24_000.0 + GUARD
            pacer = sent(*limits, at=(1000.0, 1250.0))
            pacer.relimit([WindowLimit(2, 72_000.0)])
            # Buckets of the longer window end at whole 200 seconds.
            assert pacer.next_start(1250.0) == 1200.0 + 72_000.0 + GUARD

    def test_what_another_operation_started_is_not_taken(self) -> None:
        pacer = sent(WindowLimit(3, 24_000.0, "verify"), at=(1000.0,), operation="verify")
        pacer.relimit([WindowLimit(1, 48_000.0, "find")])
        assert pacer.next_start(1000.0, "verify") == 1000.0

    def test_the_pace_stays(self) -> None:
        pacer = Pacer([WindowLimit(10, 1.0)])
        pacer.pace = 0.5
        pacer.relimit([WindowLimit(20, 1.0)])
        assert pacer.pace == 0.5
        pacer.started(100.0)
        pacer.sent(100.0)
        assert 100.08 < pacer.next_start(100.0) < 100.1


class TestHandingOver:
    def test_long_windows_are_written_in_the_databases_time(self) -> None:
        pacer = sent(DAY, WindowLimit(3, 59.0), at=(1000.0, 1001.0))
        assert pacer.history(1010.0, OFFSET) == {DAY.key: [[1500.0 + OFFSET, 2]]}
        pacer.started(1010.0)
        coming = [1010.0 + OFFSET, 3]
        assert pacer.history(1010.0, OFFSET, coming=2) == {DAY.key: [[1500.0 + OFFSET, 2], coming]}

    def test_the_last_starts_are_handed_over_by_how_long_ago_they_were(self) -> None:
        pacer = sent(WindowLimit(3, 10.0), WindowLimit(3, 10.0, "find"), at=(1000.0, 1004.0))
        pacer.started(1009.5, "find")  # and has not left
        told = pacer.history(1010.0, OFFSET, last=True)
        assert told == {"last": {"": [10.0, 6.0, 0.0], "find": [10.0, 6.0, 0.0]}}
        long_ago = sent(WindowLimit(3, 10.0), at=(900.0,)).history(1010.0, OFFSET, last=True)
        assert long_ago["last"][""] == []

    def test_whoever_gets_them_goes_on_where_the_other_was(self) -> None:
        told = {"last": {"": [10.0, 6.0, 5.0], "find": [10.0, 6.0]}}
        both = (WindowLimit(3, 20.0), WindowLimit(2, 20.0, "find"))
        pacer = heir(told, *both, now=110.0, quiet_s=2.0)  # they were ten seconds ago when it stopped
        assert pacer.next_start(110.0, "find") == 98.0 + 20.0 + GUARD
        assert pacer.next_start(110.0, "verify") == 98.0 + 20.0 + GUARD
        # An operation that had no window of its own counts all of them.
        assert (
            heir(told, WindowLimit(3, 20.0, "verify"), now=110.0).next_start(110.0, "verify") == 120.0 + GUARD
        )

    def test_long_windows_that_are_counted_one_by_one_take_what_was_written_of_the_longest(self) -> None:
        hour = WindowLimit(2, 3600.0)
        told = {hour.key: [[1000.0 + OFFSET, 2]], MINUTE.key: [[1000.0 + OFFSET, 1]]}
        for limits in ((MINUTE, hour), (hour, MINUTE)):
            assert heir(told, *limits, now=1100.0).next_start(1100.0) == 1000.0 + 3600.0 + GUARD
        grouped = WindowLimit(2, 3600.0, "find")
        told = {grouped.key: [[1000.0 + OFFSET, 2]], MINUTE.key: [[1000.0 + OFFSET, 1]]}
        pacer = heir(told, MINUTE, grouped, now=1100.0)
        assert pacer.next_start(1100.0, "find") == 1000.0 + 3600.0 + GUARD
        assert pacer.next_start(1100.0, "verify") == 1100.0

    def test_nothing_that_is_written_lies_ahead(self) -> None:
        told = {MINUTE.key: [[9000.0 + OFFSET, 3]]}
        assert heir(told, MINUTE, now=1100.0, quiet_s=5.0).next_start(1100.0) == 1095.0 + 60.0 + GUARD

    def test_where_nobody_was_before_nothing_is_unknown(self) -> None:
        assert heir({}, WindowLimit(3, 10.0), now=100.0, quiet_s=None).next_start(100.0) == 100.0
        killed = heir({}, WindowLimit(3, 10.0), now=100.0, quiet_s=4.0)
        assert killed.next_start(100.0) == pytest.approx(96.0 + 10.0 + GUARD)

    def test_what_is_unknown_stays_so_over_an_orderly_hand_over(self) -> None:
        killed = heir({}, WindowLimit(3, 30.0), now=100.0, quiet_s=0.0)
        told = killed.history(110.0, OFFSET, last=True)
        assert told == {"not:written": [600.0, []], "last": {"": [], "unknown": 10.0, "known": []}}
        assert heir(told, WindowLimit(3, 30.0), now=110.0).next_start(110.0) == 130.0 + GUARD


class TestTheVendorsCount:
    def told(
        self, pacer: Pacer, remaining: int, *, number: int = 0, now: float = 100.0, **more: Any
    ) -> float:
        return pacer.told(
            [Quota(**{"remaining": remaining, "reset_after": 10.0, "period": 60.0, **more})], number, now
        )

    def test_what_is_left_bounds_what_is_planned(self) -> None:
        pacer = Pacer([WindowLimit(1000, 1.0)])
        assert self.told(pacer, 2) == 0.0
        assert pacer.capacity(100.0, 0.25) == 2
        pacer.started(100.0)
        pacer.sent(100.0)
        assert pacer.capacity(100.0, 9.9) == 1
        pacer.started(105.0)
        pacer.sent(105.0)
        assert pacer.capacity(105.0, 1.0) == 0
        assert pacer.next_start(105.0) == 110.0
        assert pacer.capacity(105.0, 6.0) > 2
        assert pacer.next_start(110.0) == 110.0

    def test_answers_count_in_the_order_of_their_starts(self) -> None:
        pacer = Pacer([])
        first, second = pacer.started(100.0), pacer.started(100.0)
        assert (first, second) == (1, 2)
        assert self.told(pacer, 0, number=second) == 10.0
        assert self.told(pacer, 50, number=first) == 0.0
        assert pacer.next_start(100.0) == 110.0
        assert self.told(pacer, 50, number=second) == 0.0  # two windows' worth in one answer, say
        assert pacer.next_start(100.0) < 101.0
        pacer.forget_told()
        assert pacer.next_start(100.0) == 100.0

    def test_starts_since_that_answers_call_are_taken_off(self) -> None:
        pacer = Pacer([])
        number = pacer.started(100.0)
        pacer.started(100.0)
        self.told(pacer, 3, number=number)
        assert pacer.capacity(100.0, 20.0) == 2

    def test_a_reset_that_is_not_told_is_soon_and_none_is_after_the_period(self) -> None:
        assert self.told(Pacer([]), 0, reset_after=None) == 5.0
        assert self.told(Pacer([]), 0, reset_after=900.0) == 60.0
        assert self.told(Pacer([]), 1, reset_after=900.0) == 0.0

    def test_a_count_about_like_ours_is_ours(self) -> None:
        pacer = sent(WindowLimit(100, 60.0), at=(99.0,))
        assert self.told(pacer, 97) == 0.0  # they count three, we one: within two
        assert pacer.next_start(100.0) < 101.0
        self.told(pacer, 96, reset_after=40.0)
        assert pacer.capacity(100.0, 59.0) < 97
        assert pacer.capacity(100.0, 0.0) in (0, 1)
        assert pacer.next_start(99.0) != inf


def test_a_call_that_has_not_left_holds_the_window_open() -> None:
    pacer = Pacer([WindowLimit(1, 10.0)])
    pacer.started(100.0)
    assert pacer.next_start(100.0) == inf
    assert pacer.capacity(100.0, 100.0) == 0
    pacer.sent(103.0)
    assert pacer.next_start(103.0) == 113.0 + GUARD
    assert [pacer.started_since(at) for at in (102.9, 103.0)] == [1, 0]
    assert sent(DAY, at=(1000.0,)).started_since(1099.0) == 1
