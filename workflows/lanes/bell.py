"""Rings of a process that accepts much: what came together goes in one message, some milliseconds after the last one.

A message of its own for each request would cost more than the request's own statements. The more rings there are, the
longer the next message waits: a lane that has just been rung for needs no second ring that soon.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable

import structlog

GATHER_S, LONGEST_S = 0.02, 0.1
"""The next message waits so long for each ring of this one, and so long at most."""
MOST = 500
"""Lanes in a message."""

Lane = tuple[uuid.UUID, uuid.UUID]
"""(tenant, lane)"""
log = structlog.get_logger(__name__)


class Bell:
    """Hands what is rung to `send`, many at a time, from a thread of its own that starts with the first ring.

    A ring after silence goes out at once. One that comes while a message is sent goes with the next: it is never taken
    for one that was sent before it.
    """

    def __init__(self, send: Callable[[list[Lane]], None]) -> None:
        self._send = send
        self._due: set[Lane] = set()
        self._rings = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def ring(self, lanes: Iterable[Lane]) -> None:
        with self._lock:
            self._due.update(lanes)
            self._rings += 1
            if self._thread is None or not self._thread.is_alive():  # a fork has none
                self._thread = threading.Thread(target=self._go_round, name="bell", daemon=True)
                self._thread.start()
        self._wake.set()

    def _go_round(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                due, self._due = sorted(self._due), set()
                rings, self._rings = self._rings, 0
            for start in range(0, len(due), MOST):
                try:
                    self._send(due[start : start + MOST])
                except Exception:  # a sweep finds these lanes; the next ones are to be told all the same
                    log.exception("rings_not_sent", lanes=len(due))
            time.sleep(min(GATHER_S * rings, LONGEST_S))
