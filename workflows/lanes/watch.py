"""Whether this worker works, not just lives: its runner's loop turns, and what waits in its queues is taken.

A worker that is found stuck ends, and whoever started it starts a fresh one; its leases lapse as those of any dead
worker. While all is well a file is touched, for a supervisor that sees what a frozen process cannot see of itself.
"""

import faulthandler
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from celery import current_app
from celery.signals import task_received
from celery.worker import state
from kombu.exceptions import KombuError

from workflows.lanes.runner import Runner

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
QUEUES_EVERY = 3  # looks
STUCK_LOOKS = 15
"""So many looks in a row at a loop that has not turned. Counted, not timed: a process that was frozen has not looked."""
DEAF_S = 45.0
"""For so long there was always a message, a thread was free, and nothing was received."""
STUCK_CODE = 71


class Watch(threading.Thread):
    """Looks at one runner and at the Celery worker in the same process. `touched` is the file; None touches none."""

    def __init__(self, runner: Runner, worker: Any, touched: Path | None) -> None:
        super().__init__(name="lane-watch", daemon=True)
        self._runner, self._worker, self._touched = runner, worker, touched
        self._done = threading.Event()
        self._turns, self._still = -1, 0
        self._received = self._received_before = 0
        self._deaf_looks = 0

    def run(self) -> None:
        task_received.connect(self._on_received, weak=False, dispatch_uid="weir_watch")
        looks = 0
        while not self._done.wait(LOOK_EVERY_S):
            looks += 1
            why = self._still_loop() or (self._deaf() if looks % QUEUES_EVERY == 0 else "")
            if self._done.is_set():
                return
            if why:
                self._end(why)
            self._touch()

    def stop(self) -> None:
        """The worker is leaving by itself."""
        self._done.set()

    def _on_received(self, **kwargs: Any) -> None:
        self._received += 1

    def _still_loop(self) -> str:
        turns, self._turns = self._turns, self._runner.turns
        self._still = self._still + 1 if turns == self._turns else 0
        return "the runner's loop does not turn" if self._still >= STUCK_LOOKS else ""

    def _deaf(self) -> str:
        """Messages wait, and this worker, with threads to spare, takes none. A broker that is away is not its fault."""
        received, self._received_before = self._received_before, self._received
        spare = len(state.active_requests) < self._worker.concurrency
        if received != self._received or not spare or not _messages_wait():
            self._deaf_looks = 0
            return ""
        self._deaf_looks += 1
        waited = self._deaf_looks * QUEUES_EVERY * LOOK_EVERY_S
        return "messages wait and none is taken" if waited >= DEAF_S else ""

    def _touch(self) -> None:
        if self._touched is not None:
            with suppress(OSError):
                self._touched.touch()

    def _end(self, why: str) -> None:
        log.error("worker_stuck", why=why)
        faulthandler.dump_traceback()
        os._exit(STUCK_CODE)


def _messages_wait() -> bool:
    """Whether any queue that this worker serves has a message; no when the broker does not say."""
    with current_app.connection_for_write() as connection:
        try:
            return any(_length(connection, name) for name in current_app.amqp.queues.consume_from)
        except (KombuError, OSError, *connection.connection_errors):
            return False


def _length(connection: Any, queue: str) -> int:
    try:
        return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:  # there is no such queue, which is how Redis has an empty one
        return 0


def touched_file(folder: Path, node: str) -> Path | None:
    """The file of the worker with this node name (`worker-1@host`); None where it cannot be kept."""
    alive = folder / "run" / "alive"
    try:
        alive.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return alive / node.partition("@")[0]
