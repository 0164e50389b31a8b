"""What is remembered for a moment is read again for all that are in use at once, and never believed for longer."""

import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from tenants.remembered import Remembered


class Source:
    """Answers n with f"{n}!" but for what is gone, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.gone: set[int] = set()
        self.broken = False
        self.meanwhile = lambda: None

    def read(self, keys: Sequence[int]) -> dict[int, str]:
        self.asked.append(list(keys))
        self.meanwhile()
        if self.broken:
            raise OSError("away")
        return {key: f"{key}!" for key in keys if key not in self.gone}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def kept(source: Source) -> Remembered[int, str]:
    return Remembered(source.read, seconds=10, nothing="")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch):
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def later(seconds: float) -> None:
        now[0] += seconds

    return later


def test_a_value_is_believed_for_its_time_and_no_longer(source, kept, clock):
    for wait, reads in ((0, 1), (9.9, 1), (0.1, 2), (9.9, 2), (0.2, 3)):
        clock(wait)
        assert kept.get(1) == "1!"
        assert len(source.asked) == reads, wait


def test_who_reads_one_reads_all_in_use_that_are_half_as_old_as_they_may_be(source, kept, clock):
    for key in (1, 2, 3):
        kept.get(key)
    clock(6)
    kept.get(4)
    assert sorted(source.asked.pop()) == [1, 2, 3, 4]
    source.asked.clear()
    clock(6)  # all of them are six seconds old
    for key in (1, 2, 3, 4):
        assert kept.get(key) == f"{key}!"
    assert source.asked == []


def test_what_nobody_asks_for_any_more_is_read_once_more_and_not_again(source, kept, clock):
    kept.get(1)
    kept.get(2)
    clock(6)
    kept.get(3)
    assert sorted(source.asked[-1]) == [1, 2, 3]
    kept.get(2)
    clock(6)
    kept.get(9)
    assert sorted(source.asked[-1]) == [2, 3, 9]


def test_a_read_is_no_longer_than_it_may_be(source, kept, clock, monkeypatch):
    monkeypatch.setattr(Remembered, "AT_ONCE", 3)
    for key in range(10):
        kept.get(key)
    clock(7)
    kept.get(99)
    assert len(source.asked[-1]) == 3
    assert source.asked[-1][0] == 99


def test_that_there_is_nothing_is_remembered_of_what_was_asked_for_alone(source, kept, clock):
    source.gone = {1, 2}
    assert kept.get(1) == kept.get(2) == kept.get(1) == ""
    assert source.asked == [[1], [2]]
    clock(6)
    source.gone = {3}
    kept.put(
        3, "3!", read_at=time.monotonic() - 6
    )  # as one that was there a moment ago, and may not be seen yet
    kept.get(3)
    kept.get(4)
    assert 3 in source.asked[-1]
    assert kept.get(3) == "3!"  # until its own time is over
    clock(5)
    assert kept.get(3) == ""


def test_what_is_forgotten_is_read_again(source, kept):
    kept.get(1)
    kept.get(2)
    kept.forget(1)
    kept.get(1)
    kept.get(2)
    assert source.asked == [[1], [2], [1]]
    kept.forget()
    assert len(kept) == 0


def test_a_read_that_fails_is_told_and_changes_nothing(source, kept, clock):
    kept.get(1)
    clock(11)
    source.broken = True
    with pytest.raises(OSError, match="away"):
        kept.get(1)
    source.broken = False
    assert kept.get(1) == "1!"


def test_two_threads_that_find_it_too_old_read_it_once(source, kept):
    second = threading.Thread(target=kept.get, args=[1])
    source.meanwhile = lambda: None if second.ident else second.start()
    kept.get(1)
    second.join()
    assert source.asked == [[1]]


def test_what_is_forgotten_while_it_is_being_read_is_not_remembered(source, kept):
    """A plan changes, and whoever asks after that is told of the new one, though another began to ask before."""
    source.meanwhile = lambda: kept.forget(1) if len(source.asked) == 1 else None
    assert kept.get(1) == "1!"
    kept.get(1)
    kept.get(1)
    assert source.asked == [[1], [1]]


@pytest.mark.parametrize("ends", ["away", "answers"])
def test_a_read_that_takes_long_keeps_nobody_else_waiting_for_long(source, kept, monkeypatch, ends):
    """A database that is silent costs each its own time-out and not everybody's, and a lock that one holds who waits here
    cannot keep the read from its end."""
    monkeypatch.undo()  # real time
    monkeypatch.setattr(Remembered, "PATIENCE_S", 0.05)
    go, reading = threading.Event(), threading.Event()

    def slow() -> None:
        if source.asked[-1] == [1]:
            reading.set()
            assert go.wait(5)
            source.broken = ends == "away"

    source.meanwhile = slow

    def ask() -> None:
        with pytest.raises(OSError, match="away") if ends == "away" else nullcontext():
            kept.get(1)

    first = threading.Thread(target=ask)
    first.start()
    assert reading.wait(5)
    try:
        began = time.monotonic()
        assert kept.get(2) == "2!"
        assert time.monotonic() - began < 2
    finally:
        go.set()
        first.join()
    assert source.asked == [[1], [2]]
