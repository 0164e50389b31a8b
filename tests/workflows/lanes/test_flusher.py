"""How often a runner writes, by how many tenants have something to be written."""

import asyncio
import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from workflows.lanes import flusher
from workflows.lanes.desk import Desk
from workflows.lanes.flusher import Flusher
from workflows.lanes.holder import HORIZON_MOST_S, HORIZON_S
from workflows.lanes.work import Batch, Flushed

SECONDS = 1.0


async def rounds(monkeypatch: pytest.MonkeyPatch, tenants: int) -> tuple[list[int], float, float]:
    """How many settlements each flush of a second or so has while every tenant has a new one every 10 ms, how long it was,
    and how far ahead is stamped in the end."""
    desk = Desk(uuid.uuid4(), client=None)  # type: ignore[arg-type]
    fleet: Any = SimpleNamespace(draining=False, lanes={}, poke=lambda lane_id: None)
    one = Flusher(fleet, desk)
    sizes = []

    async def write(batch: Batch) -> Flushed:
        sizes.append(len(batch.settlements))
        return Flushed()

    monkeypatch.setattr(one, "_flush", write)
    ids = [uuid.uuid4() for _ in range(tenants)]
    began = time.monotonic()
    task = asyncio.create_task(one.run())
    for _ in range(int(SECONDS / 0.01)):
        for tenant_id in ids:
            run = SimpleNamespace(tenant_id=tenant_id)
            desk.settle(SimpleNamespace(work=SimpleNamespace(run=run, lane_id=None)))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
    task.cancel()
    desk.close()
    return sizes, time.monotonic() - began, one._horizon


def test_one_tenants_answers_are_written_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, _, horizon = asyncio.run(rounds(monkeypatch, 1))
    assert len(sizes) > 30
    assert horizon == HORIZON_S


def test_those_of_many_tenants_are_gathered_and_stamped_further_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenants = 300
    sizes, seconds, horizon = asyncio.run(rounds(monkeypatch, tenants))
    gap = flusher.TENANT_GAP_S * (tenants - 1)
    assert len(sizes) <= seconds / gap + 2
    assert max(sizes) >= 5 * tenants
    assert 2 * gap <= horizon <= HORIZON_MOST_S
