"""How exactly, how fairly and how soon lanes are served: the figures of flow control, by real workers on real vendors.

make bench ARGS=fairness
"""

import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.db import connections

from bench import long_run, stage
from bench.people import people
from bench.rig import Lane, Vendors, a_lane, a_tenant, strict_vendors
from bench.tables import show
from tenants.scope import APP_ALIAS, tenant_scope
from workflows.lanes import ring
from workflows.models import Run, Step

RATE, IN_FLIGHT, LATENCY_S, RATE_LANES, RATE_S = 20, 3, 0.1, 3, 75.0
LANES, LANES_PER_TENANT, LANE_PERIOD_S, LANES_S = 1_000, 50, 5.0, 45.0
LARGE, SMALL, SMALL_TIMES = 100_000, 3, 7
CONTACTS = 25
FLOW_CONTACTS, FLOW_TIMES, WAYS = 3_000, 5, 64
FAR_AWAY = [
    {"rate": 100_000, "period": 1},
    {"rate": 1_000_000, "period": 60},
    {"rate": 1_000_000, "period": 86_400},
]


def measure() -> dict[str, Any]:
    """Every figure by name; each group is printed when it is there."""
    figures: dict[str, Any] = {}
    for title, part in (
        ("20 a second, 3 in flight, 100 ms", rate_used),
        ("1,000 lanes by two workers", many_lanes),
        ("A small run behind a large one", small_behind_large),
        ("One contact on an idle system", one_contact),
        ("Flow control on and off", on_and_off),
        ("Claims after a million steps", long_run.measure),
    ):
        found = part()
        show(title, found)
        figures |= found
    return figures


# --- the allowed rate -----------------------------------------------------------------------------------------------------


def rate_used() -> dict[str, Any]:
    """The share of the allowed rate that the worst lane used while work waited, through two hand-overs as at a deploy."""
    with strict_vendors() as vendors, stage.workers(2, vendors.url) as crew:
        vendors.ask(
            "POST", "faults", {"provider": "prospeo", "kind": "slow", "rate": 1.0, "seconds": LATENCY_S}
        )
        lanes = [_strict_lane(vendors, RATE, 1.0) for _ in range(RATE_LANES)]
        for lane in lanes:
            stage.send(lane.tenant_id, people(1_000, "Rate"))
            stage.send(lane.tenant_id, people(1_000, "More"))
        time.sleep(RATE_S / 3)
        crew[0].terminate()
        with stage.workers(1, vendors.url):
            time.sleep(RATE_S / 3)
            crew[1].terminate()
            time.sleep(RATE_S / 3)
            calls = [vendors.calls(lane.key) for lane in lanes]
            peak = max(state["max_in_flight"] for state in vendors.ask("GET", "summary").values())
    for lane in lanes:
        lane.clear()
    used = []
    for one in calls:
        times = sorted(call["mono"] for call in one)
        used.append((len(times) - 1) / (times[-1] - times[0]) / RATE)
    return {
        "allowed_rate_used_worst_lane": round(min(used), 4),
        "allowed_rate_used_best_lane": round(max(used), 4),
        "calls_over_limit": sum(call["over_limit"] for one in calls for call in one),
        "most_in_flight": peak,
        "hand_overs": 2,
    }


def _strict_lane(vendors: Vendors, rate: int, period: float, tenant_id: uuid.UUID | None = None) -> Lane:
    limits = {"windows": [{"rate": rate, "period": period}], "parallelism": IN_FLIGHT}
    lane = a_lane(tenant_id, **limits)
    vendors.limit(lane.key, **limits)
    return lane


# --- many lanes -----------------------------------------------------------------------------------------------------------


def many_lanes() -> dict[str, Any]:
    """Jain's index of the calls that equal lanes got, all of them with more work than they may start."""
    calls_each = round(LANES_S / LANE_PERIOD_S) + 4
    with strict_vendors() as vendors:
        lanes: list[Lane] = []
        for _ in range(LANES // LANES_PER_TENANT):
            tenant_id = a_tenant()
            lanes += [_strict_lane(vendors, 1, LANE_PERIOD_S, tenant_id) for _ in range(LANES_PER_TENANT)]
        for number, lane in enumerate(lanes):
            lane.queue(lane.run(), people(calls_each, f"Lane{number}x"))
        with stage.workers(2, vendors.url) as crew:
            ring.ring((lane.tenant_id, lane.lane_id) for lane in lanes)
            began = time.monotonic()
            while (
                len({call["key_hint"] for call in vendors.calls()}) < LANES and time.monotonic() < began + 120
            ):
                time.sleep(1)
            all_after = time.monotonic() - began
            since = time.monotonic()
            cpu = stage.cpu_of(crew)
            time.sleep(LANES_S)
            cpu = (stage.cpu_of(crew) - cpu) / LANES_S
            calls = [call for call in vendors.calls() if call["mono"] >= since]
            threads = [process.num_threads() for process in crew]
        for lane in lanes:
            lane.clear()
    got = Counter({lane.key[-4:]: 0 for lane in lanes})
    # Balances are asked for beside the lanes, and of all that an earlier bench left in the database.
    got.update(
        call["key_hint"] for call in calls if call["operation"] != "balance" and call["key_hint"] in got
    )
    counts = list(got.values())
    return {
        "lanes": len(counts),
        "jain_index": round(sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts)), 5),
        "calls_per_lane_least": min(counts),
        "calls_per_lane_most": max(counts),
        "allowed_rate_used": round(sum(counts) / (LANES_S / LANE_PERIOD_S * len(counts)), 4),
        "calls_over_limit_1000_lanes": sum(call["over_limit"] for call in calls),
        "all_lanes_started_after_s": round(all_after, 1),
        "worker_cpu_cores": round(cpu, 2),
        "threads_per_worker": max(threads),
    }


