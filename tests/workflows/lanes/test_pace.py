"""The pacer against a checker of its own: whatever the limits, delays, holders and changes, no window is broken."""

import random
import time
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from integrations.connectors.base import Quota
from tests.workflows.lanes.pace_model import Life, broken
from workflows.lanes.pace import Pacer, WindowLimit
from workflows.lanes.windows import BUCKETS

windows = st.lists(
    st.builds(
        WindowLimit,
        rate=st.integers(1, 12),
        period=st.sampled_from([0.2, 1.0, 2.5, 10.0, 60.0]),
        group=st.sampled_from(["", "", "find"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda window: window.key,
)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("go"), st.floats(0.05, 8.0)),
        st.tuples(st.just("orderly"), st.floats(0.0, 2.0)),
        st.tuples(st.just("killed"), st.floats(0.0, 3.0)),
        st.tuples(st.just("limits"), windows),
        st.tuples(st.just("pace"), st.sampled_from([0.1, 0.5, 1.0])),
    ),
    min_size=1,
    max_size=12,
)


def live(limits: list[WindowLimit], steps: list[tuple[str, object]], seed: int) -> Life:
    dice = random.Random(seed)
    life = Life(limits, dice, operations=("find", "verify"), slow=dice.choice([0.0, 0.05, 3.0]))
    for what, value in steps:
        if what == "go":
            life.go(float(value))  # type: ignore[arg-type]
        elif what in ("orderly", "killed"):
            life.hand_over(orderly=what == "orderly", gap=float(value))  # type: ignore[arg-type]
        elif what == "limits":
            life.relimit(list(value))  # type: ignore[call-overload]
        else:
            life.pacer.pace = float(value)  # type: ignore[arg-type]
    life.go(5.0)
    return life


@settings(max_examples=200, deadline=None)
@given(limits=windows, steps=moves, seed=st.integers(0, 2**32))
@example(  # what the first one killed had started is not known to the second one's successor either
    limits=[WindowLimit(1, 0.2)],
    steps=[
        ("go", 1.0),
        ("limits", [WindowLimit(1, 60.0, "find")]),
        ("killed", 0.0),
        ("killed", 0.0),
        ("limits", [WindowLimit(2, 60.0, "find")]),
    ],
    seed=0,
)
def test_no_window_is_ever_broken(
    limits: list[WindowLimit], steps: list[tuple[str, object]], seed: int
) -> None:
    assert broken(live(limits, steps, seed).calls) == []


@pytest.mark.campaign
@settings(max_examples=5_000, deadline=None)
@given(limits=windows, steps=moves, seed=st.integers(0, 2**32))
def test_no_window_is_ever_broken_in_five_thousand_lives(
    limits: list[WindowLimit], steps: list[tuple[str, object]], seed: int
) -> None:
    assert broken(live(limits, steps, seed).calls) == []


def test_the_checker_sees_a_window_that_is_broken() -> None:
    life = Life([WindowLimit(5, 1.0)], random.Random(1))
    life.pacer = Pacer([WindowLimit(6, 1.0)])
    life.go(5)
    assert broken(life.calls)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.integers(1, 120),
    period=st.sampled_from([1.0, 2.5, 10.0, 60.0]),
    longer=st.sampled_from([None, 10.0, 60.0]),
    seed=st.integers(0, 2**32),
)
def test_nearly_all_of_an_allowed_rate_is_used(
    rate: int, period: float, longer: float | None, seed: int
) -> None:
    limits = [WindowLimit(rate, period)]
    if longer is not None and longer > period:
        limits.append(WindowLimit(round(rate * longer / period), longer))
    life = Life(limits, random.Random(seed), slow=0.0, late=0.002)
    periods = 30
    life.go(periods * period)
    assert len(life.calls) >= 0.97 * rate * periods - 0.2 * rate, "the last window may have just begun"
    assert broken(life.calls) == []


