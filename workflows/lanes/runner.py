"""The resident lane runner: one event loop, one pooled HTTP client, up to some hundreds of leased lanes.

Database work runs on a few threads with connections of their own, never on the loop; no transaction is open while a
vendor is being called. A lane is driven by driver.py; what it knows is in holder.py; what is written, in settle.py.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable

import structlog
import uvloop
from django.db import Error as DatabaseError

from integrations.http import VendorClient
from workflows.lanes import balance, lease, ring, salvage, settle, sweep
from workflows.lanes.desk import Desk
from workflows.lanes.doubt import worst_of
from workflows.lanes.driver import RETRY_DATABASE_S, LaneDriver
from workflows.lanes.holder import LaneHolder
from workflows.lanes.outcome import suppressed
from workflows.lanes.relay import Relay
from workflows.lanes.taking import take
from workflows.lanes.work import Batch, Flushed, Work
from workflows.operations.note_lane import tell_admins, tell_low_balance

log = structlog.get_logger(__name__)

LOOK_EVERY_S, LOOK_GAP_S = 0.75, 0.05
RENEW_EVERY_S = 1.0
SWEEP_EVERY_S = 1.0
BALANCE_EVERY_S = 20.0
# With many calls in flight a short breath gathers more of their answers into one transaction.
BUSY_CALLS, BUSY_FLUSH_GAP_S = 16, 0.03
DRAIN_S = 60.0
MAX_LANES = 800


class Runner:
    """Leases lanes, makes their calls, settles them. `start`, `begin_drain`, `stop` and `tell` may be called from any
    thread; everything else happens on the loop. `on_broken` is called when a loop died of a bug. `turns` grows for as
    long as the loop turns."""

    def __init__(self, on_broken: Callable[[], None] | None = None) -> None:
        self.holder = uuid.uuid4()
        self.lanes: dict[uuid.UUID, LaneHolder] = {}
        self._drivers: dict[uuid.UUID, LaneDriver] = {}
        self._acquiring: set[uuid.UUID] = set()
        self._to_look: set[uuid.UUID] = set()
        self._looking = False
        self._on_broken = on_broken
        self._draining = False
        self.turns = 0
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._desk: Desk
        self._relay: Relay

    # --- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the loop in a thread of its own, and be told of rings in this process."""
        self._thread = threading.Thread(
            target=lambda: uvloop.run(self._main()), name="lane-runner", daemon=True
        )
        self._thread.start()
        self._ready.wait(10)
        ring.hosts_runner(self.tell)

    def begin_drain(self) -> None:
        """Send nothing more from now on; `stop` waits for the rest."""
        ring.hosts_runner(None)
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._drain_now)

    def stop(self) -> None:
        """Settle what is in flight within the longest call's time, give the lanes back."""
        self.begin_drain()
        if self._thread is not None:
            self._thread.join(DRAIN_S + 5)

    def tell(self, tenant_id: uuid.UUID, lane_id: uuid.UUID) -> None:
        """There is work in this lane."""
        if self._loop is not None and not self._draining:
            self._loop.call_soon_threadsafe(self._poke, lane_id)

    def _drain_now(self) -> None:
        self._draining = True

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with VendorClient() as client:
            self._desk = Desk(self.holder, client)
            self._relay = Relay(self._hear)
            loops = [
                self._loop.create_task(loop())
                for loop in (
                    self._flush_loop,
                    self._renew_loop,
                    self._look_loop,
                    self._sweep_loop,
                    self._balance_loop,
                    self._relay.speak,
                    self._relay.listen,
                )
            ]
            self._ready.set()
            while not self._draining:
                await asyncio.sleep(0.1)
                self.turns += 1
                self._notice_broken(loops)
            await self._drain()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._give_back()
            await self._relay.close()
            await self._desk.close_connections()
            self._desk.close()

    def _notice_broken(self, loops: list[asyncio.Task[None]]) -> None:
        died = [loop.exception() for loop in loops if loop.done() and not loop.cancelled()]
        for error in (*died, *(driver.broken for driver in self._drivers.values())):
            if error is not None:
                log.error("lane_runner_broken", error=repr(error))
                self._draining = True
                if self._on_broken is not None:
                    self._on_broken()

    async def _drain(self) -> None:
        """Calls in flight are finished and settled; what was stamped but not sent goes back."""
        deadline = time.monotonic() + DRAIN_S
        desk = self._desk
        while time.monotonic() < deadline:
            for driver in self._drivers.values():
                driver.stop()
            desk.dirty.set()
            unwritten = desk.calls or desk.settlements or desk.unstamps
            if not unwritten and not any(lane.settling or lane.stamping for lane in self.lanes.values()):
                return
            await asyncio.sleep(0.02)

    async def _give_back(self) -> None:
        now = time.monotonic()
        lanes = list(self.lanes.values())
        try:
            if lanes:
                reports = [lane.report(now, last=True) for lane in lanes]
                await self._desk.database(lease.renew, self.holder, reports)
            for lane in lanes:
                await self._desk.database(lease.release, lane.facts.id, self.holder)
            await self._desk.aside(
                ring.ring, [(lane.facts.tenant_id, lane.facts.id) for lane in lanes if lane.runs]
            )
        except DatabaseError as error:
            log.warning("lanes_not_given_back", error=type(error).__name__)  # the leases lapse by themselves

    # --- lanes ---------------------------------------------------------------------------------------------------------

    def _poke(self, lane_id: uuid.UUID) -> None:
        lane = self.lanes.get(lane_id)
        if lane is not None:
            lane.poke()
            self._drivers[lane_id].wake()
            self._to_look.add(lane_id)  # a run that is new to this lane is known only then
            if not self._looking:
                self._looking = True
                self._desk.spawn(self._look_at_poked())
        elif lane_id not in self._acquiring and len(self.lanes) < MAX_LANES and not self._draining:
            self._acquiring.add(lane_id)
            self._desk.spawn(self._acquire(lane_id))

    def _hear(self, lane_id: uuid.UUID) -> None:
        """Another runner says that there is work in a lane which it does not hold."""
        if lane_id in self.lanes:
            self._poke(lane_id)

    async def _acquire(self, lane_id: uuid.UUID) -> None:
        now = time.monotonic()
        try:
            leased = await self._desk.database(take, lane_id, self.holder)
        except DatabaseError as error:
            log.warning("lane_not_acquired", lane_id=str(lane_id), error=type(error).__name__)
            return
        finally:
            self._acquiring.discard(lane_id)
        if leased is None:
            self._relay.ask(lane_id)
            return
        lane = LaneHolder(
            leased.facts,
            leased.secret,
            leased.base_url,
            leased.foreign,
            quiet_s=leased.quiet_s,
            leased_at=now,
            now=time.monotonic(),
        )
        lane.refresh(leased.facts, leased.runs, time.monotonic())
        self.lanes[lane_id] = lane
        self._drivers[lane_id] = LaneDriver(lane, self._desk, let_go=self._let_go, look_again=self._look)
        self._drivers[lane_id].start()
        if leased.paused_now:
            self._desk.spawn(self._desk.aside(tell_admins, lane_id, leased.facts.tenant_id))

    async def _let_go(self, lane: LaneHolder) -> None:
        """Release an idle lane; work that came in between is noticed once more."""
        lane_id = lane.facts.id
        self._forget(lane_id)
        try:
            report = lane.report(time.monotonic(), last=True)
            await self._desk.database(lease.renew, self.holder, [report])
            await self._desk.database(lease.release, lane_id, self.holder)
            if await self._desk.database(sweep.has_work, lane_id):
                self._poke(lane_id)
        except DatabaseError as error:
            log.warning("lane_not_released", lane_id=str(lane_id), error=type(error).__name__)

    def _forget(self, lane_id: uuid.UUID) -> None:
        self.lanes.pop(lane_id, None)
        self._drivers.pop(lane_id, None)

    def _lose(self, lane: LaneHolder) -> None:
        """The lane is somebody else's now: calls in flight are still settled, each under its own fence."""
        self._drivers[lane.facts.id].stop()
        self._forget(lane.facts.id)

    def _take_anew(self, lane: LaneHolder) -> None:
        """Its key is another now, or was entered again: whoever leases the lane next opens it."""
        at_rest = not (lane.in_flight or lane.stamped or lane.stamping or lane.settling)
        self._lose(lane)
        if at_rest:  # else the lease lapses: what is under way would count against the next holder
            self._desk.spawn(self._let_go(lane))

    # --- the loops -----------------------------------------------------------------------------------------------------

    async def _flush_loop(self) -> None:
        desk = self._desk
        while True:
            await desk.dirty.wait()
            desk.dirty.clear()
            batch = self._collect()
            if batch:
                self._apply(batch, await self._flush(batch))
                if len(desk.calls) > BUSY_CALLS:
                    await asyncio.sleep(BUSY_FLUSH_GAP_S)

    def _collect(self) -> Batch:
        desk = self._desk
        batch = Batch(settlements=desk.settlements, unstamps=desk.unstamps)
        desk.settlements, desk.unstamps = [], []
        now = time.monotonic()
        lanes = [] if self._draining else list(self.lanes.values())
        suspect = next((lane for lane in lanes if lane.suspect_in_hand()), None)
        for lane in lanes:
            starting = lane.take_for_stamping(now, suspect_elsewhere=suspect is not None)
            if suspect is None and lane.suspect_in_hand():
                suspect = lane
            for work in starting:
                worst = 0 if work.job else worst_of(work, lane.connector)
                batch.stamps.append((work, lane.connector.timeout, worst))
            if starting and (starts := lane.starts(now)):
                batch.starts.append((lane.facts.tenant_id, lane.facts.id, starts))
        return batch

    async def _flush(self, batch: Batch) -> Flushed:
        """Write the batch, however long the database is away: the answers in it were paid for."""
        write = settle.flush
        while True:
            try:
                return await self._desk.database(write, batch, self.holder)
            except DatabaseError as error:
                if isinstance(error, salvage.REFUSED):
                    write = salvage.flush_apart
                log.warning("flush_failed", error=str(error)[:200], settlements=len(batch.settlements))
                batch.retried = True
                await asyncio.sleep(RETRY_DATABASE_S)

    def _apply(self, batch: Batch, flushed: Flushed) -> None:
        now = time.monotonic()
        for settlement in batch.settlements:
            if lane := self.lanes.get(settlement.work.lane_id):
                lane.settling.discard(settlement.work.id)
                if not settlement.leaves_queue:
                    lane.came_back(settlement.work)
                    if not settlement.again_reason:
                        lane.poke()
        for work in batch.unstamps:
            if lane := self.lanes.get(work.lane_id):
                lane.came_back(work)
                lane.poke()
        for work, _, _ in batch.stamps:
            lane = self.lanes.get(work.lane_id)
            if lane is not None and lane.stamping.pop(work.id, None) is not None:
                self._place(lane, work, flushed, now)
                self._drivers[work.lane_id].wake()
            elif work.id in flushed.stamped:  # the lane went while it was being stamped
                self._desk.unstamp([work])
        for lane_id in {lane_id for _, lane_id in flushed.woken}:
            self._poke(lane_id)

    def _place(self, lane: LaneHolder, work: Work, flushed: Flushed, now: float) -> None:
        """Where a start belongs that was to be stamped."""
        if work.id in flushed.stamped:
            work.stamped_at = now
            lane.stamped.append(work)
        elif work.id in flushed.suppressed:
            lane.settling.add(work.id)
            self._desk.settle(suppressed(work))
        else:
            lane.came_back(work)

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            lanes = list(self.lanes.values())
            if not lanes:
                continue
            before = time.monotonic()
            try:
                reports = [lane.report(before) for lane in lanes]
                held = await self._desk.lease_database(lease.renew, self.holder, reports)
            except DatabaseError as error:
                log.warning("leases_not_renewed", error=type(error).__name__)
                continue
            for lane in lanes:
                if lane.facts.id in held:
                    lane.held_until = before + lease.LEASE_S * lease.SAFE_SHARE
                elif self.lanes.get(lane.facts.id) is lane:
                    log.warning("lane_lost", lane_id=str(lane.facts.id))
                    self._lose(lane)

    async def _look_loop(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.lanes:
                await self._look(list(self.lanes))
                await self._note_healthy()

    async def _look_at_poked(self) -> None:
        """One look at a time, at all lanes that were poked since the one before: a flush pokes many."""
        try:
            while self._to_look:
                lane_ids = list(self._to_look)
                self._to_look.clear()
                await self._look(lane_ids)
                await asyncio.sleep(LOOK_GAP_S)
        finally:
            self._looking = False

    async def _look(self, lane_ids: list[uuid.UUID]) -> None:
        """See changed limits, pauses and runs of these lanes."""
        try:
            facts, runs = await self._desk.database(lease.look, lane_ids)
        except DatabaseError as error:
            log.warning("look_failed", error=type(error).__name__)
            return
        for lane_id, fact in facts.items():
            lane = self.lanes.get(lane_id)
            if lane is None:
                continue
            unread = lane.secret is None and not fact.paused
            if unread or fact.key_hash != lane.facts.key_hash:
                self._take_anew(lane)
                continue
            if lane.refresh(fact, runs[lane_id], time.monotonic()):
                self._drivers[lane_id].wake()

    async def _note_healthy(self) -> None:
        healthy = [lane for lane in self.lanes.values() if lane.answered_ok]
        if not healthy:
            return
        for lane in healthy:
            lane.answered_ok = False
        try:
            await self._desk.database(lease.note_ok, [lane.facts.connection_id for lane in healthy])
        except DatabaseError as error:
            log.warning("health_not_noted", error=type(error).__name__)

    async def _balance_loop(self) -> None:
        """Ask vendors what keys have left: lanes without credits go on by themselves, low balances are told of."""
        desk = self._desk
        while True:
            await asyncio.sleep(BALANCE_EVERY_S)
            try:
                for asked in await desk.database(balance.due, self._that_spent_much()):
                    told = await desk.client.balance(
                        asked.connector, secret=asked.secret, base_url=asked.base_url
                    )
                    await desk.database(balance.answered, asked, told)
                    if await desk.database(balance.low_since, asked):
                        await desk.aside(tell_low_balance, asked.lane_id, asked.tenant_id)
            except DatabaseError as error:
                log.warning("balance_not_asked", error=type(error).__name__)

    def _that_spent_much(self) -> list[uuid.UUID]:
        found = [lane for lane in self.lanes.values() if lane.spent >= balance.MUCH]
        for lane in found:
            lane.spent = 0
        return [lane.facts.id for lane in found]

    async def _sweep_loop(self) -> None:
        while True:
            try:
                for _, lane_id in await self._desk.database(sweep.sweep):
                    self._poke(lane_id)
            except DatabaseError as error:
                log.warning("sweep_failed", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)
