"""Lanes that are read at once are read together, and what is wrong with one of them is no other's."""

import asyncio
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DataError, OperationalError

from workflows.lanes import claim, claims
from workflows.lanes.claim import Wanted
from workflows.lanes.claims import Claims
from workflows.lanes.desk import Desk

Read = Callable[[list[Wanted]], list[Any]]


def lane(number: int) -> Wanted:
    return Wanted(uuid.UUID(int=number), uuid.UUID(int=number), "prospeo", [], ())


def number_of(wanted: Wanted) -> int:
    return wanted.lane_id.int


class Reader:
    """Stands for the database: notes who was read with whom, and waits for those that it is to wait for."""

    def __init__(self, fails: Callable[[list[int]], Exception | None] = lambda numbers: None) -> None:
        self.together: list[list[int]] = []
        self.fails = fails
        self.may_go_on = {0: threading.Event(), 1: threading.Event()}

    def __call__(self, wanted: list[Wanted]) -> list[Any]:
        numbers = [number_of(one) for one in wanted]
        self.together.append(numbers)
        for number in numbers:
            if number in self.may_go_on:
                assert self.may_go_on[number].wait(5)
        if error := self.fails(numbers):
            raise error
        return [[number] for number in numbers]

    def release(self) -> None:
        for event in self.may_go_on.values():
            event.set()


def asked(
    monkeypatch: pytest.MonkeyPatch, reader: Reader, steps: Callable[[Any], Any], *, gather_s: float = 0.0
) -> Any:
    monkeypatch.setattr(claim, "claim_all", reader)
    monkeypatch.setattr(claims, "GATHER_S", gather_s)

    async def go() -> Any:
        desk = Desk(uuid.uuid4(), None)  # type: ignore[arg-type]
        reading = Claims(desk)
        try:
            return await asyncio.wait_for(steps(lambda n: asyncio.ensure_future(reading.read(lane(n)))), 10)
        finally:
            reader.release()
            desk.close()

    return asyncio.run(go())


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - on another thread
        await asyncio.sleep(0.005)


def test_those_that_come_while_others_are_read_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()

    async def steps(read: Any) -> Any:
        first = [read(0), read(1)]
        await until(lambda: len(reader.together) == 2)
        late = [read(number) for number in range(2, 9)]
        await asyncio.sleep(0.05)
        assert len(reader.together) == 2
        reader.release()
        return await asyncio.gather(*first, *late)

    assert asked(monkeypatch, reader, steps) == [[number] for number in range(9)]
    assert sorted(reader.together) == [[0], [1], list(range(2, 9))]


def test_where_many_come_those_soon_after_one_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MANY", 1)
    monkeypatch.setattr(claims, "OF_LATE_S", 0.4)
    reader = Reader()

    async def steps(read: Any) -> Any:
        first = read(2)
        await until(lambda: reader.together == [[2]])
        found = [await first]
        later = [read(number) for number in range(3, 6)]
        await asyncio.sleep(0.05)
        assert reader.together == [[2]], "there was time for all of them"
        found += await asyncio.gather(*later)
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        found.append(await read(6))
        assert asyncio.get_running_loop().time() - began < 0.2, "nobody came just before"
        return found

    assert asked(monkeypatch, reader, steps, gather_s=0.4) == [[2], [3], [4], [5], [6]]
    assert reader.together == [[2], [3, 4, 5], [6]]


def test_where_few_come_none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "OF_LATE_S", 10.0)
    reader = Reader()

    async def steps(read: Any) -> Any:
        clock = asyncio.get_running_loop().time
        began = clock()
        for number in range(2, 2 + claims.MANY):
            await read(number)
        assert clock() - began < 0.5
        await read(2)
        return clock() - began

    assert asked(monkeypatch, reader, steps, gather_s=1.0) > 0.9, "the one after so many"


def test_one_that_takes_long_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()

    async def steps(read: Any) -> Any:
        slow = read(0)
        await until(lambda: reader.together == [[0]])
        assert await asyncio.gather(*(read(number) for number in range(2, 5))) == [[2], [3], [4]]
        assert not slow.done()
        reader.release()
        return await slow

    assert asked(monkeypatch, reader, steps) == [0]


def test_no_transaction_reads_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST_LANES", 3)
    reader = Reader()

    async def steps(read: Any) -> Any:
        first = [read(0), read(1)]
        late = [read(number) for number in range(2, 9)]
        await until(lambda: len(reader.together) == 2)
        reader.release()
        return await asyncio.gather(*first, *late)

    asked(monkeypatch, reader, steps)
    assert sorted(map(len, reader.together)) == [1, 1, 1, 3, 3]


def outcomes(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> list[Any]:
    async def steps(read: Any) -> Any:
        first = [read(0), read(1)]
        late = [read(number) for number in range(2, 6)]
        await until(lambda: len(reader.together) == 2)
        reader.release()
        found = await asyncio.gather(*first, *late, return_exceptions=True)
        return [*found, await read(6)]

    found: list[Any] = asked(monkeypatch, reader, steps)
    assert found.pop() == [6], "the next are read as ever"
    return found[2:]


@pytest.mark.parametrize(
    "error", [DataError("rows"), TypeError("a job of a later release")], ids=["rows", "ours"]
)
def test_what_is_wrong_with_one_lanes_rows_is_no_others(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    reader = Reader(lambda numbers: error if 4 in numbers else None)
    assert outcomes(monkeypatch, reader) == [[2], [3], error, [5]]


def test_nobody_waits_without_end_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(lambda numbers: None)
    monkeypatch.setattr(Claims, "_answer", lambda self, together: asyncio.sleep(0))

    async def steps(read: Any) -> Any:
        return await asyncio.gather(read(2), read(3), return_exceptions=True)

    assert [type(one) for one in asked(monkeypatch, reader, steps)] == [RuntimeError, RuntimeError]


def test_a_database_that_is_away_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = OperationalError("gone")
    reader = Reader(lambda numbers: gone if 4 in numbers else None)
    assert outcomes(monkeypatch, reader) == [gone] * 4
    assert len(reader.together) == 4