@pytest.mark.parametrize("rate", [2, 20, 60])
def test_an_orderly_hand_over_costs_next_to_nothing(rate: int) -> None:
    life = Life(
        [WindowLimit(rate, 1.0), WindowLimit(60 * rate, 60.0)], random.Random(rate), slow=0.0, late=0.002
    )
    for _ in range(3):
        life.go(20)
        life.hand_over(orderly=True, gap=0.03)
    life.go(20)
    assert len(life.calls) >= 0.97 * rate * 80
    assert broken(life.calls) == []


def test_after_a_kill_a_short_window_counts_as_full_and_a_long_one_as_it_was_written() -> None:
    life = Life([WindowLimit(5, 1.0), WindowLimit(300, 60.0)], random.Random(3), slow=0.0, late=0.0)
    life.go(10)
    life.hand_over(orderly=False, gap=0.0)
    assert life.pacer.next_start(life.mine) == pytest.approx(life.mine + 1.02)
    before = len(life.calls)
    life.go(10)
    assert 40 <= len(life.calls) - before <= 50, "the minute is not taken as full"


def test_starts_are_spread_and_not_bunched() -> None:
    life = Life([WindowLimit(10, 1.0)], random.Random(0), slow=0.0, late=0.0)
    life.go(0.9)
    assert len(life.calls) == 10
    assert life.calls[-1].left - life.calls[0].left > 0.75, (
        "ten starts of a second are spread over most of it"
    )


def test_a_call_that_has_not_left_yet_counts_whenever_it_leaves() -> None:
    pacer = Pacer([WindowLimit(1, 1.0)])
    pacer.started(100.0, "find")
    assert pacer.next_start(105.0, "find") == inf, "it may leave at any moment"
    pacer.sent(107.0, "find")
    assert pacer.next_start(107.0, "find") == pytest.approx(108.02)


def test_a_large_window_is_counted_in_buckets_and_errs_on_the_safe_side() -> None:
    limit = WindowLimit(10_000, 86_400.0)
    pacer, now = Pacer([limit]), 1_000.0
    for _ in range(10_000):
        pacer.started(now)
        pacer.sent(now)
        now += 0.1
    width = limit.period / BUCKETS
    assert pacer.next_start(now) >= 1_000.0 + limit.period
    assert pacer.next_start(now) <= 1_000.0 + limit.period + limit.guard + 4 * width


@pytest.mark.parametrize(
    "limits", [[WindowLimit(3_000, 1.0)], [WindowLimit(2_000, 1.0), WindowLimit(10**6, 86_400.0)]]
)
def test_a_start_costs_microseconds_at_thousands_a_second(limits: list[WindowLimit]) -> None:
    pacer, now, starts = Pacer(limits), 0.0, 20_000
    began = time.process_time()
    for _ in range(starts):
        now = max(now + 1e-5, pacer.next_start(now, "find"))
        pacer.capacity(now, 0.25, "find")
        pacer.started(now, "find")
        pacer.sent(now, "find")
    assert (time.process_time() - began) / starts < 100e-6
    assert 0.97 * limits[0].rate * now <= starts <= limits[0].rate * (now + 1)


def test_only_the_named_operation_counts_in_a_window_of_its_own() -> None:
    pacer = Pacer([WindowLimit(1, 10.0, "find"), WindowLimit(5, 1.0)])
    pacer.started(100.0, "find")
    pacer.sent(100.0, "find")
    assert pacer.next_start(100.5, "find") >= 110.0
    assert pacer.next_start(100.5, "verify") < 101.0


def test_half_the_pace_means_half_the_starts() -> None:
    life = Life([WindowLimit(20, 1.0)], random.Random(0), slow=0.0, late=0.0)
    life.pacer.pace = 0.5
    life.go(10)
    assert 90 <= len(life.calls) <= 105


