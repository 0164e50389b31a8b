"""When a delivery is tried again: ten attempts over about three days, spread."""

import pytest

from integrations.webhooks import schedule
from integrations.webhooks.schedule import next_delay, rest


def test_ten_attempts_take_about_three_days() -> None:
    delays = [next_delay(tries, chance=0.5) for tries in range(1, 11)]
    assert delays[-1] is None
    known = [delay for delay in delays if delay is not None]
    assert len(known) == 9
    assert known == sorted(known)
    assert 72 <= sum(known) / 3600 <= 96


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_each_delay_is_spread_by_a_fifth(chance: float, share: float) -> None:
    for tries, delay in enumerate(schedule.DELAYS_S, 1):
        assert next_delay(tries, chance=chance) == pytest.approx(delay * share)


def test_chance_is_used_when_none_is_given() -> None:
    assert len({next_delay(1) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("asked", "given"), [(None, 5), (0.0, 5), (60.0, 60), (86_400.0, 86_400), (10.0**9, 86_400)]
)
def test_a_receiver_may_ask_for_more_time_and_not_for_less(asked: float | None, given: float) -> None:
    assert next_delay(1, asked, chance=0.5) == given


def test_rests_begin_with_the_fifth_failure_and_grow_to_five_minutes() -> None:
    assert [rest(failures) for failures in (0, 1, 4)] == [0, 0, 0]
    assert [rest(failures) for failures in (5, 6, 7)] == [5, 10, 20]
    assert rest(50) == rest(5_000) == 300
