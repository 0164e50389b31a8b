"""Whom a runner lets go first with lanes that come to life: those that have fewer."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from workflows.lanes import fleet as fleets
from workflows.lanes.desk import Desk
from workflows.lanes.fleet import Fleet
from workflows.lanes.taking import LaneTaken


class Told:
    """Stands for Redis: notes what was offered, and says how many listen."""

    def __init__(self, *_: Any) -> None:
        self.offers: list[list[uuid.UUID]] = []
        self.listening, self.silent_s = 1, 0.0

    async def offer(self, lane_ids: Iterable[uuid.UUID]) -> int:
        self.offers.append(list(lane_ids))
        await asyncio.sleep(self.silent_s)
        return 0 if self.silent_s else self.listening

    def ask(self, lane_id: uuid.UUID) -> None: ...


class Sharing:
    """A fleet that finds no lane free, so that each taking is seen and nothing is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[tuple[float, int]] = []
        monkeypatch.setattr(fleets, "Relay", Told)
        monkeypatch.setattr(fleets, "take", self._take)
        monkeypatch.setattr(fleets, "FEW_LANES", 4)
        monkeypatch.setattr(fleets, "WAIT_A_LANE_S", 0.05)
        monkeypatch.setattr(fleets, "WAIT_MOST_S", 0.5)

    def _take(self, lane_ids: list[uuid.UUID], holder: uuid.UUID) -> tuple[list[LaneTaken], list[uuid.UUID]]:
        self.taken.append((time.monotonic(), len(lane_ids)))
        return [], []

    def run(
        self, lanes: int, steps: Callable[[Fleet, Any], Coroutine[Any, Any, None]], *, listening: int = 2
    ) -> None:
        """`lanes`: that it has already."""

        async def go() -> None:
            desk = Desk(uuid.uuid4(), None)  # type: ignore[arg-type]
            self.fleet = Fleet({uuid.uuid4(): None for _ in range(lanes)}, desk)
            told: Any = self.fleet.relay
            told.listening = listening
            self.began = time.monotonic()
            await steps(self.fleet, told)
            desk.close()

        asyncio.run(go())

    @property
    def waited(self) -> float:
        return self.taken[0][0] - self.began


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> Sharing:
    return Sharing(monkeypatch)


async def poke_one(fleet: Fleet, told: Any) -> None:
    """Until it is taken, or has been found to be another one's."""
    fleet.poke(lane_id := uuid.uuid4())
    for _ in range(500):
        if lane_id not in fleet._acquiring:
            return
        await asyncio.sleep(0.01)


def test_whoever_has_few_takes_at_once(sharing: Sharing) -> None:
    async def steps(fleet: Fleet, told: Told) -> None:
        await poke_one(fleet, told)
        assert told.offers == []

    sharing.run(3, steps)
    assert sharing.waited < 0.2


@pytest.mark.parametrize(("lanes", "least", "most"), [(6, 0.3, 0.45), (100, 0.5, 0.7)])
def test_whoever_has_many_tells_the_others_and_waits_the_longer(
    sharing: Sharing, lanes: int, least: float, most: float
) -> None:
    async def steps(fleet: Fleet, told: Told) -> None:
        await poke_one(fleet, told)
        assert [len(offer) for offer in told.offers] == [1]

    sharing.run(lanes, steps)
    assert least <= sharing.waited < most


def test_where_nobody_else_listens_nobody_is_waited_for(sharing: Sharing) -> None:
    sharing.run(100, poke_one, listening=1)
    assert sharing.waited < 0.2


def test_what_another_one_offered_is_not_offered_again(sharing: Sharing) -> None:
    async def steps(fleet: Fleet, told: Told) -> None:
        lane_id = uuid.uuid4()
        fleet._hear_of_free(lane_id)
        await asyncio.sleep(0.8)
        assert (told.offers, fleet._offered) == ([], set())
        assert [count for _, count in sharing.taken] == [1]
        fleet.poke(lane_id)  # a later time
        await asyncio.sleep(0.8)
        assert told.offers == [[lane_id]]

    sharing.run(6, steps)
    assert sharing.waited >= 0.3


def test_an_offer_of_what_it_is_taking_leaves_no_mark(sharing: Sharing) -> None:
    async def steps(fleet: Fleet, told: Told) -> None:
        lane_id = uuid.uuid4()
        fleet.poke(lane_id)
        fleet._hear_of_free(lane_id)
        assert not fleet._offered
        await asyncio.sleep(1.5)
        assert (fleet._acquiring, fleet._rung) == (set(), set())

    sharing.run(6, steps)


def test_who_begins_to_end_while_it_waits_takes_nothing(sharing: Sharing) -> None:
    async def steps(fleet: Fleet, told: Told) -> None:
        fleet.poke(uuid.uuid4())
        await asyncio.sleep(0.1)
        fleet.draining = True
        await asyncio.sleep(0.8)

    sharing.run(100, steps)
    assert sharing.taken == []


def test_a_redis_that_says_nothing_is_not_waited_for(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleets, "WAIT_MOST_S", 0.1)

    async def steps(fleet: Fleet, told: Told) -> None:
        told.silent_s = 5.0
        await poke_one(fleet, told)

    sharing.run(100, steps)
    assert sharing.waited < 0.4
