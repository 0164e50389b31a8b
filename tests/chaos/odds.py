"""What a worker process under test is told to do differently: shorter times, a place to die at, a step that is poison.

Applied inside that process before its first connection; the product itself knows nothing of it.
"""

import os
import resource
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import connections

from integrations.connectors import registry
from tenants import failpoints
from workflows.lanes import driver, holder, hurry, lease, loops, stamp, watch

POISON = "Poison"
"""The first name of the person whose step is poison."""


def apply(odds: Mapping[str, Any]) -> None:
    """`lease_s`, `call_s`, `grace_s`, `stalled_s`, `watch_s`: times in seconds; `failpoint`, `nth` and `freeze`; `poison`:
    kill, loop or memory; `memory_mb`: a limit; `database_port`: where PostgreSQL is reached; `stamp_ahead`; `sandbox`: its
    address."""
    _set_times(odds)
    if point := odds.get("failpoint"):
        failpoints.arm(point, nth=odds.get("nth", 1), freeze=odds.get("freeze", False))
    if limit := odds.get("memory_mb"):
        resource.setrlimit(resource.RLIMIT_AS, (limit << 20, limit << 20))
    if kind := odds.get("poison"):
        _poison(kind)
    if port := odds.get("database_port"):
        for alias in connections:
            connections[alias].settings_dict |= {"HOST": "127.0.0.1", "PORT": str(port)}
            settings.DATABASES[alias] |= {"HOST": "127.0.0.1", "PORT": str(port)}
    if url := odds.get("sandbox"):
        settings.SANDBOX_URL = url


def _set_times(odds: Mapping[str, Any]) -> None:
    if seconds := odds.get("lease_s"):
        lease.LEASE_S = holder.LEASE_S = seconds
        loops.RENEW_EVERY_S, loops.SWEEP_EVERY_S = seconds / 5, seconds / 3
        holder.IDLE_RELEASE_S = driver.IDLE_RELEASE_S = seconds
    if seconds := odds.get("call_s"):
        for connector in registry.CONNECTORS.values():
            vendor: Any = type(connector)
            vendor.timeout = seconds
            vendor.bulk = {name: replace(bulk, timeout=seconds) for name, bulk in vendor.bulk.items()}
    if seconds := odds.get("watch_s"):
        watch.LOOK_EVERY_S = seconds / watch.STUCK_LOOKS
    if seconds := odds.get("stalled_s"):
        hurry.STALLED, hurry.WHOLE = f"{seconds:g}s", f"{2 * seconds:g}s"
    if (seconds := odds.get("grace_s")) is not None:
        stamp.STAMP_GRACE_S = seconds
    if ahead := odds.get("stamp_ahead"):
        holder.STAMP_AHEAD = ahead


def _poison(kind: str) -> None:
    for connector in registry.CONNECTORS.values():
        vendor: Any = type(connector)
        vendor.request = _poisoned(vendor.request, kind)


def _poisoned(request: Any, kind: str) -> Any:
    def asked(self: Any, operation: str, query: Mapping[str, Any], secret: str) -> Any:
        if query.get("first_name") == POISON:
            _strike(kind)
        return request(self, operation, query, secret)

    return asked


def _strike(kind: str) -> None:
    match kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "loop":
            while True:
                time.sleep(0)
        case "memory":
            hoard = []
            while True:
                hoard.append(bytearray(8 << 20))
        case _:
            raise ValueError(kind)
