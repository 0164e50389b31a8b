"""A burst, and its whole drain: 500 runs a second for ten seconds from 100 tenants, each with one key at one vendor that
takes five calls a second, while workers drain it.

The vendor's own journal says how many calls of a key came in any second. How much of its allowance a lane used is the
time that its calls would have taken at exactly the allowed rate, each as soon as it was there, over the time they took.
"""

import os
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db import connections

from bench import stage
from bench.accept import ONE, a_key
from bench.chart import bars, chart
from bench.rig import Lane, a_lane, strict_vendors
from bench.tables import show
from bench.web import put_load, web
from tenants.scope import OPS_ALIAS, ops_scope

# Part of the load, for a look on a machine that is busy with other things.
SHARE = float(os.environ.get("WEIR_BENCH_SHARE", "1"))
RATE, SECONDS, TENANTS, PER_S = 500.0 * SHARE, 10.0, int(100 * SHARE), 5
WORKERS = os.cpu_count() or 1
"""One for each core (docs/engine.md)."""
MOST, LEAST_USED = PER_S, 0.97
DRAINED_S = 120.0
CHART = Path(__file__).parent / "results" / "burst.svg"


def measure() -> dict[str, Any]:
    """Send the burst, wait for the end of the drain, judge it, and draw it. Raises SystemExit where a run is lost."""
    with strict_vendors() as vendors:
        lanes = [_lane(vendors) for _ in range(TENANTS)]
        keys = [a_key(lane.tenant_id) for lane in lanes]
        with stage.workers(WORKERS, vendors.url), web() as ours:
            began = time.time()
            sent, ids = put_load(
                ours.port,
                path="/api/v1/runs",
                keys=keys,
                body=ONE,
                rate=RATE,
                seconds=SECONDS,
                connections=256,
                warm=64,
            )
            left = _drain(lanes)
        offset = time.time() - time.monotonic()
        calls = _calls(vendors, lanes, offset)
        seen = vendors.ask("GET", "summary")["prospeo"]
    arrived = _accepted(lanes)
    peaks = {key: _most_in_a_second(times) for key, times in calls.items()}
    used = sorted(_used(arrived[lane.tenant_id], calls[lane.key]) for lane in lanes)
    CHART.parent.mkdir(exist_ok=True)
    CHART.write_text(_draw(list(peaks.values()), used))
    figures = {
        "share_of_the_load": SHARE, "workers": WORKERS,
        "sent": sent["sent"], "statuses": sent["statuses"], "accept_ms": sent["ms"],
        "left_late_ms": sent["left_late_ms"], "accepted": sum(map(len, arrived.values())), "not_drained": left,
        "calls": sum(len(times) for times in calls.values()),
        "drained_after_s": round(max(times[-1] for times in calls.values()) - began, 1),
        "most_in_any_second_of_a_key": max(peaks.values()),
        "over_limit_by_the_vendor": seen["over_limit"],
        "allowance_used_worst_lane": round(used[0], 4),
        "allowance_used_median_lane": round(used[len(used) // 2], 4),
        "chart": str(CHART.relative_to(stage.ROOT)),
    }  # fmt: skip
    show(f"{RATE:g} runs a second for {SECONDS:g} s, {TENANTS} keys at {PER_S} a second", figures)
    if left or figures["calls"] < figures["accepted"] or figures["accepted"] < len(ids):
        raise SystemExit("Runs that were accepted are not drained.")
    return figures


def _lane(vendors: Any) -> Lane:
    lane = a_lane(windows=[{"rate": PER_S, "period": 1}], parallelism=10)
    vendors.limit(lane.key, windows=[{"rate": PER_S, "period": 1}], parallelism=10)
    return lane


def _drain(lanes: Sequence[Lane]) -> int:
    """Wait until all runs of these lanes have ended, answered or not; how many have not in time."""
    deadline = time.monotonic() + DRAINED_S
    left = len(lanes)
    while left and time.monotonic() < deadline:
        with ops_scope("bench"), connections[OPS_ALIAS].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM run WHERE tenant_id = ANY(%s) AND finished_at IS NULL",
                [[lane.tenant_id for lane in lanes]],
            )
            left = int(cursor.fetchone()[0])
        time.sleep(0.5)
    return left


def _calls(vendors: Any, lanes: Sequence[Lane], offset: float) -> dict[str, list[float]]:
    """When the vendor got the questions of each key (Unix time), in order; looks at a balance are told apart."""
    return {
        lane.key: sorted(
            call["mono"] + offset for call in vendors.calls(lane.key) if call["operation"] != "balance"
        )
        for lane in lanes
    }


def _accepted(lanes: Sequence[Lane]) -> dict[uuid.UUID, list[float]]:
    """When the runs of each lane's tenant were accepted (Unix time), in order."""
    with ops_scope("bench"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, extract(epoch FROM created_at)::float FROM run WHERE tenant_id = ANY(%s) ORDER BY 2",
            [[lane.tenant_id for lane in lanes]],
        )
        times = defaultdict(list)
        for tenant_id, at in cursor.fetchall():
            times[tenant_id].append(at)
    return times


def _most_in_a_second(times: Sequence[float]) -> int:
    most = start = 0
    for end, at in enumerate(times):
        while at - times[start] >= 1.0:
            start += 1
        most = max(most, end - start + 1)
    return most


def _used(accepted: Sequence[float], called: Sequence[float]) -> float:
    """The share of its allowance that a lane used while work waited."""
    if not called:
        return 0.0
    ideal = float("-inf")
    for at in accepted:
        ideal = max(at, ideal + 1 / PER_S)
    return (ideal - accepted[0]) / (called[-1] - accepted[0])


def _draw(peaks: Sequence[int], used: Sequence[float]) -> str:
    return chart(
        f"{RATE:g} runs a second for {SECONDS:g} s, {TENANTS} keys at {PER_S} calls a second, the whole drain",
        [
            bars("Most calls of each key in any second, as the vendor got them", sorted(peaks), top=8.0, bound=MOST,
                 label=f"allowed: {MOST}"),
            bars("Share of the allowance that each lane used while work waited", used, low=0.9, top=1.02,
                 bound=LEAST_USED, label=f"wanted: {LEAST_USED:g}"),
        ],
    )  # fmt: skip
