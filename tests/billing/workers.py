"""Workers that meter and handle events: processes that may be killed at any moment, in a time that jumps."""

import fcntl
import itertools
import multiprocessing
import os
import time
import traceback
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

from django.db import connections

from billing import stripe_gateway, stripe_silence, tasks
from tenants.errors import WeirError
from tests.billing.stripe_rig import Rig

FORK = multiprocessing.get_context("fork")
GLANCE_S = 0.002
SELDOM, SELDOM_EVERY = (tasks.catch_up, tasks.compare_usage), 50
PAUSE = timedelta(milliseconds=50)
"""After calls without an answer: between its jumps the time of these workers is the real one."""


class Gate:
    """Whoever works is inside. `closed` waits until nobody is and lets nobody in: a clock that jumps by hours would make a
    request that is under way hours old. What a killed process held, the system opens."""

    def __init__(self, path) -> None:
        self._path = path
        self._path.touch()
        self._shut = FORK.Value("b", 0, lock=False)

    @contextmanager
    def inside(self):
        while self._shut.value:
            time.sleep(GLANCE_S)
        with self._path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @contextmanager
    def closed(self):
        self._shut.value = 1
        try:
            with self._path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        finally:
            self._shut.value = 0


class SharedRig(Rig):
    """A rig whose time its workers see; it goes on while they stand still."""

    def __init__(self, double, folder) -> None:
        self._shared = FORK.Value("q", 0, lock=False)
        self.gate = Gate(folder / "gate")
        self.workers = Workers(self)
        super().__init__(double)

    @property
    def elapsed(self):
        return self._shared.value

    @elapsed.setter
    def elapsed(self, seconds):
        self._shared.value = seconds

    def advance(self, seconds):
        with self.gate.closed():
            super().advance(seconds)

    def buy(self, *args, **kwargs):
        with mock.patch.object(stripe_silence, "PAUSE", PAUSE):
            return super().buy(*args, **kwargs)


class Workers:
    """`killed`: how many were; `broken`: how often a task ended as no task may."""

    def __init__(self, rig) -> None:
        self._rig = rig
        self._running: list[Any] = []
        self._broken = FORK.Value("q", 0, lock=False)
        self.killed = 0

    @property
    def broken(self):
        return self._broken.value

    @contextmanager
    def running(self, number):
        """So many at once, each one killed in the end."""
        try:
            self._running += [self._begin() for _ in range(number)]
            yield
        finally:
            for process in self._running:
                _end(process)
            self._running.clear()

    def kill(self, chance):
        """End one of them, wherever it is, and begin another."""
        place = chance.randrange(len(self._running))
        _end(self._running[place])
        self.killed += 1
        self._running[place] = self._begin()

    def _begin(self):
        process = FORK.Process(target=_work, args=(self._rig, self._broken), daemon=True)
        process.start()
        return process


def _end(process):
    process.kill()
    process.join()


def _work(rig, broken):
    """What the beat has the workers do, again and again."""
    kept = [connection.connection for connection in connections.all(initialized_only=True)]
    for connection in connections.all(initialized_only=True):
        connection.connection = None  # the parent's
    stripe_gateway._client.cache_clear()
    stripe_silence.PAUSE = PAUSE
    with rig.clock():
        for turn in itertools.count(os.getpid()):
            with rig.gate.inside():
                for task in (
                    tasks.meter,
                    tasks.sweep,
                    *(SELDOM if turn % SELDOM_EVERY == 0 else ()),
                ):
                    try:
                        task()
                    except WeirError:
                        pass  # the next beat does it
                    except Exception:  # noqa: BLE001 - counted, and no test passes with one
                        broken.value += 1
                        traceback.print_exc()
    assert kept is not None
