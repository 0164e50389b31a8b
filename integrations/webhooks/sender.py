"""Sends what is due: one event loop in a thread of its own, in each worker process. Any number of processes may do it.

A delivery is held by a lease on its row (claim.py), sent once, and settled (settle.py). What a sender that died held is due
again when the lease ends, under the same id: nothing is lost, some things may come twice. Receivers that are slow or away
hold their own few places; nobody waits for them.
"""

import asyncio
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
import uvloop
from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from integrations.transport import Pool
from integrations.webhooks import claim, notices, outbox, settle, strays
from integrations.webhooks.claim import Job
from integrations.webhooks.lanes import Lanes
from integrations.webhooks.names import Names
from integrations.webhooks.post import TIMEOUT_S, Attempted, post
from tenants.ids import uuid7

log = structlog.get_logger(__name__)

T = TypeVar("T")
AT_ONCE = 1_000
AT_ONCE_FAILING = 500
"""Of them; the rest is kept for lanes that do not fail."""
LOOK_EVERY_S = 0.5
GATHER_S = 0.02
LEASE_S = TIMEOUT_S + 15.0
RETRY_DATABASE_S = 1.0
NOTICES_EVERY_S = 30.0


class Sender:
    """The sender of one process. `start` and `stop` are called from another thread."""

    def __init__(
        self,
        *,
        on_broken: Callable[[], None] | None = None,
        timeout_s: float = TIMEOUT_S,
        lease_s: float = LEASE_S,
    ) -> None:
        self._on_broken, self._timeout_s, self._lease_s = on_broken, timeout_s, lease_s
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._stopping = False
        self._due: asyncio.Event
        self._done: asyncio.Event
        self._attempts: list[Attempted] = []
        self._sending: dict[asyncio.Task[None], Job] = {}
        self._lanes = Lanes()

    def start(self) -> None:
        self._thread = threading.Thread(
            target=lambda: uvloop.run(self._main()), name="webhook-sender", daemon=True
        )
        self._thread.start()
        self._ready.wait(10)
        outbox.hosts_sender(self.wake)

    def wake(self) -> None:
        """Something may be due."""
        if self._loop is not None and not self._stopping:
            self._loop.call_soon_threadsafe(self._due.set)

    def begin_stop(self) -> None:
        """Take nothing more; `stop` waits for what is under way."""
        outbox.hosts_sender(None)
        self._stopping = True
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._due.set)

    def stop(self) -> None:
        """Settle what is under way within the time of an attempt, then end."""
        self.begin_stop()
        if self._thread is not None:
            self._thread.join(self._timeout_s + 10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due, self._done = asyncio.Event(), asyncio.Event()
        self._pool = Pool()
        self._names = Names()
        # What was sent is written down beside what is taken next.
        self._taking = ThreadPoolExecutor(1, thread_name_prefix="webhook-take")
        self._settling = ThreadPoolExecutor(1, thread_name_prefix="webhook-settle")
        # Mails take as long as the mail server does.
        self._telling = ThreadPoolExecutor(1, thread_name_prefix="webhook-tell")
        beside = [self._loop.create_task(loop()) for loop in (self._settle_loop, self._notice_loop)]
        self._ready.set()
        try:
            await self._take_loop(beside)
            await self._drain()
        except Exception:  # whatever it is, a process that sends nothing any more must not look alive
            log.exception("webhook_sender_broken")
            if self._on_broken is not None:
                self._on_broken()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self._pool.close()
            self._names.close()
            for thread in (self._taking, self._settling):
                await self._database(thread, connections.close_all)
                thread.shutdown(wait=False)
            self._telling.submit(connections.close_all)  # once its mail is sent; nobody waits for that
            self._telling.shutdown(wait=False)

    async def _take_loop(self, beside: list[asyncio.Task[None]]) -> None:
        while not self._stopping:
            for task in beside:
                if task.done():
                    task.result()
            self._due.clear()
            if not await self._take():
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._due.wait()
                except TimeoutError:
                    pass
            if self._sending:  # each place that gets free is news; a few of them are worth a look
                await asyncio.sleep(GATHER_S)

    async def _take(self) -> int:
        """Take what is due and start sending it; returns how many."""
        room = AT_ONCE - len(self._sending)
        if room <= 0:
            return 0
        before = time.monotonic()
        under_way = list(self._sending.values())
        failing, resting = self._lanes.failing, self._lanes.resting
        try:
            jobs = await self._database(
                self._taking,
                lambda: claim.take(
                    uuid7(),
                    lanes=Counter(job.lane for job in under_way),
                    tenants=Counter(job.tenant_id for job in under_way),
                    room=room,
                    lease_s=self._lease_s,
                    failing=failing,
                    resting=resting,
                    room_failing=AT_ONCE_FAILING - sum(job.failing for job in under_way),
                ),
            )
        except DatabaseError as error:
            log.warning("webhooks_not_taken", error=type(error).__name__)
            return 0
        if time.monotonic() - before > self._lease_s - self._timeout_s:
            return 0  # held for so long on the way that another may have them by now
        for job in jobs:
            task = asyncio.create_task(self._send(job))
            self._sending[task] = job
            task.add_done_callback(self._sent)
        return len(jobs)

    async def _send(self, job: Job) -> None:
        attempted = await post(self._pool, self._names, job, timeout=self._timeout_s)
        self._lanes.note(attempted)
        self._attempts.append(attempted)  # the list of now: the one of before is being settled
        job.keys = []
        self._done.set()

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "webhook_not_sent", error=repr(error)[:200]
            )  # a fault of ours: it is due again after its lease
        self._due.set()

    async def _settle_loop(self) -> None:
        while True:
            await self._done.wait()
            await asyncio.sleep(GATHER_S)
            self._done.clear()
            await self._settle()

    async def _settle(self) -> None:
        attempts, self._attempts = self._attempts, []
        if not attempts:
            return
        again = await self._database(self._settling, lambda: settle.settle(attempts))
        if again:
            self._attempts = again + self._attempts
            await asyncio.sleep(RETRY_DATABASE_S)
            self._done.set()

    async def _notice_loop(self) -> None:
        while True:
            await asyncio.sleep(NOTICES_EVERY_S)
            try:
                await self._database(self._telling, lambda: notices.tell(enough=lambda: self._stopping))
                await self._database(self._telling, lambda: strays.put_right(enough=lambda: self._stopping))
            except Exception:  # the next time, and nothing that is sent waits for it
                log.exception("webhook_notices_not_sent")

    async def _drain(self) -> None:
        deadline = time.monotonic() + self._timeout_s + 5
        while (self._sending or self._attempts) and time.monotonic() < deadline:
            self._done.set()
            await asyncio.sleep(0.05)

    async def _database(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        def run() -> T:
            close_old_connections()
            return work()

        assert self._loop is not None
        return await self._loop.run_in_executor(thread, run)


def send_due(
    *, timeout_s: float = TIMEOUT_S, lease_s: float = LEASE_S, holder: uuid.UUID | None = None
) -> int:
    """Send what is due now in this thread and settle it, once around; returns how many attempts. For tests and commands."""

    async def work(jobs: list[Job]) -> list[Attempted]:
        pool, names = Pool(), Names()
        try:
            return list(await asyncio.gather(*(post(pool, names, job, timeout=timeout_s) for job in jobs)))
        finally:
            pool.close()
            names.close()

    jobs = claim.take(holder or uuid7(), lanes={}, tenants={}, room=AT_ONCE, lease_s=lease_s)
    attempts = asyncio.run(work(jobs))
    settle.settle(attempts)
    return len(attempts)
