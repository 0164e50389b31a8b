"""The lanes that a runner holds: taking them, looking at them, letting them go."""

import asyncio
import time
import uuid
from collections import deque
from contextlib import suppress

import structlog
from django.db import Error as DatabaseError

from workflows.lanes import lease, ring, salvage, sweep
from workflows.lanes.claims import Claims
from workflows.lanes.desk import Desk
from workflows.lanes.driver import LaneDriver
from workflows.lanes.holder import LaneHolder
from workflows.lanes.relay import Relay
from workflows.lanes.taking import LaneTaken, open_key, take
from workflows.operations.note_lane import tell_admins

log = structlog.get_logger(__name__)

LOOK_GAP_S = 0.05
MAX_LANES = 800
TAKEN_AT_ONCE, MOST_TAKEN = 2, 25
"""Takings at once, and lanes of each: the first lanes of a hundred start while the last are still being taken."""
FEW_LANES, WAIT_A_LANE_S, WAIT_MOST_S = 16, 0.001, 0.1
"""Whoever has more than a few lanes lets others take the next ones first, and waits for them the longer the more it has."""


class Fleet:
    """Lives on the runner's loop; made there. Once it is `draining`, no lane is taken and nothing is stamped."""

    def __init__(self, lanes: dict[uuid.UUID, LaneHolder], desk: Desk) -> None:
        self.lanes = lanes
        self.drivers: dict[uuid.UUID, LaneDriver] = {}
        self.draining = False
        self.relay = Relay(self._hear, self._hear_of_free)
        self._desk = desk
        self._claims = Claims(desk)
        self._acquiring: set[uuid.UUID] = set()
        self._to_take: deque[uuid.UUID] = deque()
        self._taking = 0
        self._rung: set[uuid.UUID] = set()  # while they were being taken
        self._offered: set[uuid.UUID] = set()  # by others: of those that are to be taken
        self._to_look: set[uuid.UUID] = set()
        self._looking = False

    # --- coming and going ----------------------------------------------------------------------------------------------

    def poke(self, lane_id: uuid.UUID) -> None:
        """There is work in this lane: look at it again, or try to lease it."""
        lane = self.lanes.get(lane_id)
        if lane is not None:
            lane.turns.poke()
            self.drivers[lane_id].wake()
            self._to_look.add(lane_id)  # a run that is new to this lane is known only then
            if not self._looking:
                self._looking = True
                self._desk.spawn(self._look_at_poked())
        elif lane_id in self._acquiring:
            self._rung.add(lane_id)
        elif len(self.lanes) + len(self._acquiring) < MAX_LANES and not self.draining:
            self._acquiring.add(lane_id)
            self._to_take.append(lane_id)
            self._begin_taking()

    def _hear(self, lane_id: uuid.UUID) -> None:
        """Another runner says that there is work in a lane which it does not hold."""
        if lane_id in self.lanes:
            self.poke(lane_id)

    def _hear_of_free(self, lane_id: uuid.UUID) -> None:
        """Another runner says that nobody holds a lane which has work."""
        was_known = lane_id in self._acquiring
        self.poke(lane_id)
        if not was_known and lane_id in self._acquiring:
            self._offered.add(lane_id)

    def _begin_taking(self) -> None:
        if self._to_take and self._taking < TAKEN_AT_ONCE and not self.draining:
            self._taking += 1
            self._desk.spawn(self._take())

    async def _take(self) -> None:
        lane_ids = [self._to_take.popleft() for _ in range(min(MOST_TAKEN, len(self._to_take)))]
        late: list[uuid.UUID] = []
        try:
            await self._let_others_first(lane_ids)
            if not self.draining:
                late = await self._take_together(lane_ids)
        finally:
            self._acquiring.difference_update(lane_ids)
            self._offered.difference_update(lane_ids)
            self._taking -= 1
            rung = self._rung.intersection(lane_ids)
            self._rung -= rung
            for lane_id in {*late, *rung}:  # what came meanwhile may not have been seen
                self.poke(lane_id)
            self._begin_taking()

    async def _let_others_first(self, lane_ids: list[uuid.UUID]) -> None:
        """Whoever is rung or sweeps first would have all lanes that come to life together, and be the slower for it."""
        offered = self._offered.intersection(lane_ids)
        has = len(self.lanes) + len(self._acquiring) - len(self._to_take) - len(lane_ids)
        if has < FEW_LANES:
            return
        others = len(offered)
        if mine := [lane_id for lane_id in lane_ids if lane_id not in offered]:
            with suppress(TimeoutError):  # a Redis that says nothing is not waited for
                others += await asyncio.wait_for(self.relay.offer(mine), WAIT_MOST_S) - 1
        if others > 0:
            await asyncio.sleep(min(WAIT_MOST_S, WAIT_A_LANE_S * has))

    async def _take_together(self, lane_ids: list[uuid.UUID]) -> list[uuid.UUID]:
        """Take these lanes; returns those for which there was no time."""
        if not lane_ids:
            return []
        now = time.monotonic()
        try:
            taken, late = await self._desk.database(take, lane_ids, self._desk.holder)
            if taken and self.draining:  # they came in after the end had begun
                back = [lane.facts.id for lane in taken]
                await self._desk.database(lease.release, back, self._desk.holder)
                await self.relay.offer(back)
                return []
        except DatabaseError as error:
            log.warning("lanes_not_taken", lanes=len(lane_ids), error=type(error).__name__)
            if len(lane_ids) > 1 and not salvage.is_away(error):
                for lane_id in lane_ids:
                    await self._take_together([lane_id])
            return []
        for leased in taken:
            try:
                self._hold(leased, leased_at=now)
            except Exception:  # its lease lapses; what is wrong with one lane is no other's
                log.exception("lane_not_held", lane_id=str(leased.facts.id))
        for lane_id in set(lane_ids).difference(self.lanes, late):
            self.relay.ask(lane_id)
        return late

    def _hold(self, leased: LaneTaken, *, leased_at: float) -> None:
        lane_id = leased.facts.id
        lane = LaneHolder(
            leased.facts,
            leased.secret,
            leased.base_url,
            leased.foreign,
            quiet_s=leased.quiet_s,
            leased_at=leased_at,
            now=time.monotonic(),
        )
        lane.refresh(leased.facts, leased.runs, time.monotonic())
        self.lanes[lane_id] = lane
        self.drivers[lane_id] = LaneDriver(
            lane, self._desk, self._claims, let_go=self._let_go, look_again=self.look
        )
        self.drivers[lane_id].start()
        if leased.paused_now:
            self._desk.spawn(self._desk.aside(tell_admins, lane_id, leased.facts.tenant_id))

    async def _let_go(self, lane: LaneHolder) -> None:
        """Release an idle lane; work that came in between is noticed once more."""
        lane_id = lane.facts.id
        self._forget(lane_id)
        try:
            report = lane.report(time.monotonic(), last=True)
            await self._desk.database(lease.renew, self._desk.holder, [report])
            await self._desk.database(lease.release, [lane_id], self._desk.holder)
            if await self._desk.database(sweep.has_work, lane_id):
                self.poke(lane_id)
        except DatabaseError as error:
            log.warning("lane_not_released", lane_id=str(lane_id), error=type(error).__name__)

    def _forget(self, lane_id: uuid.UUID) -> None:
        self.lanes.pop(lane_id, None)
        self.drivers.pop(lane_id, None)

    def lose(self, lane: LaneHolder) -> None:
        """The lane is somebody else's now: calls in flight are still settled, each under its own fence."""
        self.drivers[lane.facts.id].stop()
        self._forget(lane.facts.id)

    async def _open_anew(self, lane: LaneHolder) -> None:
        """Its key is another now, or was entered again. Calls under way go on with the one that they were sent with."""
        lane_id = lane.facts.id
        try:
            key = await self._desk.database(open_key, lane.facts)
        except DatabaseError as error:
            log.warning("key_not_opened", lane_id=str(lane_id), error=type(error).__name__)
            return
        finally:
            lane.opening = False
        if self.lanes.get(lane_id) is not lane:
            return
        if key is None:  # whoever has the master key may take the lane
            at_rest = _at_rest(lane)
            self.lose(lane)
            if at_rest:  # else the lease lapses: what is under way would count against the next holder
                self._desk.spawn(self._let_go(lane))
            return
        lane.take_key(key.secret, key.base_url, key.key_hash, time.monotonic())
        if key.paused_now:
            self._desk.spawn(self._desk.aside(tell_admins, lane_id, lane.facts.tenant_id))
        await self.look([lane_id])
        if driver := self.drivers.get(lane_id):
            driver.wake()

    async def give_back(self, *, at_rest: bool) -> None:
        """Release the lanes that have nothing under way, or all of them, at the end of their runner's life; whoever has
        room takes those with work. Leases that could not be given back lapse by themselves."""
        lanes = [lane for lane in self.lanes.values() if not at_rest or _at_rest(lane)]
        if not lanes:
            return
        for lane in lanes:
            self._forget(lane.facts.id)
        reports = [lane.report(time.monotonic(), last=True) for lane in lanes]
        busy = [lane.facts for lane in lanes if lane.turns.runs]
        try:
            await self._desk.database(lease.renew, self._desk.holder, reports)
            await self._desk.database(lease.release, [lane.facts.id for lane in lanes], self._desk.holder)
        except DatabaseError as error:
            log.warning("lanes_not_given_back", error=type(error).__name__)
        else:
            await self.relay.offer(facts.id for facts in busy)
            await self._desk.aside(ring.ring, [(facts.tenant_id, facts.id) for facts in busy])

    # --- looking -------------------------------------------------------------------------------------------------------

    async def _look_at_poked(self) -> None:
        """One look at a time, at all lanes that were poked since the one before: a flush pokes many. With many runs a look
        takes long; half of the time is for others.
        """
        try:
            while self._to_look:
                lane_ids = list(self._to_look)
                self._to_look.clear()
                began = time.monotonic()
                await self.look(lane_ids, poked=True)
                await asyncio.sleep(max(LOOK_GAP_S, time.monotonic() - began))
        finally:
            self._looking = False

    async def look(self, lane_ids: list[uuid.UUID], *, poked: bool = False) -> None:
        """See changed limits, pauses and runs of these lanes; where they were `poked`, nothing of runs that have work at
        hand."""
        asked_at = time.monotonic()
        known = {
            lane_id: set(self.lanes[lane_id].turns.runs) for lane_id in lane_ids if lane_id in self.lanes
        }
        left = {lane_id: self.lanes[lane_id].turns.with_work() for lane_id in known} if poked else {}
        pairs = [(lane_id, run_id) for lane_id, runs in left.items() for run_id in runs]
        try:
            facts, found = await self._desk.database(lease.look_again, lane_ids, known, pairs)
        except DatabaseError as error:
            log.warning("look_failed", error=type(error).__name__)
            return
        for lane_id, fact in facts.items():
            lane = self.lanes.get(lane_id)
            if lane is None:
                continue
            unread = lane.secret is None and not fact.paused
            if unread or fact.key_hash != lane.facts.key_hash:
                if not lane.opening:
                    lane.opening = True
                    self._desk.spawn(self._open_anew(lane))
                continue
            whole = not left.get(lane_id)
            if lane.refresh(fact, found[lane_id], time.monotonic(), asked_at=asked_at, whole=whole):
                self.drivers[lane_id].wake()


def _at_rest(lane: LaneHolder) -> bool:
    return not (lane.in_flight or lane.stamped or lane.stamping or lane.settling)