def test_a_lowered_limit_holds_at_once_with_the_starts_that_were() -> None:
    pacer = Pacer([WindowLimit(10, 1.0)])
    for index in range(10):
        pacer.started(100 + index * 0.1)
        pacer.sent(100 + index * 0.1)
    pacer.relimit([WindowLimit(2, 1.0)])
    assert pacer.next_start(101.0) >= 101.8


def test_a_new_longer_window_counts_what_was_started_before_it() -> None:
    pacer = Pacer([WindowLimit(10, 1.0)])
    for second in range(6):
        for _ in range(5):
            pacer.started(100.0 + second)
            pacer.sent(100.0 + second)
    pacer.relimit([WindowLimit(10, 1.0), WindowLimit(30, 60.0)])
    assert pacer.next_start(106.0) >= 160.0


@pytest.mark.parametrize(("period", "guard"), [(0.1, 0.015), (1.0, 0.02), (60.0, 0.05), (86_400.0, 0.05)])
def test_the_guard_is_small(period: float, guard: float) -> None:
    assert WindowLimit(1, period).guard == pytest.approx(guard)


# --- what the vendor says is left -----------------------------------------------------------------------------------------


def asked(pacer: Pacer, at: float, count: int = 1) -> int:
    number = 0
    for _ in range(count):
        number = pacer.started(at, "find")
        pacer.sent(at, "find")
    return number


def test_where_others_use_the_key_too_what_is_left_is_spread_until_it_is_new() -> None:
    pacer = Pacer([WindowLimit(5, 1.0), WindowLimit(300, 60.0)])
    number = asked(pacer, 100.0)
    pacer.told([Quota(10, 20.0, 60.0)], number, 100.2)  # we have asked once, the vendor counts 290
    now, starts = 100.2, []
    while now < 120.0:
        now = pacer.next_start(now, "find")
        asked(pacer, now)
        starts.append(now)
    assert sum(at < 120.2 for at in starts) == 10, "not one call that the vendor would refuse"
    assert starts[1] - starts[0] > 1.0, "and not all of them at once"


def test_a_window_that_is_used_up_rests_the_lane_until_it_is_new() -> None:
    pacer = Pacer([WindowLimit(5, 1.0)])
    number = asked(pacer, 100.0)
    assert pacer.told([Quota(0, 3_000.0, 86_400.0)], number, 100.2) == 3_000.0
    assert pacer.next_start(101.0, "find") >= 3_100.0
    pacer.forget_told()
    assert pacer.next_start(101.0, "find") < 102.0


def test_calls_under_way_are_taken_off_what_is_left() -> None:
    pacer = Pacer([WindowLimit(100, 1.0)])
    number = asked(pacer, 100.0)
    asked(pacer, 100.1, 4)
    assert pacer.told([Quota(4, 30.0, 60.0)], number, 100.2) == 0.0
    assert pacer.next_start(100.3, "find") >= 130.0, "the four on their way may have had what was left"
    pacer.told([Quota(3, 29.0, 60.0)], number + 4, 101.2)
    assert pacer.next_start(101.2, "find") < 130.0, "the vendor says that they have not"


def test_a_count_that_is_ours_alone_changes_nothing() -> None:
    pacer = Pacer([WindowLimit(300, 60.0)])
    number = asked(pacer, 100.0, 290)
    before = pacer.next_start(100.5, "find")
    pacer.told([Quota(10, 60.0, 60.0)], number, 100.5)
    assert pacer.next_start(100.5, "find") == before


def test_an_answer_that_was_overtaken_is_not_believed() -> None:
    pacer = Pacer([WindowLimit(5, 1.0)])
    first = asked(pacer, 100.0)
    second = asked(pacer, 100.5)
    pacer.told([Quota(20, 30.0, 60.0)], second, 101.0)
    pacer.told([Quota(0, 30.0, 60.0)], first, 101.1)
    assert pacer.next_start(102.0, "find") < 105.0
