"""The resident lane runner: one event loop, one pooled HTTP client, up to some hundreds of leased lanes.

Database work runs on a few threads with connections of their own, never on the loop; no transaction is open while a
vendor is being called. What the loops do is in holder.py (plain state), settle.py, stamp.py, claim.py and lease.py.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from integrations.http import VendorClient
from integrations.models import Connection
from integrations.queries import base_url
from integrations.vault import Secret, VaultError, open_connection_secret
from tenants.scope import tenant_scope
from workflows.lanes import claim, lease, ring, settle, sweep
from workflows.lanes.holder import IDLE_RELEASE_S, LaneHolder
from workflows.lanes.outcome import Verdict, cached, judge, lost
from workflows.lanes.work import Batch, Flushed, Settlement, Work

log = structlog.get_logger(__name__)
T = TypeVar("T")

DATABASE_THREADS = 4
LOOK_EVERY_S = 0.75
RENEW_EVERY_S = 1.0
SWEEP_EVERY_S = 1.0
BUSY_FLUSH_GAP_S = 0.01
RETRY_DATABASE_S = 0.5
DRAIN_S = 60.0
MAX_LANES = 800


class Runner:
    """Leases lanes, makes their calls, settles them. `start` and `stop` are for the hosting process; `tell` is
    thread-safe."""

    def __init__(self, on_broken: Callable[[], None] | None = None) -> None:
        self.holder = uuid.uuid4()
        self._on_broken = on_broken
        self.lanes: dict[uuid.UUID, LaneHolder] = {}
        self._settlements: list[Settlement] = []
        self._unstamps: list[Work] = []
        self._acquiring: set[uuid.UUID] = set()
        self._drivers: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._wakes: dict[uuid.UUID, asyncio.Event] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._draining = False
        self._pool = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="lane-db")
        # The lease has a thread and a connection of its own: a long flush must not cost it.
        self._lease_pool = ThreadPoolExecutor(1, thread_name_prefix="lane-lease")
        self.last_flush_at = time.monotonic()

    # --- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the loop in a thread of its own, and be told of rings in this process."""
        self._thread = threading.Thread(target=self._run, name="lane-runner", daemon=True)
        self._thread.start()
        self._ready.wait(10)
        ring.hosts_runner(self.tell)

    def stop(self, timeout: float = DRAIN_S) -> None:
        """Send nothing more, settle what is in flight within `timeout` seconds, give the lanes back."""
        ring.hosts_runner(None)
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(self._begin_drain)
        thread.join(timeout + 5)
        self._pool.shutdown(wait=False)
        self._lease_pool.shutdown(wait=False)

    def tell(self, tenant_id: uuid.UUID, lane_id: uuid.UUID) -> None:
        """There is work in this lane. From any thread."""
        if self._loop is not None and not self._draining:
            self._loop.call_soon_threadsafe(self._poke, lane_id)

    def _run(self) -> None:
        asyncio.run(self._main())

    def begin_drain(self) -> None:
        """Send nothing more from now on; `stop` waits for the rest. From any thread."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._draining = True
        for wake in self._wakes.values():
            wake.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._dirty = asyncio.Event()
        async with VendorClient() as client:
            self._client = client
            loops = [
                asyncio.create_task(self._flush_loop()),
                asyncio.create_task(self._renew_loop()),
                asyncio.create_task(self._look_loop()),
                asyncio.create_task(self._sweep_loop()),
            ]
            self._ready.set()
            while not self._draining:
                await asyncio.sleep(0.1)
                for loop in loops:
                    if loop.done():  # a bug of ours: end loudly, the supervisor starts a fresh process
                        log.error("lane_runner_broken", error=repr(loop.exception()))
                        self._draining = True
                        if self._on_broken is not None:
                            self._on_broken()
            await self._drain()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._give_back()

    async def _drain(self) -> None:
        """Calls in flight are finished and settled; what was stamped but not sent goes back."""
        deadline = time.monotonic() + DRAIN_S
        for driver in self._drivers.values():
            driver.cancel()
        while time.monotonic() < deadline:
            for lane in self.lanes.values():
                self._unstamps.extend(lane.stamped)
                lane.stamped.clear()
            self._dirty.set()
            busy = self._calls or self._settlements or self._unstamps
            if not busy and not any(lane.settling or lane.stamping for lane in self.lanes.values()):
                return
            await asyncio.sleep(0.02)

    async def _give_back(self) -> None:
        for lane_id in list(self.lanes):
            try:
                await self._in_thread(lease.release, lane_id, self.holder)
            except DatabaseError:
                return  # the leases lapse by themselves

    async def _in_thread(
        self, work: Callable[..., T], *args: Any, pool: ThreadPoolExecutor | None = None
    ) -> T:
        """Run database work on a thread, with a connection that is dropped when it broke."""

        def run() -> T:
            close_old_connections()
            try:
                return work(*args)
            except DatabaseError:
                connections.close_all()
                raise

        assert self._loop is not None
        return await self._loop.run_in_executor(pool or self._pool, run)

    # --- lanes ---------------------------------------------------------------------------------------------------------

    def _poke(self, lane_id: uuid.UUID) -> None:
        lane = self.lanes.get(lane_id)
        if lane is not None:
            lane.poke()
            self._wake(lane_id)
            # A run that is new to this lane is not known before the next look.
            self._spawn(self._look([lane_id]))
        elif lane_id not in self._acquiring and len(self.lanes) < MAX_LANES and not self._draining:
            self._acquiring.add(lane_id)
            self._spawn(self._acquire(lane_id))

    def _spawn(self, coroutine: Any) -> None:
        assert self._loop is not None
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _wake(self, lane_id: uuid.UUID) -> None:
        if wake := self._wakes.get(lane_id):
            wake.set()

    async def _acquire(self, lane_id: uuid.UUID) -> None:
        try:
            now = time.monotonic()
            taken = await self._in_thread(_acquire, lane_id, self.holder)
            if taken is None:
                return
            facts, foreign, quiet_s, secret, url, runs = taken
            lane = LaneHolder(facts, secret, url, foreign, quiet_s=quiet_s, now=now)
            lane.refresh(facts, runs, now)
            self.lanes[lane_id] = lane
            self._wakes[lane_id] = asyncio.Event()
            assert self._loop is not None
            self._drivers[lane_id] = self._loop.create_task(self._drive(lane))
        except DatabaseError as error:
            log.warning("lane_not_acquired", lane_id=str(lane_id), error=type(error).__name__)
        finally:
            self._acquiring.discard(lane_id)

    async def _drive(self, lane: LaneHolder) -> None:
        """Send what is stamped, as the lane's limits allow; keep it supplied; let it go when it is idle."""
        wake = self._wakes[lane.facts.id]
        while lane.facts.id in self.lanes:
            now = time.monotonic()
            for work in lane.overdue(now):
                self._unstamps.append(work)
                self._dirty.set()
            self._recover_lost(lane, now)
            lane.recover_pace(now)
            if lane.claim_plan(now):
                self._spawn(self._claim(lane))
            if lane.stamp_room(now):
                self._dirty.set()
            at = lane.send_at(now)
            if at is not None and at <= now:
                self._send(lane, now)
                continue
            if await self._let_go_if_idle(lane, now):
                return
            wait = 0.1 if at is None else min(0.1, at - now)
            try:
                await asyncio.wait_for(wake.wait(), max(0.0, wait))
            except TimeoutError:
                pass
            wake.clear()

    async def _let_go_if_idle(self, lane: LaneHolder, now: float) -> bool:
        if lane.has_work() or lane.poked or lane.claiming:
            lane.idle_since = None
            return False
        lane.idle_since = lane.idle_since or now
        if now - lane.idle_since < IDLE_RELEASE_S:
            return False
        self._forget(lane)
        try:
            await self._in_thread(lease.release, lane.facts.id, self.holder)
            if await self._in_thread(sweep.has_work, lane.facts.id):
                self._poke(lane.facts.id)
        except DatabaseError:
            pass  # the lease lapses by itself
        return True

    def _forget(self, lane: LaneHolder) -> None:
        self.lanes.pop(lane.facts.id, None)
        self._wakes.pop(lane.facts.id, None)
        self._drivers.pop(lane.facts.id, None)

    async def _claim(self, lane: LaneHolder) -> None:
        plan = lane.claim_plan(time.monotonic())
        if not plan:
            return
        lane.claiming, lane.poked = True, False
        try:
            found = await self._in_thread(
                claim.claim, lane.facts.tenant_id, lane.facts.id, plan, lane.known()
            )
        except DatabaseError as error:
            log.warning("claim_failed", lane_id=str(lane.facts.id), error=type(error).__name__)
            await asyncio.sleep(RETRY_DATABASE_S)
            return
        finally:
            lane.claiming = False
        for run, works, ended in found:
            for work in works:
                if work.cached_outcome:
                    lane.settling.add(work.id)
                    self._settlements.append(cached(work))
                    self._dirty.set()
            lane.claimed(
                run, [work for work in works if not work.cached_outcome], ended=ended and not lane.poked
            )
        self._wake(lane.facts.id)

    def _recover_lost(self, lane: LaneHolder, now: float) -> None:
        """Steps that another holder stamped and never settled, once their deadline is over."""
        due = [entry for entry, deadline in lane.foreign.items() if deadline <= now]
        if due:
            holders = {entry: lane.foreign_holders[entry] for entry in due}
            for entry in due:
                lane.settling.add(entry)
                del lane.foreign[entry]
            self._spawn(self._settle_lost(lane, holders))

    async def _settle_lost(self, lane: LaneHolder, holders: dict[uuid.UUID, uuid.UUID]) -> None:
        try:
            works = await self._in_thread(
                claim.stamped_by_others, lane.facts.tenant_id, lane.facts.id, list(holders)
            )
        except DatabaseError:
            await asyncio.sleep(RETRY_DATABASE_S)
            for entry in holders:
                lane.settling.discard(entry)
                lane.foreign[entry] = time.monotonic()
            return
        for entry in holders:
            lane.settling.discard(entry)
        for work in works:
            lane.settling.add(work.id)
            self._settlements.append(lost(work, holders[work.id], on_ambiguous=lane.facts.on_ambiguous))
        self._dirty.set()

    # --- calls ---------------------------------------------------------------------------------------------------------

    def _send(self, lane: LaneHolder, now: float) -> None:
        work = lane.stamped.popleft()
        lane.in_flight[work.id] = work
        lane.pacer.started(now, work.operation)
        lane.recent_starts += 1
        assert self._loop is not None
        task = self._loop.create_task(self._call(lane, work, now))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, lane: LaneHolder, work: Work, planned: float) -> None:
        started = time.time()
        assert lane.secret is not None

        def sent(at: float) -> None:
            lane.pacer.sent(planned, at, work.operation)

        result = await self._client.call(
            lane.connector,
            work.operation,
            work.query,
            secret=lane.secret.reveal(),
            base_url=lane.base_url,
            on_sent=sent,
        )
        now = time.monotonic()
        lane.observed(now - planned)
        verdict = judge(work, self.holder, result, started, time.time())
        lane.in_flight.pop(work.id, None)
        lane.settling.add(work.id)
        self._act_on(lane, verdict, now)
        self._settlements.append(verdict.settlement)
        self._dirty.set()
        self._wake(lane.facts.id)

    def _act_on(self, lane: LaneHolder, verdict: Verdict, now: float) -> None:
        if verdict.cooldown_s:
            lane.cool_down(now, verdict.cooldown_s)
        elif verdict.pause:
            lane.cool_down(now, 5.0)  # nothing more is sent while the pause is being written
            reason = verdict.settlement.reason
            self._spawn(self._pause(lane, verdict.pause, reason))
        elif verdict.settlement.outcome in ("hit", "miss"):
            lane.answered_ok = True

    async def _pause(self, lane: LaneHolder, outcome: str, reason: str) -> None:
        try:
            await self._in_thread(lease.pause_for, lane.facts.id, lane.facts.tenant_id, outcome, reason)
        except DatabaseError:
            return  # the next refused key says it again
        await self._look([lane.facts.id])

    # --- the loops -----------------------------------------------------------------------------------------------------

    async def _flush_loop(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            batch = self._collect()
            if not batch:
                continue
            flushed = await self._flush(batch)
            self._apply(batch, flushed)
            self.last_flush_at = time.monotonic()
            if len(self._calls) > 16:
                await asyncio.sleep(BUSY_FLUSH_GAP_S)

    def _collect(self) -> Batch:
        batch = Batch(settlements=self._settlements, unstamps=self._unstamps)
        self._settlements, self._unstamps = [], []
        now = time.monotonic()
        if not self._draining:
            for lane in self.lanes.values():
                starting = lane.take_for_stamping(now)
                for work in starting:
                    worst = lane.connector.worst_credits(work.operation)
                    batch.stamps.append((work, lane.connector.timeout, worst))
                if starting and (starts := lane.starts(now)):
                    batch.starts.append((lane.facts.tenant_id, lane.facts.id, starts))
        return batch

    async def _flush(self, batch: Batch) -> Flushed:
        """Write the batch, however long the database is away: the answers in it were paid for."""
        while True:
            try:
                return await self._in_thread(settle.flush, batch, self.holder)
            except DatabaseError as error:
                log.warning("flush_failed", error=str(error)[:200], settlements=len(batch.settlements))
                batch.retried = True
                await asyncio.sleep(RETRY_DATABASE_S)

    def _apply(self, batch: Batch, flushed: Flushed) -> None:
        now = time.monotonic()
        for settlement in batch.settlements:
            if lane := self.lanes.get(settlement.work.lane_id):
                lane.settling.discard(settlement.work.id)
                if not settlement.leaves_queue and not settlement.again_reason:
                    lane.poke()
        for work in batch.unstamps:
            if lane := self.lanes.get(work.lane_id):
                lane.poke()
        for work, _, _ in batch.stamps:
            lane = self.lanes.get(work.lane_id)
            if lane is None:
                if work.id in flushed.stamped:
                    self._unstamps.append(work)
                    self._dirty.set()
                continue
            lane.stamping.pop(work.id, None)
            if work.id in flushed.stamped:
                work.stamped_at = now
                lane.stamped.append(work)
            self._wake(work.lane_id)
        for lane_id in {lane_id for _, lane_id in flushed.woken}:
            self._poke(lane_id)

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            lanes = list(self.lanes.values())
            if not lanes:
                continue
            before = time.monotonic()
            reports = [lane.report(before) for lane in lanes]
            try:
                held = await self._in_thread(lease.renew, self.holder, reports, pool=self._lease_pool)
            except DatabaseError as error:
                log.warning("lease_not_renewed", error=type(error).__name__)
                continue
            for lane in lanes:
                if lane.facts.id in held:
                    lane.held_until = before + lease.LEASE_S * lease.SAFE_SHARE
                else:
                    self._lose(lane)

    def _lose(self, lane: LaneHolder) -> None:
        """Another holder took the lane over: calls in flight are still settled, each under its own fence."""
        log.warning("lane_lost", lane_id=str(lane.facts.id))
        driver = self._drivers.get(lane.facts.id)
        self._unstamps.extend(lane.stamped)
        lane.stamped.clear()
        self._dirty.set()
        self._forget(lane)
        if driver is not None:
            driver.cancel()

    async def _look_loop(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.lanes:
                await self._look(list(self.lanes))
                healthy = [lane for lane in self.lanes.values() if lane.answered_ok]
                for lane in healthy:
                    lane.answered_ok = False
                if healthy:
                    try:
                        await self._in_thread(lease.note_ok, [lane.facts.connection_id for lane in healthy])
                    except DatabaseError:
                        pass  # told again with the next answer

    async def _look(self, lane_ids: list[uuid.UUID]) -> None:
        try:
            facts, runs = await self._in_thread(lease.look, lane_ids)
        except DatabaseError as error:
            log.warning("look_failed", error=type(error).__name__)
            return
        for lane_id, fact in facts.items():
            lane = self.lanes.get(lane_id)
            if lane is None:
                continue
            if fact.key_hash != lane.facts.key_hash:
                self._lose(lane)  # a new key: leased afresh, with the new secret
                continue
            lane.refresh(fact, runs[lane_id], time.monotonic())
            self._wake(lane_id)

    async def _sweep_loop(self) -> None:
        while True:
            try:
                for tenant_id, lane_id in await self._in_thread(sweep.sweep):
                    self._poke(lane_id)
            except DatabaseError as error:
                log.warning("sweep_failed", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)


def _acquire(lane_id: uuid.UUID, holder: uuid.UUID) -> Any:
    """Lease a lane and read what its holder needs: facts, steps of others, secret, address, active runs."""
    taken = lease.acquire(lane_id, holder)
    if taken is None:
        return None
    facts, foreign, quiet_s = taken
    secret: Secret | None = None
    with tenant_scope(facts.tenant_id):
        connection = Connection.objects.get(pk=facts.connection_id)
        url = base_url(connection)
        try:
            secret = open_connection_secret(connection)
        except VaultError as error:
            log.error("secret_unreadable", lane_id=str(lane_id), error=error.detail)
    if secret is None:
        lease.pause_for(
            lane_id, facts.tenant_id, "auth_failed", "The stored key cannot be opened. Enter it again."
        )
    _, runs = lease.look([lane_id])
    return facts, foreign, quiet_s, secret, url, runs[lane_id]
