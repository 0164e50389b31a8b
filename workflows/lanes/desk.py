"""What the parts of a runner share: the outbox of the next flush, the HTTP client, and threads for the database."""

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from integrations.http import VendorClient
from workflows.lanes.work import Settlement, Work

log = structlog.get_logger(__name__)

T = TypeVar("T")
DATABASE_THREADS = 3
# How often a thread asks whether its connection is still good: not at each use, which would be a round trip more.
CHECK_EVERY_S = 1.0
CLOSE_S = 20.0  # a thread may be in the middle of a flush
_thread = threading.local()


class Desk:
    """Lives on the runner's loop; made there."""

    def __init__(self, holder: uuid.UUID, client: VendorClient) -> None:
        self.holder, self.client = holder, client
        self.loop = asyncio.get_running_loop()
        self.dirty = asyncio.Event()
        self.settlements: list[Settlement] = []
        self.unstamps: list[Work] = []
        self.calls: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="lane-db")
        # A flush waits for nobody: a hundred lanes' claims may stand before the others.
        self._flush_pool = ThreadPoolExecutor(1, thread_name_prefix="lane-flush")
        # The lease has a thread and a connection of its own: a long flush must not cost it.
        self._lease_pool = ThreadPoolExecutor(1, thread_name_prefix="lane-lease")

    def settle(self, settlement: Settlement) -> None:
        """Write this with the next flush."""
        self.settlements.append(settlement)
        self.dirty.set()

    def unstamp(self, works: list[Work]) -> None:
        """Put these starts back with the next flush."""
        if works:
            self.unstamps.extend(works)
            self.dirty.set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside the loops, and keep it from being collected."""
        task = self.loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_failed", what=task.get_coro().__qualname__, exc_info=error)  # type: ignore[union-attr]

    async def database(self, work: Callable[..., T], *args: Any) -> T:
        """Run database work on a thread. Raises django.db.Error; the broken connection is gone by then."""
        return await self.loop.run_in_executor(self._pool, _with_fresh_connection, work, args)

    async def flush_database(self, work: Callable[..., T], *args: Any) -> T:
        """As `database`, on the thread that is kept for flushes."""
        return await self.loop.run_in_executor(self._flush_pool, _with_fresh_connection, work, args)

    async def lease_database(self, work: Callable[..., T], *args: Any) -> T:
        """As `database`, on the thread that is kept for leases."""
        return await self.loop.run_in_executor(self._lease_pool, _with_fresh_connection, work, args)

    async def aside(self, work: Callable[..., object], *args: Any) -> None:
        """Do something slow (a mail) on a thread of its own; what goes wrong in it is logged and no more."""

        def run() -> None:
            try:
                work(*args)
            except Exception as error:  # noqa: BLE001 - nothing of the engine's depends on it
                log.warning("aside_failed", what=work.__name__, error=type(error).__name__)
            finally:
                connections.close_all()

        await asyncio.to_thread(run)

    def close(self) -> None:
        for pool in (self._pool, self._flush_pool, self._lease_pool):
            pool.shutdown(wait=False)

    async def close_connections(self) -> None:
        """Close the threads' connections, when what runs beside the loops is over: it would open new ones."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=CLOSE_S)
        everyone = threading.Barrier(DATABASE_THREADS)  # so that each thread gets one of the calls

        def close() -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                everyone.wait(CLOSE_S)
            connections.close_all()

        calls = [self.loop.run_in_executor(self._pool, close) for _ in range(DATABASE_THREADS)]
        kept = (self._flush_pool, self._lease_pool)
        calls += [self.loop.run_in_executor(pool, connections.close_all) for pool in kept]
        await asyncio.gather(*calls)


def _with_fresh_connection(work: Callable[..., T], args: tuple[Any, ...]) -> T:
    now = time.monotonic()
    if now - getattr(_thread, "checked_at", 0.0) > CHECK_EVERY_S:
        _thread.checked_at = now
        close_old_connections()
    try:
        return work(*args)
    except DatabaseError:
        connections.close_all()
        raise
