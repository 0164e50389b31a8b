"""The sandbox's limits are exact: checked against a count of every window there is."""

import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.sandbox.limits import Counter, Gate, Window, arrived

# Sums of sixteenths are exact.
gaps = st.integers(0, 24).map(lambda ticks: ticks / 16)


def over(let_in, at, rate, period):
    """Whether letting in a call at `at` would put more than `rate` calls into some window [s, s + period)."""
    moments = sorted([*let_in, at])
    return any(sum(start <= moment < start + period for moment in moments) > rate for start in moments)


@settings(deadline=None, max_examples=400)
@given(rate=st.integers(1, 4), steps=st.lists(gaps, max_size=40))
def test_a_call_is_let_in_exactly_when_no_window_overflows(rate, steps):
    counter = Counter(Window(rate, 1.0))
    at = 0.0
    let_in: list[float] = []
    for gap in steps:
        at += gap
        wait = counter.wait(at)
        assert (wait is not None) == over(let_in, at, rate, 1.0)
        if wait is None:
            counter.add(at)
            let_in.append(at)
        else:
            assert 0 < wait <= 1.0


@settings(deadline=None, max_examples=400)
@given(rate=st.integers(1, 4), moments=st.lists(st.integers(0, 60).map(lambda tick: tick / 16), max_size=30))
def test_calls_that_are_handled_out_of_order_count_by_their_arrival(rate, moments):
    counter = Counter(Window(rate, 1.0))
    let_in: list[float] = []
    for at in moments:
        wait = counter.wait(at)
        assert (wait is not None) == over(let_in, at, rate, 1.0)
        if wait is None:
            counter.add(at)
            let_in.append(at)
    assert counter.times == sorted(let_in)


def test_what_left_the_window_is_forgotten():
    counter = Counter(Window(1_000_000, 0.5))
    for number in range(100_000):
        counter.wait(number / 1024)
        counter.add(number / 1024)
    assert len(counter.times) < 12_000
    assert counter.peak == 512


def test_every_window_of_a_key_has_to_agree():
    gate = Gate((Window(2, 1), Window(3, 60)))
    assert [gate.enter("find", "", at) is None for at in (0.0, 0.1, 0.2, 1.0, 1.1, 2.0, 61.0)] == [
        True,
        True,
        False,
        True,
        False,
        False,
        True,
    ]
    assert gate.peaks() == {"2/1s": 3, "3/60s": 4}


def test_groups_are_counted_apart():
    gate = Gate((Window(1, 1, "find"), Window(1, 1, "verify"), Window(3, 1)))
    assert gate.enter("find", "", 0.0) is None
    assert gate.enter("find", "", 0.1) is not None
    assert gate.enter("verify", "", 0.2) is None
    assert gate.enter("verify", "", 0.3) is not None


def test_a_refused_call_takes_no_place_in_the_window():
    gate = Gate((Window(1, 1),))
    assert gate.enter("find", "", 0.0) is None
    assert gate.enter("find", "", 0.9) is not None
    assert gate.enter("find", "", 1.0) is None


def test_calls_in_flight_are_capped_in_all_and_by_path():
    gate = Gate((), parallelism=2, group_parallelism={"profile": 1})
    assert gate.enter("find", "profile", 0.0) is None
    assert gate.enter("find", "profile", 0.0) is not None
    assert gate.enter("find", "", 0.0) is None
    assert gate.enter("find", "", 0.0) is not None
    gate.leave("profile")
    assert gate.enter("find", "profile", 0.0) is None
    assert gate.max_in_flight == 3


def test_a_window_with_a_block_shuts_the_key_out():
    gate = Gate((Window(1, 1, block=60),))
    assert gate.enter("verify", "", 0.0) is None
    assert gate.enter("verify", "", 0.5) is not None
    assert gate.enter("verify", "", 60.0) is not None
    assert gate.enter("verify", "", 60.6) is None


def test_new_limits_count_what_has_already_come():
    gate = Gate((Window(100, 10),))
    for tenth in range(5):
        gate.enter("find", "", tenth / 10)
    gate.change((Window(5, 1),), None)
    assert gate.enter("find", "", 0.9) is not None
    assert gate.enter("find", "", 1.05) is None


@pytest.mark.parametrize("late", [0.03, 0.12])
def test_a_call_that_is_read_late_counts_from_its_arrival(late):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            before = time.monotonic()
            client.send(b"x")
            after = time.monotonic()
            time.sleep(late)
            assert before - 0.01 < arrived(time.monotonic(), server) < after + 0.01
            assert arrived(5.0, None) == 5.0
