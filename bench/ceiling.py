"""The orchestration ceiling: a waterfall over vendors that answer at once, beside a bare loop of the same calls.

Workers are real Celery workers with their lane runners; PostgreSQL has fsync on; everything is on this machine.
"""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

from bench import naive, stage
from bench.people import people
from bench.tables import show

CONTACTS, WAYS, ROUNDS = 10_000, 64, 3
WORKERS = 1  # as in the Procfile; a second one shares the same two cores, and makes smaller flushes
NAIVE_CONTACTS = 500
SLOW_S, SLOW_CONTACTS = 0.2, 3_000


def measure() -> dict[str, Any]:
    """Alternating rounds of bare loop and engine; medians and the ratio of each pair."""
    rounds = []
    with stage.vendors() as url, stage.workers(WORKERS, url) as processes:
        _engine(processes, 1_000)  # connections, caches and plans are warm
        own = _bare(url, CONTACTS, "--own")
        a_task_per_step = naive.measure(url, NAIVE_CONTACTS)
        for _ in range(ROUNDS):
            bare = _bare(url, CONTACTS)
            rounds.append((bare, _engine(processes, CONTACTS)))
    with stage.vendors(latency=SLOW_S) as url, stage.workers(1, url) as processes:
        _engine(processes, 200)
        slow_bare = _bare(url, SLOW_CONTACTS, "--per-vendor")
        slow = _engine(processes, SLOW_CONTACTS)
    middle = {key: statistics.median(engine[key] for _, engine in rounds) for key in rounds[0][1]}
    figures = {
        "contacts": CONTACTS,
        "workers": WORKERS,
        "bare_loop_contacts_per_s": round(statistics.median(bare["contacts_per_s"] for bare, _ in rounds), 1),
        "bare_loop_cpu_s_per_1000": round(statistics.median(bare["cpu_s"] for bare, _ in rounds) * 1000 / CONTACTS, 3),
        "bare_loop_with_our_client_contacts_per_s": round(own["contacts_per_s"], 1),
        "bare_loop_with_our_client_cpu_s_per_1000": round(own["cpu_s"] * 1000 / CONTACTS, 3),
        "a_celery_task_per_step_contacts_per_s": round(a_task_per_step, 1),
        "engine_contacts_per_s": round(middle["contacts_per_s"], 1),
        "engine_of_bare_loop": round(
            statistics.median(engine["contacts_per_s"] / bare["contacts_per_s"] for bare, engine in rounds), 3
        ),
        "cpu_s_per_1000_contacts": round(middle["workers"] + middle["postgres"] + middle["redis"], 3),
        "of_which_workers": round(middle["workers"], 3),
        "of_which_postgres": round(middle["postgres"], 3),
        "of_which_redis": round(middle["redis"], 3),
        "slow_vendors_bare_loop_contacts_per_s": round(slow_bare["contacts_per_s"], 1),
        "slow_vendors_engine_contacts_per_s": round(slow["contacts_per_s"], 1),
        "slow_vendors_engine_of_bare_loop": round(slow["contacts_per_s"] / slow_bare["contacts_per_s"], 3),
    }  # fmt: skip
    show("Orchestration ceiling", figures)
    return figures


def _bare(url: str, contacts: int, *options: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.bare", url, str(contacts), "--ways", str(WAYS), *options]
    told = subprocess.run(command, cwd=stage.ROOT, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(told.stdout)
    return result


def _engine(processes: list[Any], contacts: int) -> dict[str, float]:
    """Contacts a second from the first accept to the last record, and CPU seconds per 1,000 contacts by part."""
    tenant_id = stage.tenant(windows=[], parallelism=WAYS)
    parts = {"workers": processes, "postgres": [stage.postgres()], "redis": [stage.redis_server()]}
    before = {name: stage.cpu_of(part) for name, part in parts.items()}
    began = time.perf_counter()
    everyone = people(contacts, "Engine")
    for start in range(0, contacts, 1_000):
        stage.send(tenant_id, everyone[start : start + 1_000])
    stage.wait_for_all(tenant_id)
    took = time.perf_counter() - began
    used = {name: (stage.cpu_of(part) - before[name]) * 1000 / contacts for name, part in parts.items()}
    return {"contacts_per_s": contacts / took, **used}
