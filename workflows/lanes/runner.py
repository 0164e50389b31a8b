"""The resident lane runner: one event loop, one pooled HTTP client, up to some hundreds of leased lanes.

Database work runs on a few threads with connections of their own, never on the loop; no transaction is open while a
vendor is being called. Its lanes are in fleet.py, each driven by driver.py; what is done again and again, in flusher.py
and loops.py.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

import structlog
import uvloop

from integrations.http import VendorClient
from workflows.lanes import ring
from workflows.lanes.desk import Desk
from workflows.lanes.fleet import Fleet
from workflows.lanes.flusher import Flusher
from workflows.lanes.holder import LaneHolder
from workflows.lanes.loops import Loops

log = structlog.get_logger(__name__)

DRAIN_S = 60.0
TURN_S = 0.1


class Runner:
    """Leases lanes, makes their calls, settles them. `start`, `begin_drain`, `stop` and `tell` may be called from any
    thread; everything else happens on the loop. `on_broken` is called when a loop died of a bug. `turns` grows for as
    long as the loop turns."""

    def __init__(self, on_broken: Callable[[], None] | None = None) -> None:
        self.holder = uuid.uuid4()
        self.lanes: dict[uuid.UUID, LaneHolder] = {}
        self._on_broken = on_broken
        self.turns = 0
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._desk: Desk
        self._fleet: Fleet

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
        if self._loop is not None and not self._fleet.draining:
            self._loop.call_soon_threadsafe(self._fleet.poke, lane_id)

    def _drain_now(self) -> None:
        self._fleet.draining = True
        self._drain_due.set()

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self._drain_due = asyncio.Event()
        async with VendorClient() as client:
            self._desk = Desk(self.holder, client)
            self._fleet = Fleet(self.lanes, self._desk)
            self._loop = loop
            relay = self._fleet.relay
            loops = [
                loop.create_task(running())
                for running in (
                    Flusher(self._fleet, self._desk).run,
                    *Loops(self._fleet, self._desk).all,
                    relay.speak,
                    relay.listen,
                )
            ]
            self._ready.set()
            while not self._fleet.draining:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._drain_due.wait(), TURN_S)
                self.turns += 1
                self._notice_broken(loops)
            await self._drain()
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._fleet.give_back(at_rest=False)
            await self._desk.close_connections()
            await relay.close()  # what ran beside the loops may have spoken over it
            self._desk.close()

    def _notice_broken(self, loops: list[asyncio.Task[None]]) -> None:
        died = [loop.exception() for loop in loops if loop.done() and not loop.cancelled()]
        for error in (*died, *(driver.broken for driver in self._fleet.drivers.values())):
            if error is not None:
                log.error("lane_runner_broken", error=repr(error))
                self._drain_now()
                if self._on_broken is not None:
                    self._on_broken()

    async def _drain(self) -> None:
        """Calls in flight are finished and settled; what was stamped but not sent goes back."""
        deadline = time.monotonic() + DRAIN_S
        desk = self._desk
        while time.monotonic() < deadline:
            for driver in self._fleet.drivers.values():
                driver.stop()
            desk.dirty.set()
            # One slow vendor's calls hold up its own lane alone.
            await self._fleet.give_back(at_rest=True)
            if not (self.lanes or desk.calls or desk.settlements or desk.unstamps):
                return
            await asyncio.sleep(0.02)