# --- small behind large ---------------------------------------------------------------------------------------------------


def small_behind_large() -> dict[str, Any]:
    """Seconds from accepting three rows to their first call, behind 100,000 rows of the same tenant and key."""
    period = 1.0
    with strict_vendors() as vendors:
        lane = _strict_lane(vendors, 10, period)
        lane.queue(lane.run(), people(LARGE, "Large"))
        with stage.workers(2, vendors.url):
            ring.ring([(lane.tenant_id, lane.lane_id)])
            _until_called(vendors, lane)
            delays = []
            for number in range(SMALL_TIMES):
                began = time.time()
                run = stage.send(lane.tenant_id, people(SMALL, f"Small{number}x"))
                first = _first_call(run, lane)
                delays.append(first - began)
                time.sleep(0.7)
        lane.clear()
    return {
        "first_call_median_s": round(statistics.median(delays), 3),
        "first_call_worst_s": round(max(delays), 3),
        "period_s": period,
        "rows_ahead": LARGE,
    }


def _until_called(vendors: Vendors, lane: Lane) -> None:
    while len(vendors.calls(lane.key)) < 20:
        time.sleep(0.2)


def _first_call(run: Run, lane: Lane) -> float:
    """When the first call of a run was started (Unix time)."""
    while True:
        with tenant_scope(lane.tenant_id), connections[APP_ALIAS].cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM min(started_at))::float FROM step WHERE run_id = %s", [run.pk]
            )
            found = cursor.fetchone()[0]
        if found is not None:
            return float(found)
        time.sleep(0.02)


# --- one contact ----------------------------------------------------------------------------------------------------------


def one_contact() -> dict[str, Any]:
    """Milliseconds from accept to the first call and to the final state, of single contacts on a system at rest: with the
    lanes at hand since a moment ago, and with lanes that nobody holds."""
    with stage.vendors() as url, stage.workers(1, url):
        tenant_id = stage.tenant(windows=[], parallelism=10)
        _one_at_a_time(tenant_id, "Warm", 5, 0.3)
        held = _one_at_a_time(tenant_id, "Held", CONTACTS, 0.3)
        free = _one_at_a_time(tenant_id, "Free", CONTACTS, 5.0)
    return {
        "idle_to_first_call_ms": round(free[0], 1),
        "idle_to_final_state_ms": round(free[1], 1),
        "held_to_first_call_ms": round(held[0], 1),
        "held_to_final_state_ms": round(held[1], 1),
    }


def _one_at_a_time(tenant_id: uuid.UUID, tag: str, count: int, pause_s: float) -> tuple[float, float]:
    first, final = [], []
    for number in range(count):
        began = time.time()
        run = stage.send(tenant_id, people(1, f"{tag}{number}x"))
        stage.wait_for_all(tenant_id)
        with tenant_scope(tenant_id):
            ended = Run.objects.get(pk=run.pk).finished_at
            started = min(step.started_at for step in Step.objects.filter(run_id=run.pk) if step.started_at)
        assert ended is not None
        first.append(started.timestamp() - began)
        final.append(ended.timestamp() - began)
        time.sleep(pause_s)
    return statistics.median(first) * 1000, statistics.median(final) * 1000


# --- what flow control costs ----------------------------------------------------------------------------------------------


def on_and_off() -> dict[str, Any]:
    """Contacts a second without any window, and with windows that are far away: medians; and the median of what the second
    cost in each turn, since a machine's own speed changes between turns by more than that."""
    with stage.vendors() as url, stage.workers(2, url):
        sides: dict[str, Callable[[], uuid.UUID]] = {
            "off": lambda: stage.tenant(windows=[], parallelism=WAYS),
            "on": lambda: stage.tenant(windows=FAR_AWAY, parallelism=WAYS),
        }
        found: dict[str, list[float]] = {side: [] for side in sides}
        for time_ in range(FLOW_TIMES + 1):
            for side in sorted(sides, reverse=bool(time_ % 2)):
                tenant_id = sides[side]()
                crowd = people(FLOW_CONTACTS, f"Flow{side}{time_}x")
                began = time.perf_counter()
                for start in range(0, len(crowd), 1_000):
                    stage.send(tenant_id, crowd[start : start + 1_000])
                stage.wait_for_all(tenant_id)
                found[side].append(len(crowd) / (time.perf_counter() - began))
    off, on = (statistics.median(found[side][1:]) for side in ("off", "on"))
    costs = [
        1 - with_flow / without for without, with_flow in zip(found["off"][1:], found["on"][1:], strict=True)
    ]
    return {
        "contacts_per_s_flow_off": round(off, 1),
        "contacts_per_s_flow_on": round(on, 1),
        "flow_control_costs": round(statistics.median(costs), 4),
    }
