"""A record's steps on one axis: where each waits, where it calls, and what is said when there was no call."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from workflows.queries import StepView
from workflows.web.records import on_axis

BEGIN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def at(seconds: float | None) -> datetime | None:
    return None if seconds is None else BEGIN + timedelta(seconds=seconds)


def a_step(ready: float | None, started: float | None, finished: float | None, **values: Any) -> StepView:
    defaults: dict[str, Any] = {
        "id": uuid.uuid4(), "name": "find:prospeo", "operation": "find", "provider": "prospeo", "status": "done",
        "outcome": "hit", "reason": "", "attempt": 1, "http_status": 200, "latency_ms": 1, "credits": 0, "answer": None,
        "wait_reason": None, "ready_at": at(ready), "started_at": at(started), "finished_at": at(finished),
    }  # fmt: skip
    return StepView(**(defaults | values))


def places(steps: list[StepView], now: float = 10.0) -> list[tuple[str, ...]]:
    rows, _ = on_axis(steps, BEGIN + timedelta(seconds=now))
    return [(row.wait_x, row.wait_width, row.call_x, row.call_width) for row in rows]


def test_steps_lie_on_one_axis_from_the_first_moment_to_the_last():
    rows, length = on_axis([a_step(0, 2, 5), a_step(5, 6, 10)], BEGIN)
    assert length == 10
    assert [(row.wait_x, row.wait_width) for row in rows] == [("0.00%", "20.00%"), ("50.00%", "10.00%")]
    assert [(row.call_x, row.call_width) for row in rows] == [("20.00%", "30.00%"), ("60.00%", "40.00%")]
    assert [(row.waited, row.took) for row in rows] == [(2, 3), (1, 4)]


def test_a_step_that_waits_grows_until_now():
    assert places([a_step(0, 2, 5), a_step(5, None, None, status="waiting", outcome=None)]) [1] == (
        "50.00%", "50.00%", "99.40%", "0%",
    )  # fmt: skip


def test_a_call_in_flight_grows_until_now():
    assert places([a_step(0, 5, None, status="running", outcome=None)])[0][2:] == ("50.00%", "50.00%")


def test_an_answer_without_a_call_is_a_mark_and_took_no_time():
    rows, _ = on_axis([a_step(0, 2, 5), a_step(5, None, 10, outcome="cached")], BEGIN)
    assert rows[1].took is None
    assert rows[1].fill == "accent"
    assert rows[1].call_width == "0.60%"


def test_steps_that_took_no_time_at_all_do_not_break_the_axis():
    assert places([a_step(0, 0, 0)], now=0) == [("0.00%", "0.00%", "0.00%", "0.60%")]
    assert on_axis([], BEGIN) == ([], 0.0)


def test_what_ended_is_shown_by_its_outcome_and_what_failed_by_its_state():
    rows, _ = on_axis([a_step(0, 1, 2), a_step(2, 3, 4, status="dead", outcome="timeout")], BEGIN)
    assert [row.shown_status for row in rows] == ["hit", "dead"]
    assert [row.fill for row in rows] == ["green", "red"]
