"""How many runs a second can be accepted: POST /api/v1/runs at a fixed rate, beside a bare view that inserts one row.

Load generator, web processes, PostgreSQL (with fsync) and Redis share the machine; no worker runs. Every run that was
answered with 202 is looked for in the database afterwards, with all that belongs to it.
"""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg
from django.db import connections
from rich.console import Console

from bench import bare_site
from bench.stage import clear, cpu_of, postgres, redis_server, tenant
from bench.tables import show
from bench.web import Web, put_load, web
from tenants.operations.keys import create_api_key
from tenants.scope import OPS_ALIAS, ops_scope, tenant_scope

RATE, MOST_P99_MS = 500.0, 100.0
SECONDS = float(os.environ.get("WEIR_BENCH_SECONDS", "60"))
MANY = 100
BARE_ENOUGH, SHARE_OF_BARE = 1_250.0, 0.4
"""Where a bare view does less than so many a second, at least this share of it counts in place of RATE."""
RECORDS, MOST_RECORDS_PER_S = 1_000, 20_000.0
BARE_S, LARGE_S = min(10.0, SECONDS), min(20.0, SECONDS)
CONNECTIONS = 64

ONE = {
    "workflow": "email-waterfall",
    "records": [{"first_name": "Ada@@@@@@@@", "last_name": "Lovelace", "domain": "analytical.example"}],
}
LARGE = {
    "workflow": "email-waterfall",
    "records": [
        {"first_name": f"Ada{number}", "last_name": "Lovelace", "domain": f"analytical{number % 50}.example"}
        for number in range(RECORDS)
    ],
}


def measure() -> dict[str, Any]:
    """Everything in turn, with the bare view between; prints tables. Raises SystemExit where a run was lost."""
    console = Console()
    tenants = [tenant(windows=[{"rate": 100, "period": 1}], parallelism=10) for _ in range(MANY)]
    keys = [a_key(one) for one in tenants]
    _bare_table()
    figures: dict[str, Any] = {"rate": RATE, "seconds": SECONDS, "fsync": _fsync()}
    with web() as ours, web("bench.bare_wsgi:application") as bare:
        _warm_up(ours, keys)
        before = _bare(bare, "before")
        figures["one_tenant"] = _accept(ours, keys[:1], "1 tenant")
        between = _bare(bare, "between")
        figures["many_tenants"] = _accept(ours, keys, f"{MANY} tenants")
        after = _bare(bare, "after")
        figures["closed_loop"] = _accept(ours, keys, "closed loop", rate=0, seconds=BARE_S, connections=16)
        figures["large_posts"] = _large(ours, keys)
    for one in tenants:
        clear(one)
    figures["bare_per_s"] = [one["answered_per_s"] for one in (before, between, after)]
    figures["of_bare"] = {
        "one_tenant": round(2 * figures["one_tenant"]["answered_per_s"] / sum(figures["bare_per_s"][:2]), 3),
        "many_tenants": round(
            2 * figures["many_tenants"]["answered_per_s"] / sum(figures["bare_per_s"][1:]), 3
        ),
        "closed_loop": round(figures["closed_loop"]["answered_per_s"] / figures["bare_per_s"][2], 3),
    }
    console.print(f"Of the bare view: {figures['of_bare']}; it did {figures['bare_per_s']} a second")
    return figures


def a_key(tenant_id: uuid.UUID) -> str:
    with tenant_scope(tenant_id):
        return create_api_key(name="Bench", actor="system:bench")[1]


def _accept(
    ours: Web,
    keys: Sequence[str],
    name: str,
    *,
    rate: float = RATE,
    seconds: float = SECONDS,
    connections: int = 256,
) -> dict[str, Any]:
    with _cpu(ours) as cpu:
        result, ids = put_load(
            ours.port, path="/api/v1/runs", keys=keys, body=ONE, rate=rate, seconds=seconds,
            connections=connections, warm=min(connections, CONNECTIONS),
        )  # fmt: skip
    result["cpu_ms_each"] = _each(cpu, result)
    result |= _found(ids, records=1)
    _show(f"POST /runs, {name}", result)
    return result


def _large(ours: Web, keys: Sequence[str]) -> dict[str, Any]:
    with _cpu(ours) as cpu:
        result, ids = put_load(
            ours.port, path="/api/v1/runs", keys=keys[:8], body=LARGE, rate=0, seconds=LARGE_S, connections=4
        )
    result["cpu_ms_each"] = _each(cpu, result)
    result["records_per_s"] = round(len(ids) * RECORDS / result["seconds"], 1)
    result |= _found(ids, records=RECORDS)
    _show(f"POST /runs with {RECORDS:,} records", result)
    return result


