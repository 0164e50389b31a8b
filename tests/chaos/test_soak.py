"""An hour at half load: memory stays where it was, no transaction is left open, nothing gets stuck.

`WEIR_SOAK_MINUTES` says how long, 60 by default.
"""

import os
import time
from collections import defaultdict

import psutil
import psycopg
import pytest

from tests.chaos.whole import ChaosSystem, whole_system

MINUTES = float(os.environ.get("WEIR_SOAK_MINUTES", "60"))
WARM_UP_SHARE = 0.3
LOOK_EVERY_S = 5.0
RATE = 40
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(MINUTES * 60 + 600)]

# Who has been in one transaction at two looks in a row: Weir's logins tell nobody what they ask, so not pg_stat_activity.
_OPEN = """
    SELECT l.pid, l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
"""
_STUCK = """
    SELECT count(*) FROM step_queue WHERE (sent_at IS NOT NULL AND deadline_at < now() - interval '20 seconds')
       OR (not_before IS NULL AND sent_at IS NULL AND ready_at < now() - interval '10 minutes')
"""


def memory(system: ChaosSystem) -> dict[str, int]:
    """Bytes in memory by kind of process, all processes of a kind together."""
    found: dict[str, int] = defaultdict(int)
    kinds = {"worker": ("tests.chaos.worker",), "web": ("granian",), "beat": ("celery", "beat")}
    for kind, words in kinds.items():
        for process in system.children(*words):
            try:
                found[kind] += process.memory_info().rss
            except psutil.Error:
                continue
    return dict(found)


def test_memory_stays_and_nothing_is_left_open() -> None:
    with whole_system(workers=1) as system:
        system.connect_vendors(windows=[{"rate": RATE, "period": 1}], parallelism=20)
        began = time.monotonic()
        end, warm = began + MINUTES * 60, began + MINUTES * 60 * WARM_UP_SHARE
        samples: dict[str, list[tuple[float, int]]] = defaultdict(list)
        before: set[tuple[int, str]] = set()
        left_open, stuck, runs = 0, 0, 0
        with psycopg.connect(system.database, autocommit=True) as admin:
            while (now := time.monotonic()) < end:
                if (system.left() or 0) < RATE * 5:
                    runs += 1
                    system.accept(
                        [
                            {
                                "first_name": f"Run{runs}",
                                "last_name": f"Smith{n}",
                                "domain": f"firm{n}.example",
                            }
                            for n in range(RATE * 10)
                        ]
                    )
                system.call("GET", "/runs")
                now_open = set(admin.execute(_OPEN).fetchall())
                left_open += len(now_open & before)
                before = now_open
                stuck = max(stuck, admin.execute(_STUCK).fetchone()[0])  # type: ignore[index]
                if now > warm:
                    for kind, size in memory(system).items():
                        samples[kind].append((now, size))
                time.sleep(LOOK_EVERY_S)
        growth = {kind: grown(found) for kind, found in samples.items()}
        print(f"\nsoak of {MINUTES:g} min: {runs} runs, growth {growth}, open {left_open}, stuck {stuck}")
        assert left_open == 0
        assert stuck == 0
        assert samples.keys() == {"worker", "web", "beat"}
        assert max(growth.values()) < 0.05, growth


def grown(samples: list[tuple[float, int]]) -> float:
    """From the median of the first quarter to that of the last, as a share."""
    quarter = max(1, len(samples) // 4)
    first, last = (sorted(size for _, size in part) for part in (samples[:quarter], samples[-quarter:]))
    return round(last[len(last) // 2] / first[len(first) // 2] - 1, 4)
