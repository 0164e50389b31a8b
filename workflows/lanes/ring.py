"""Telling the engine that a lane has work. A lost message costs at most one sweep, never the work.

A process that hosts a runner tells it directly; every other one puts a message on the broker. Messages carry ids alone.
"""

import time
import uuid
from collections.abc import Callable, Iterable
from typing import ClassVar

from django.db import transaction

from tenants.doorbell import send
from tenants.failpoints import reach
from tenants.scope import APP_ALIAS
from workflows.lanes.bell import Bell

RING_LANE = "workflows.tasks.ring_lane"
RING_LANES = "workflows.tasks.ring_lanes"
FILL_RUN = "workflows.tasks.fill_run"
PURGE = "workflows.tasks.purge_expired"
PURGE_EVERY_S = 3600.0
BY_THE_CLOCK = {"billing.tasks.sweep": 20.0, "billing.tasks.meter": 60.0, "billing.tasks.catch_up": 900.0}
"""What beat has done, and whoever sweeps where there is no beat: how often, in seconds."""


class _Process:
    """Who is told in this process; nobody outside a worker."""

    tell: Callable[[uuid.UUID, uuid.UUID], None] | None = None
    bell: Bell | None = None
    purge_at = 0.0  # monotonic
    clock: ClassVar[dict[str, float]] = {}  # task -> when it is rung for next


def hosts_runner(tell: Callable[[uuid.UUID, uuid.UUID], None] | None) -> None:
    """Register (or, with None, remove) the runner of this process."""
    _Process.tell = staticmethod(tell) if tell else None


def gather() -> None:
    """From now on this process puts the rings of many requests into one message; for web processes."""
    _Process.bell = Bell(_send_many)


def ring(lanes: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Ring each (tenant, lane)."""
    if _Process.tell is None and _Process.bell is not None:
        _Process.bell.ring(lanes)
        return
    for tenant_id, lane_id in lanes:
        if _Process.tell is not None:
            _Process.tell(tenant_id, lane_id)
        else:
            _send(RING_LANE, tenant_id, lane_id)


def ring_here(tenant_id: uuid.UUID, lane_id: uuid.UUID) -> None:
    """A ring has arrived in this process: hand it to the runner, if there is one (the sweep finds the lane if not)."""
    if _Process.tell is not None:
        _Process.tell(tenant_id, lane_id)


def ring_after_commit(lanes: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Ring when the open transaction has committed; never when it rolls back."""
    wanted = sorted(set(lanes))
    if wanted:
        transaction.on_commit(lambda: _ring_now(wanted), using=APP_ALIAS)


def _ring_now(lanes: list[tuple[uuid.UUID, uuid.UUID]]) -> None:
    reach("ring.due")
    ring(lanes)


def ring_fill_after_commit(tenant_id: uuid.UUID, run_id: uuid.UUID) -> None:
    """Have the rows of an upload become records, when the open transaction has committed."""
    transaction.on_commit(lambda: _send(FILL_RUN, tenant_id, run_id), using=APP_ALIAS)


def ring_fill(tenant_id: uuid.UUID, run_id: uuid.UUID) -> None:
    """Have the rows of an upload become records, now."""
    _send(FILL_RUN, tenant_id, run_id)


def ring_purge_if_due() -> None:
    """Have what is past its time deleted, now and then: whoever sweeps rings, so that it needs no beat."""
    now = time.monotonic()
    if _Process.purge_at == 0.0:  # a worker that has just started has better things to do
        _Process.purge_at = now + PURGE_EVERY_S / 10
    if now >= _Process.purge_at:
        _Process.purge_at = now + PURGE_EVERY_S
        send(PURGE)


def ring_by_the_clock() -> None:
    """Ring for what is to be done again and again, each in its own time."""
    now = time.monotonic()
    for task, every in BY_THE_CLOCK.items():
        if now >= _Process.clock.setdefault(task, now + every / 4):
            _Process.clock[task] = now + every
            send(task)


def _send(task: str, tenant_id: uuid.UUID, subject: uuid.UUID) -> None:
    send(task, str(tenant_id), str(subject))


def _send_many(lanes: list[tuple[uuid.UUID, uuid.UUID]]) -> None:
    send(RING_LANES, [[str(tenant_id), str(lane_id)] for tenant_id, lane_id in lanes])