def _bare(bare: Web, name: str) -> dict[str, Any]:
    """What the bare view does at most."""
    with _cpu(bare) as cpu:
        result, _ = put_load(
            bare.port, path="/insert", keys=[""], body=ONE, rate=0, seconds=BARE_S, connections=16
        )
    result["cpu_ms_each"] = _each(cpu, result)
    _show(f"A bare view that inserts one row ({name})", result)
    return result


def _warm_up(ours: Web, keys: Sequence[str]) -> None:
    put_load(
        ours.port, path="/api/v1/runs", keys=keys, body=ONE, rate=100, seconds=3, connections=32, warm=32
    )


def _found(ids: Sequence[uuid.UUID], *, records: int) -> dict[str, Any]:
    """How many of these runs are in the database whole: all their records, first steps, ledger entries and events."""
    whole = 0
    with ops_scope("bench"), connections[OPS_ALIAS].cursor() as cursor:
        for start in range(0, len(ids), 1000):
            cursor.execute(
                """SELECT count(*) FROM run r WHERE r.id = ANY(%(ids)s) AND r.total = %(records)s AND r.queued = %(records)s
                   AND (SELECT count(*) FROM record c WHERE c.tenant_id = r.tenant_id AND c.run_id = r.id) = %(records)s
                   AND (SELECT count(*) FROM step_queue q WHERE q.run_id = r.id) = %(records)s
                   AND (SELECT count(*) FROM run_event e WHERE e.tenant_id = r.tenant_id AND e.run_id = r.id) = 1
                   AND EXISTS (SELECT 1 FROM lane_run l WHERE l.run_id = r.id)""",
                {"ids": list(ids[start : start + 1000]), "records": records},
            )
            whole += int(cursor.fetchone()[0])
        cursor.execute("SELECT count(*) FROM billing_usageevent WHERE run_id = ANY(%s)", [list(ids)])
        entries = int(cursor.fetchone()[0])
        cursor.execute(
            "SELECT count(*) FROM tenants_auditevent WHERE verb = 'run.accepted' AND subject_id = ANY(%s)",
            [[str(one) for one in ids]],
        )
        trail = int(cursor.fetchone()[0])
    found = {
        "accepted": len(ids), "in_the_database": whole, "ledger_entries": entries, "in_the_trail": trail,
    }  # fmt: skip
    if found != {
        "accepted": len(ids), "in_the_database": len(ids), "ledger_entries": len(ids) * records,
        "in_the_trail": len(ids),
    }:  # fmt: skip
        raise SystemExit(f"Accepted and not in the database: {found}")
    return found


@contextmanager
def _cpu(ours: Web) -> Iterator[dict[str, float]]:
    """CPU seconds by who used them, once the block is left."""
    who: dict[str, psutil.Process] = {"web": ours.process, "postgres": postgres(), "redis": redis_server()}
    before = {name: cpu_of([process]) for name, process in who.items()}
    used: dict[str, float] = {}
    yield used
    used |= {name: cpu_of([process]) - before[name] for name, process in who.items()}


def _each(cpu: Mapping[str, float], result: Mapping[str, Any]) -> dict[str, float]:
    """CPU milliseconds of each request, by who used them: what a machine that is busy with other things tells too."""
    answered = max(1, sum(n for status, n in result["statuses"].items() if status.isdigit()))
    used = {**cpu, "load": result["cpu_s"]}
    return {who: round(seconds / answered * 1000, 3) for who, seconds in used.items()}


def _show(title: str, result: dict[str, Any]) -> None:
    flat = {name: value for name, value in result.items() if name not in ("samples", "left_late_ms")}
    flat["cpu_ms_each"] = "  ".join(f"{who} {ms:g}" for who, ms in result["cpu_ms_each"].items())
    flat["ms"] = "  ".join(f"{name} {value:g}" for name, value in result["ms"].items())
    if result["left_late_ms"]:
        flat["left late, ms"] = result["left_late_ms"]["p99"]
    show(title, flat)
    if result["samples"]:
        Console().print(result["samples"])


def _bare_table() -> None:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute(bare_site.CREATE)


def _fsync() -> str:
    with psycopg.connect(os.environ["DATABASE_ADMIN_URL"]) as admin:
        row = admin.execute("SHOW fsync").fetchone()
    return str(row[0]) if row else "?"
