"""The breaker as a machine of its own: when it rests, for how long, and what lets it go on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.http import BROKE_OFF, CallResult
from integrations.outcomes import Done, Fail, Miss, Outcome, Retry
from workflows.lanes.breaker import CLOSED, FAILURES, HALF_OPEN, OPEN, REST_MAX_S, REST_S, Breaker
from workflows.lanes.outcome import vendor_well


def longest(low: float, high: float) -> float:
    return high


def tripped(now: float = 100.0) -> Breaker:
    breaker = Breaker(dice=longest)
    for _ in range(FAILURES):
        breaker.failed(now, now)
    assert breaker.state(now) == OPEN
    return breaker


def test_so_many_failures_in_a_row_open_it_and_one_less_does_not() -> None:
    breaker = Breaker()
    assert 5 <= FAILURES <= 10
    assert [breaker.failed(100.0, 100.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    breaker = Breaker()
    for _ in range(5):
        for _ in range(FAILURES - 1):
            breaker.failed(100.0, 100.0)
        breaker.answered(100.0, 100.0)
    assert breaker.state(100.0) == CLOSED


def test_rests_grow_to_five_minutes_and_start_small_again_after_an_answer() -> None:
    breaker, now, rests = tripped(), 100.0, []
    for _ in range(8):
        rests.append(breaker.until - now)
        now = breaker.until
        assert breaker.state(now) == HALF_OPEN
        assert breaker.failed(now, now), "a probe that fails lets it rest again at once"
    assert rests == [10, 20, 40, 80, 160, 300, 300, 300]
    now = breaker.until
    assert breaker.answered(now, now)
    assert breaker.state(now) == CLOSED
    for _ in range(FAILURES):
        breaker.failed(now, now)
    assert breaker.until - now == REST_S


def test_calls_from_before_the_change_say_nothing_about_the_vendor_now() -> None:
    breaker = tripped(100.0)
    until = breaker.until
    assert not breaker.failed(99.0, 103.0)
    assert not breaker.answered(99.0, 104.0)
    assert (breaker.until, breaker.state(104.0)) == (until, OPEN)
    assert not breaker.failed(99.0, until + 1), "a call that hung since before the rest is no probe"
    assert breaker.state(until + 1) == HALF_OPEN
    assert breaker.answered(until + 1, until + 2)
    for _ in range(FAILURES):
        assert not breaker.failed(99.0, until + 3)
    assert breaker.state(until + 3) == CLOSED


def test_a_new_holder_rests_as_long_as_the_old_one_would_have() -> None:
    heir = Breaker(dice=longest)
    heir.restore(failures=FAILURES, trips=2, rest_s=7.0, now=500.0)
    assert (heir.state(506.9), heir.state(507.0)) == (OPEN, HALF_OPEN)
    assert heir.failed(507.0, 507.0)
    assert heir.until == 507.0 + 40.0
    heir = Breaker()
    heir.restore(failures=FAILURES - 1, trips=0, rest_s=0.0, now=500.0)
    assert heir.state(500.0) == CLOSED
    assert heir.failed(500.0, 500.0), "it counts on where the old one was"


calls = st.lists(
    st.tuples(st.booleans(), st.floats(0, 90), st.floats(0, 30), st.floats(0, 1)), min_size=1, max_size=150
)


@settings(max_examples=300, deadline=None)
@given(calls)
def test_whatever_happens_rests_are_bounded_and_a_well_vendor_is_asked_again(
    history: list[tuple[bool, float, float, float]],
) -> None:
    now, row, luck = 1_000.0, 0, 0.0
    breaker = Breaker(dice=lambda low, high: low + luck * (high - low))
    for well, took, pause, luck in history:  # noqa: B007 - the dice read it
        now += pause
        before = breaker.state(now)
        sent = now - took
        if well:
            breaker.answered(sent, now)
        else:
            opened = breaker.failed(sent, now)
            if opened:
                assert REST_S - 1e-6 <= breaker.until - now <= REST_MAX_S + 1e-6
                assert before != OPEN
            row += 1
        if well:
            row = 0
        if breaker.state(now) == OPEN and before == CLOSED:
            assert row >= FAILURES
    now = max(now, breaker.until)
    breaker.answered(now, now)
    assert breaker.state(now) == CLOSED


@pytest.mark.parametrize(
    ("outcome", "status", "well"),
    [
        (Done({}), 200, True),
        (Miss(), 404, True),
        (Fail("invalid", "no"), 400, True),
        (Fail("auth_failed", "no"), 401, True),
        (Fail("no_credits", "no"), 402, True),
        (Fail("invalid", "not enough data to ask this vendor"), None, None),
        (Retry("rate_limited", "slow down"), 429, None),
        (Retry("error", BROKE_OFF), None, None),
        (Retry("error", "no"), 503, False),
        (Retry("error", "no connection to the vendor"), None, False),
        (Retry("timeout", "no answer in time"), None, False),
    ],
)
def test_only_what_is_the_vendors_fault_counts(
    outcome: Outcome, status: int | None, well: bool | None
) -> None:
    assert vendor_well(CallResult(outcome, status, 1)) is well


def test_the_shortest_rest_is_ten_seconds_however_often_it_tripped() -> None:
    breaker, now = Breaker(dice=lambda low, high: low), 100.0
    for _ in range(FAILURES):
        breaker.failed(now, now)
    for trips in range(1, 40):
        assert (breaker.until, breaker.changed_at) == (now + REST_S, now + REST_S)
        assert breaker.trips == min(trips, 30)
        now = breaker.until
        assert breaker.failed(now, now)
    assert breaker.answered(breaker.until, breaker.until)
    assert (breaker.trips, breaker.failures, breaker.until) == (0, 0, 0.0)


def test_an_answer_while_it_is_closed_forgets_failures_and_closes_nothing() -> None:
    breaker = Breaker(dice=longest)
    for _ in range(FAILURES - 1):
        breaker.failed(100.0, 100.0)
    assert not breaker.answered(100.0, 100.0)
    assert (breaker.failures, breaker.changed_at, breaker.until) == (0, 0.0, 0.0)
    assert not breaker.failed(50.0, 101.0)
    assert breaker.failures == 1


def test_nothing_that_comes_during_a_rest_counts() -> None:
    breaker = tripped(100.0)
    assert not breaker.failed(breaker.until, breaker.until - 0.1)
    assert not breaker.answered(breaker.until, breaker.until - 0.1)
    assert (breaker.failures, breaker.trips, breaker.until) == (FAILURES, 1, 110.0)


def test_a_rest_that_is_over_is_over_for_the_new_holder_too() -> None:
    heir = Breaker()
    heir.restore(failures=FAILURES, trips=1, rest_s=-5.0, now=500.0)
    assert (heir.until, heir.changed_at, heir.state(500.0)) == (500.0, 500.0, HALF_OPEN)
    assert (heir.failures, heir.trips) == (FAILURES, 1)
    heir = Breaker()
    heir.restore(failures=2, trips=0, rest_s=5.0, now=500.0)
    assert (heir.failures, heir.until, heir.changed_at) == (2, 0.0, 0.0)
