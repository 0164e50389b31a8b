"""The claims of a runner's lanes: those that come while others are being read are read together, in one transaction.

Each on its own, a hundred lanes with little work stood in line for the threads, and every claim took three round trips.
"""

import asyncio
from collections import deque

from django.db import Error as DatabaseError

from workflows.lanes import claim, salvage
from workflows.lanes.claim import Found, Wanted
from workflows.lanes.desk import Desk

AT_ONCE = 2
"""Transactions at once: one that takes long (a run that nobody has vacuumed behind) does not hold up the others."""
MOST_LANES = 100
GATHER_S, MANY, OF_LATE_S = 0.02, 8, 0.2
"""So long for what comes after a transaction has begun, to go into the next one together: where so many have begun of
late. Where claims come now and then none waits: each step of a single contact has one."""


class Claims:
    """Lives on the runner's loop."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: deque[tuple[Wanted, asyncio.Future[Found]]] = deque()
        self._under_way = 0
        self._begun: deque[float] = deque([0.0] * MANY, maxlen=MANY)  # when, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, wanted: Wanted) -> Found:
        """What there is of this in its lane. Raises django.db.Error."""
        future: asyncio.Future[Found] = self._desk.loop.create_future()
        self._waiting.append((wanted, future))
        self._begin()
        return await future

    def _begin(self) -> None:
        loop = self._desk.loop
        if self._timer is not None or not self._waiting or self._under_way >= AT_ONCE:
            return
        now, due = loop.time(), self._begun[-1] + GATHER_S
        if now - self._begun[0] < OF_LATE_S and now < due and len(self._waiting) < MOST_LANES:
            self._timer = loop.call_at(due, self._gathered)
        else:
            self._read_what_waits()

    def _gathered(self) -> None:
        self._timer = None
        self._read_what_waits()

    def _read_what_waits(self) -> None:
        while self._waiting and self._under_way < AT_ONCE:
            count = min(MOST_LANES, len(self._waiting))
            self._begun.append(self._desk.loop.time())
            self._under_way += 1
            self._desk.spawn(self._read([self._waiting.popleft() for _ in range(count)]))

    async def _read(self, together: list[tuple[Wanted, asyncio.Future[Found]]]) -> None:
        try:
            await self._answer(together)
        finally:
            for _, future in together:
                if not future.done():  # nobody may wait without end, whatever happened
                    future.set_exception(RuntimeError("The lane was not read."))
            self._under_way -= 1
            self._begin()

    async def _answer(self, together: list[tuple[Wanted, asyncio.Future[Found]]]) -> None:
        try:
            found = await self._desk.database(claim.claim_all, [wanted for wanted, _ in together])
        except Exception as error:  # noqa: BLE001 - for those who wait for it
            away = isinstance(error, DatabaseError) and salvage.is_away(error)
            if len(together) > 1 and not away:
                for one in together:  # what is wrong with one lane's rows is no other's
                    await self._answer([one])
                return
            for _, future in together:
                if not future.cancelled():
                    future.set_exception(error)
            return
        for (_, future), mine in zip(together, found, strict=True):
            if not future.cancelled():
                future.set_result(mine)
