"""The flushes of a runner, one at a time: what to write, writing it, and what follows from it."""

import asyncio
import time
import uuid
from collections.abc import Callable
from functools import partial

import structlog
from django.db import Error as DatabaseError

from workflows.lanes import salvage, settle
from workflows.lanes.desk import Desk
from workflows.lanes.doubt import worst_of
from workflows.lanes.driver import RETRY_DATABASE_S
from workflows.lanes.fleet import Fleet
from workflows.lanes.holder import HORIZON_MOST_S, HORIZON_S, LaneHolder
from workflows.lanes.outcome import suppressed
from workflows.lanes.work import SPARE_S, STAMP_GRACE_S, STAMP_MAX_AGE_S, Batch, Flushed, Work

log = structlog.get_logger(__name__)

# With many calls in flight a short breath gathers more of their answers into one transaction.
BUSY_CALLS, BUSY_FLUSH_GAP_S = 16, 0.03
SLOWEST_S = 20.0  # what a flush took is given to the next one's stamps; no more than this
# With many tenants a breath has some more of them written together. Not for long: their steps wait for it (0034).
TENANT_GAP_S, MOST_GAP_S = 0.001, 0.4
KEPT_S = 2.0  # until a tenant's share that could not be written is tried again


class Flusher:
    """Lives on the runner's loop."""

    def __init__(self, fleet: Fleet, desk: Desk) -> None:
        self._fleet, self._desk = fleet, desk
        self._horizon = HORIZON_S
        self._slowness = 0.0  # seconds that flushes take of late
        self._again = False  # something in the next batch was in one before

    async def run(self) -> None:
        """Write what there is, again and again, until it is cancelled."""
        desk = self._desk
        while True:
            await desk.dirty.wait()
            desk.dirty.clear()
            batch = self._collect()
            if batch:
                began = time.monotonic()
                tenants = len(settle.by_tenant(batch))
                self._apply(batch, await self._flush(batch), began)
                gap = min(MOST_GAP_S, TENANT_GAP_S * (tenants - 1))
                self._look_ahead(time.monotonic() - began, gap)
                if len(desk.calls) > BUSY_CALLS:
                    gap = max(gap, BUSY_FLUSH_GAP_S)
                if gap:
                    await asyncio.sleep(gap)

    def _look_ahead(self, took: float, gap: float) -> None:
        """Lanes keep their rate while flushes are slow (many tenants, a busy database): what may start before the flush
        after the next is over is stamped now. Not further: a small run waits behind what is stamped of a large one."""
        self._slowness = max(took, 0.8 * self._slowness)
        self._horizon = min(HORIZON_MOST_S, max(HORIZON_S, 2 * (took + gap), 0.8 * self._horizon))

    def _collect(self) -> Batch:
        desk = self._desk
        batch = Batch(
            settlements=desk.settlements, unstamps=desk.unstamps, spare_s=min(self._slowness, SLOWEST_S)
        )
        desk.settlements, desk.unstamps = [], []
        now = time.monotonic()
        lanes = [] if self._fleet.draining else list(self._fleet.lanes.values())
        suspect = next((lane for lane in lanes if lane.suspect_in_hand()), None)
        for lane in lanes:
            lane.horizon_s = self._horizon
            starting = lane.take_for_stamping(now, suspect_elsewhere=suspect is not None)
            if suspect is None and lane.suspect_in_hand():
                suspect = lane
            for work in starting:
                worst = 0 if work.job else worst_of(work, lane.connector)
                work.span = lane.call_seconds(work)
                batch.stamps.append((work, work.span + batch.spare_s, worst))
            if starting and (starts := lane.starts(now)):
                batch.starts.append((lane.facts.tenant_id, lane.facts.id, starts))
        return batch

    async def _flush(self, batch: Batch) -> Flushed:
        """Write the batch, however long the database is away: the answers in it were paid for."""
        batch.retried, self._again = self._again, False
        write: Callable[[uuid.UUID], Flushed] = partial(settle.flush, batch)
        while True:
            try:
                return await self._desk.flush_database(write, self._desk.holder)
            except DatabaseError as error:
                log.warning("flush_failed", error=str(error)[:200], settlements=len(batch.settlements))
                batch.retried = True
                if salvage.is_away(error):
                    await asyncio.sleep(RETRY_DATABASE_S)
                else:
                    write = salvage.Apart(batch).write

    def _keep(self, batch: Batch, part: Batch, now: float) -> None:
        """One tenant's share could not be written, and not for what is in it: it is tried again, and stamps nothing until
        then. What it was to stamp is put back then: an earlier try may have been committed, though nobody was told."""
        settlements = {settlement.attempt_id for settlement in part.settlements}
        unstamps = {work.id for work in part.unstamps}
        batch.settlements = [s for s in batch.settlements if s.attempt_id not in settlements]
        batch.unstamps = [work for work in batch.unstamps if work.id not in unstamps]
        starting = {work.id for work, _, _ in part.stamps}
        batch.stamps = [entry for entry in batch.stamps if entry[0].id not in starting]
        for work, _, _ in part.stamps:
            part.unstamps.append(work)
            if lane := self._fleet.lanes.get(work.lane_id):
                if lane.stamping.pop(work.id, None) is not None:
                    lane.settling.add(work.id)
                lane.cooldown_until = max(lane.cooldown_until, now + KEPT_S)
        part.stamps = []
        self._desk.loop.call_later(KEPT_S, self._put_back, part)

    def _put_back(self, part: Batch) -> None:
        self._again = True
        self._desk.settlements.extend(part.settlements)
        self._desk.unstamps.extend(part.unstamps)
        self._desk.dirty.set()

    def _apply(self, batch: Batch, flushed: Flushed, began: float) -> None:
        now = time.monotonic()
        # Deadlines count from the transaction's begin, which was not before this flush's.
        send_by = min(now + STAMP_MAX_AGE_S, began + batch.spare_s + STAMP_GRACE_S - SPARE_S)
        for part in flushed.kept:
            self._keep(batch, part, now)
        for settlement in batch.settlements:
            if lane := self._fleet.lanes.get(settlement.work.lane_id):
                lane.settling.discard(settlement.work.id)
                if not settlement.leaves_queue:
                    lane.turns.came_back(settlement.work, due=not settlement.again_reason)
        for work in batch.unstamps:
            if lane := self._fleet.lanes.get(work.lane_id):
                lane.settling.discard(work.id)
                lane.turns.came_back(work, due=True)
        for work, _, _ in batch.stamps:
            lane = self._fleet.lanes.get(work.lane_id)
            if lane is not None and lane.stamping.pop(work.id, None) is not None:
                self._place(lane, work, flushed, send_by)
                self._fleet.drivers[work.lane_id].wake()
            elif work.id in flushed.stamped:  # the lane went while it was being stamped
                self._desk.unstamp([work])
        for lane_id in {lane_id for _, lane_id in flushed.woken}:
            self._fleet.poke(lane_id)

    def _place(self, lane: LaneHolder, work: Work, flushed: Flushed, send_by: float) -> None:
        """Where a start belongs that was to be stamped."""
        if work.id in flushed.stamped:
            work.send_by = send_by
            lane.stamped.append(work)
        elif work.id in flushed.suppressed:
            lane.settling.add(work.id)
            self._desk.settle(suppressed(work))
        else:
            lane.turns.came_back(work, due=False)
