"""Nine in ten runs end inside the band that is shown, and the band says something."""

import random
import statistics

import pytest

from tests.workflows.run_simulation import KINDS, SimRun
from workflows.forecast import (
    EVEN_S,
    TYPICAL_LATENCY_S,
    WINDOW_USED,
    Allowance,
    Forecast,
    LaneSpeed,
    Progress,
    Rival,
    calls_ahead,
    forecast,
)

RUNS = 250


def foreseen(run: SimRun) -> list[tuple[Forecast, float, int]]:
    """Each forecast that was made during the run, how long it took from then on, and after how many records."""
    looks, end = run.play()
    found = []
    for seen in looks:
        speeds = {
            kind[1]: LaneSpeed((Allowance(round(lane.rate), 1.0),), lane.parallelism, seen.latency[kind])
            for kind, lane in run.lanes.items()
        }
        rivals = {kind[1]: [Rival(seen.rival_pending, 5)] if seen.rival_pending else [] for kind in KINDS}
        progress = Progress(seen.pending, seen.finished, seen.asked, seen.at)
        made = forecast(progress, {kind: kind[1] for kind in KINDS}, speeds, rivals, 5)
        assert made is not None
        assert made.soonest <= made.likely <= made.latest, made
        found.append((made, end - seen.at, seen.finished))
    return found


@pytest.fixture(scope="module")
def forecasts() -> list[tuple[Forecast, float, int]]:
    dice = random.Random(20_26)
    return [one for _ in range(RUNS) for one in foreseen(SimRun(random.Random(dice.random())))]


def test_nine_in_ten_runs_end_inside_the_band(forecasts: list[tuple[Forecast, float, int]]) -> None:
    inside = [made.soonest <= took <= made.latest for made, took, _ in forecasts]
    assert sum(inside) / len(inside) >= 0.90


def test_the_first_forecasts_hold_too(forecasts: list[tuple[Forecast, float, int]]) -> None:
    first = [(made, took) for made, took, finished in forecasts if finished == 0]
    inside = [made.soonest <= took <= made.latest for made, took in first]
    assert sum(inside) / len(inside) >= 0.90


def test_the_band_says_something(forecasts: list[tuple[Forecast, float, int]]) -> None:
    wide = [
        (made.latest - made.soonest) / took
        for made, took, finished in forecasts
        if finished >= 50 and took > 5
    ]
    off = [
        abs(made.likely - took) / took for made, took, finished in forecasts if finished >= 50 and took > 5
    ]
    assert statistics.median(wide) <= 1.0
    assert statistics.median(off) <= 0.15


# --- the parts ------------------------------------------------------------------------------------------------------------

FIRST, LATER = ("find", "prospeo"), ("find", "findymail")


def likely(pending: int, speed: LaneSpeed, *rivals: Rival, priority: int = 5) -> float:
    made = forecast(Progress(pending, 0, {}), {FIRST: "lane"}, {"lane": speed}, {"lane": rivals}, priority)
    assert made is not None
    return made.likely


def test_a_more_urgent_run_goes_before_and_an_equal_one_takes_turns() -> None:
    speed = LaneSpeed((Allowance(10, 1.0),), parallelism=100)
    alone = likely(100, speed)
    assert alone == pytest.approx(10 / WINDOW_USED[1], rel=0.1)
    assert likely(100, speed, Rival(1_000, 1)) == alone
    assert likely(100, speed, Rival(1_000, 5)) == pytest.approx(2 * alone, rel=0.1)
    assert likely(100, speed, Rival(1_000, 9)) > 5 * alone


def test_the_tightest_of_windows_and_parallelism_counts() -> None:
    calls = {FIRST: 100.0}
    assert LaneSpeed((), parallelism=6).seconds_for(calls, 1) == pytest.approx(100 * TYPICAL_LATENCY_S / 6)
    assert LaneSpeed((), parallelism=6, latency_s=3.0).seconds_for(calls, 1) == 50
    two = LaneSpeed((Allowance(2, 1.0), Allowance(50, 1.0)), parallelism=6)
    assert two.seconds_for(calls, 1) == pytest.approx(50 / WINDOW_USED[1])


def test_a_window_of_one_operation_counts_its_calls_alone() -> None:
    speed = LaneSpeed((Allowance(1, 1.0, group="verify"),), parallelism=100, latency_s=0.1)
    assert speed.seconds_for({FIRST: 100.0}, 1) == pytest.approx(0.1)
    assert speed.seconds_for({("verify", "hunter"): 100.0}, 1) > 100


def test_a_day_s_allowance_costs_nothing_until_it_is_used_up() -> None:
    day = 86_400.0
    assert day > EVEN_S
    assert Allowance(2_000, day).seconds_for(2_000) == 0
    assert Allowance(2_000, day).seconds_for(2_001) == day
    assert Allowance(2_000, day, used=1_500).seconds_for(501) == day
    assert Allowance(2_000, day, used=1_500).seconds_for(0) == 0


def test_the_share_that_reaches_a_vendor_is_learnt_from_the_run() -> None:
    at_first = calls_ahead(Progress(100, 0, {}), [FIRST, LATER])
    assert (at_first[FIRST][1], at_first[LATER][1]) == (100, 50)
    later = calls_ahead(Progress(100, 200, {FIRST: 200, LATER: 20}), [FIRST, LATER])
    assert later[LATER][1] == pytest.approx(10, abs=1)
    assert later[LATER][2] - later[LATER][0] < at_first[LATER][2] - at_first[LATER][0]


def test_records_that_are_through_their_first_vendor_wait_for_the_slowest() -> None:
    calls = calls_ahead(Progress(100, 50, {FIRST: 150, LATER: 20}), [FIRST, LATER], LATER)
    assert calls[FIRST][1] == 0
    assert calls[LATER][1] == 100


def test_there_is_no_forecast_while_a_lane_that_is_needed_stands_still() -> None:
    still = LaneSpeed((), 1, stopped=True)
    assert forecast(Progress(5, 0, {}), {FIRST: "a"}, {"a": still}, {}, 5) is None
    assert forecast(Progress(5, 0, {}), {FIRST: "a"}, {}, {}, 5) is None
    assert forecast(Progress(0, 5, {FIRST: 5}), {FIRST: "a"}, {"a": still}, {}, 5) is not None


def test_a_run_that_is_slower_than_its_lanes_is_believed() -> None:
    progress = Progress(100, 100, {FIRST: 100}, elapsed_s=200.0)
    made = forecast(progress, {FIRST: "a"}, {"a": LaneSpeed((), 10, 0.1)}, {}, 5)
    assert made is not None
    assert made.likely == pytest.approx(200.0)
    assert made.latest > 240
