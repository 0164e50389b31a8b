"""A worker that lives but does not work notices it by itself: its loop stands still, or it takes no messages."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.worker import state

from workflows.lanes import watch
from workflows.lanes.watch import Watch, touched_file


class Ended(Exception):
    """Instead of the end of this process."""


class Runner:
    """What a watch sees of a runner."""

    turns = 0


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Watch]:
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(watch, "DEAF_S", 0.15)
    worker = SimpleNamespace(concurrency=2)
    made: Any = Watch(Runner(), worker, touched_file(tmp_path, "worker-1@here"))  # type: ignore[arg-type]
    made.said = []

    def end(why: str) -> None:
        made.said.append(why)
        made.stop()

    monkeypatch.setattr(made, "_end", end)
    yield made
    made.stop()
    if made.is_alive():
        made.join(5)


def turning(made: Watch, seconds: float) -> None:
    """Let its loop turn for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        made._runner.turns += 1
        time.sleep(0.002)


def wait_for(made: Any) -> list[str]:
    made.join(10)
    return made.said


def test_while_the_loop_turns_the_file_is_touched_and_nothing_is_said(watched: Any, tmp_path: Path) -> None:
    watched.start()
    file = tmp_path / "run" / "alive" / "worker-1"
    seen: set[int] = set()
    until = time.monotonic() + 10
    while len(seen) < 3 and time.monotonic() < until:
        turning(watched, 0.05)
        seen |= {file.stat().st_mtime_ns} if file.exists() else set()
    assert len(seen) == 3
    assert watched.said == []


def test_a_loop_that_stands_still_ends_the_worker(watched: Any) -> None:
    watched.start()
    assert wait_for(watched) == ["the runner's loop does not turn"]


def test_messages_that_nobody_takes_end_the_worker(watched: Any, redis_client: Any) -> None:
    current_app.send_task("workflows.tasks.nobody", queue="jobs", ignore_result=True)
    watched.start()
    until = time.monotonic() + 10
    while watched.is_alive() and time.monotonic() < until:
        turning(watched, 0.05)
    assert watched.said == ["messages wait and none is taken"]


@pytest.mark.parametrize("why", ["no messages", "no threads to spare", "the broker is away"])
def test_no_message_taken_is_no_fault(watched: Any, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why != "no messages":
        current_app.send_task("workflows.tasks.nobody", queue="jobs", ignore_result=True)
    if why == "no threads to spare":
        monkeypatch.setattr(state, "active_requests", {1, 2})
    if why == "the broker is away":
        monkeypatch.setattr(current_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    watched.start()
    turning(watched, 0.6)
    assert watched.said == []
    assert watched.is_alive()


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    assert touched_file(tmp_path, "worker@here") is None
