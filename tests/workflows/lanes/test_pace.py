"""The pacer against a checker of its own: whatever the limits, delays and orders of reporting, no window is broken."""

from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.lanes.pace import BUCKETS, Pacer, WindowLimit


def worst_count(starts: list[float], period: float) -> int:
    """The most starts in any half-open window of this length, counted naively."""
    ordered = sorted(starts)
    return max(
        (index + 1 - bisect_right(ordered, at - period) for index, at in enumerate(ordered)), default=0
    )


windows = st.lists(
    st.builds(WindowLimit, rate=st.integers(1, 40), period=st.sampled_from([0.2, 1.0, 2.5, 10.0])),
    min_size=1,
    max_size=3,
    unique_by=lambda window: window.period,
)


@settings(max_examples=60, deadline=None)
@given(limits=windows, delays=st.lists(st.floats(0, 0.2), min_size=150, max_size=150))
def test_no_window_is_ever_broken_however_late_the_sends_are(
    limits: list[WindowLimit], delays: list[float]
) -> None:
    pacer, now, starts = Pacer(limits), 100.0, []
    for delay in delays:
        now = pacer.next_start(now)
        pacer.started(now)
        sent = now + delay  # the loop was busy, the socket slow
        pacer.sent(now, sent)
        starts.append(sent)
        now = sent
    for limit in limits:
        assert worst_count(starts, limit.period) <= limit.rate


@settings(max_examples=30, deadline=None)
@given(limits=windows, delays=st.lists(st.floats(0, 0.01), min_size=40, max_size=40), cut=st.integers(1, 39))
def test_a_new_holder_keeps_the_limits_that_the_old_one_used_up(
    limits: list[WindowLimit], delays: list[float], cut: int
) -> None:
    pacer, now, starts = Pacer(limits), 100.0, []
    for index, delay in enumerate(delays):
        if index == cut:  # the old one is gone; the new one knows when it sent at the latest, not how often
            fresh = Pacer(limits)
            for limit in limits:
                fresh.assume(limit, now, limit.rate)
            pacer = fresh
        now = pacer.next_start(now)
        pacer.started(now)
        starts.append(now)
        now += delay
    for limit in limits:
        assert worst_count(starts, limit.period) <= limit.rate


def test_nearly_all_of_an_allowed_rate_is_used() -> None:
    pacer, now, count = Pacer([WindowLimit(20, 1.0)]), 0.0, 0
    while now < 30:
        now = pacer.next_start(now)
        pacer.started(now)
        count += 1
        now += 0.001
    assert count >= 0.97 * 20 * 30


def test_starts_are_spread_and_not_bunched() -> None:
    pacer, now, starts = Pacer([WindowLimit(10, 1.0)]), 0.0, []
    for _ in range(10):
        now = pacer.next_start(now)
        pacer.started(now)
        starts.append(now)
    assert starts[-1] > 0.75, "ten starts of a second are spread over most of it"


def test_a_large_window_is_counted_in_buckets_and_errs_on_the_safe_side() -> None:
    limit = WindowLimit(10_000, 86_400.0)
    pacer, now = Pacer([limit]), 1_000.0
    for _ in range(10_000):
        pacer.started(now)
        now += 0.1
    width = limit.period / BUCKETS
    assert pacer.next_start(now) >= 1_000.0 + limit.period
    assert pacer.next_start(now) <= 1_000.0 + limit.period + limit.guard + 4 * width


def test_only_the_named_operation_counts_in_a_window_of_its_own() -> None:
    pacer = Pacer([WindowLimit(1, 10.0, "find"), WindowLimit(5, 1.0)])
    pacer.started(100.0, "find")
    assert pacer.next_start(100.5, "find") >= 110.0
    assert pacer.next_start(100.5, "verify") < 101.0


def test_half_the_pace_means_half_the_starts() -> None:
    pacer, now, count = Pacer([WindowLimit(20, 1.0)]), 0.0, 0
    pacer.pace = 0.5
    while now < 10:
        now = pacer.next_start(now)
        pacer.started(now)
        count += 1
    assert 90 <= count <= 105


def test_a_lowered_limit_holds_at_once_with_the_starts_that_were() -> None:
    pacer = Pacer([WindowLimit(10, 1.0)])
    for index in range(10):
        pacer.started(100 + index * 0.1)
    pacer.relimit([WindowLimit(2, 1.0)])
    assert pacer.next_start(101.0) >= 101.8


def test_the_history_of_long_windows_survives_a_hand_over() -> None:
    limit = WindowLimit(30, 60.0)
    old = Pacer([limit])
    for index in range(30):
        old.started(1_000.0 + index)
    fresh = Pacer([limit])
    for end, count in old.history()[limit.key]:
        fresh.assume(limit, end, int(count))
    assert fresh.next_start(1_030.0) >= 1_060.0


@pytest.mark.parametrize(("period", "guard"), [(0.1, 0.015), (1.0, 0.02), (60.0, 0.05), (86_400.0, 0.05)])
def test_the_guard_is_small(period: float, guard: float) -> None:
    assert WindowLimit(1, period).guard == pytest.approx(guard)
