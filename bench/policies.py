"""What row-level security costs: the hot queries as the app login, beside the same queries past the policies.

Both sides run in turn, in one process, on the same rows: one signs in as weir_app, the other with the app's own grants
and BYPASSRLS. What is timed is PostgreSQL's answer to each statement, without what Python does around it; entering
the scope is a message of its own, the same on both sides, and shown by itself.
"""

import gc
import os
import random
import secrets
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from django.db import connections
from django.db.backends.signals import connection_created
from psycopg import sql
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.seed import PROVIDERS, Seeded, person, seed
from bench.stage import clear
from tenants.scope import tenant_scope
from workflows import queries
from workflows.lanes.claim import claim
from workflows.models import Run
from workflows.operations.accept_run import accept_run, find_workflow

TENANTS, RUNS, WAITING = 40, 300, 500
ROUNDS = 60
AT_ONCE = 100
MOST = 1.05
"""The target: p95 with the policies over p95 without, as the median of the rounds: what a noisy machine does in some of
them moves the p95 of all together by more than the policies do."""
_BESIDE = ("SAVEPOINT", "RELEASE", "ROLLBACK")

T = TypeVar("T")


def claim_steps(one: Seeded) -> None:
    """What a lane's holder reads: the next waiting steps of a run, with their records and known answers."""
    one.waiting.cursor = None
    known = [uuid.uuid4() for _ in range(AT_ONCE)]
    assert (
        len(claim(one.tenant_id, one.lane_id, PROVIDERS[0], [(one.waiting, AT_ONCE)], known)[0][1]) == AT_ONCE
    )


def accept(one: Seeded) -> None:
    """Records, their ledger entries and their first steps, in bulk. Kept: undoing would make psycopg forget what is
    prepared, which web processes never do."""
    with tenant_scope(one.tenant_id):
        accept_run(
            workflow=find_workflow("email-waterfall"), records=[person(number) for number in range(AT_ONCE)],
            actor="system:bench", source=Run.Source.API, livemode=True,
        )  # fmt: skip


def list_runs(one: Seeded) -> None:
    """The newest page of runs, with their workflows."""
    with tenant_scope(one.tenant_id):
        assert len(queries.runs()[:51]) == 51


HOT: dict[str, tuple[Callable[[Seeded], None], int, bool]] = {
    "claim": (claim_steps, 120, False),
    "list runs": (list_runs, 200, True),
    "accept": (accept, 25, True),
}
"""Query -> (what runs it, how often in each round, whether web processes do it). What writes comes last: PostgreSQL
vacuums after it."""


class Side:
    """One login on one connection, on a thread of its own."""

    def __init__(self, user: str = "", password: str = "") -> None:
        self._thread = ThreadPoolExecutor(1)
        self._ms = 0.0
        self.do(lambda: self._sign_in(user, password))

    def do(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def _sign_in(self, user: str, password: str) -> None:
        connection = connections["default"]
        if user:
            connection.settings_dict = {**connection.settings_dict, "USER": user, "PASSWORD": password}
        connection.execute_wrappers.append(self._timed)
        connection.ensure_connection()

    def _timed(self, execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(statement, params, many, context)
        finally:
            took = (time.perf_counter() - began) * 1000
            if not statement.startswith(_BESIDE):
                self._ms += took

    def plan_once(self, once: bool) -> None:
        """Whether this session plans as those of web processes do (config/database), or as workers' do."""
        mode = "force_generic_plan" if once else "auto"
        self.do(lambda: connections["default"].connection.execute(f"SET plan_cache_mode = {mode}"))

    def time(self, work: Callable[[Seeded], None], one: Seeded) -> float:
        """Milliseconds that PostgreSQL took for the statements of `work`."""

        def run() -> float:
            self._ms = 0.0
            work(one)
            return self._ms

        return self.do(run)

    def time_entering(self, one: Seeded) -> float:
        """Milliseconds until the tenant's scope is open."""

        def run() -> float:
            began = time.perf_counter()
            with tenant_scope(one.tenant_id):
                return (time.perf_counter() - began) * 1000

        return self.do(run)

    def end(self) -> None:
        self.do(connections.close_all)
        self._thread.shutdown()


def measure() -> dict[str, Any]:
    """Seed, time both sides in turn, print a table; the figures, by query. Needs DATABASE_ADMIN_URL."""
    console = Console()
    began = time.monotonic()
    made = seed(tenants=TENANTS, runs=RUNS, waiting=WAITING)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE")
    console.print(
        f"Seeded {TENANTS} tenants with {TENANTS * RUNS:,} runs in {time.monotonic() - began:.0f} s"
    )
    with _past_policies() as (user, password), _sides(user, password) as (on, off):
        figures = {name: _compare(on, off, made, *entry) for name, entry in HOT.items()}
        scope = _figures([on.time_entering(one) for _ in range(ROUNDS) for one in made])
    for one in made:
        clear(one.tenant_id)
    _print(console, figures, scope)
    return {
        "tenants": TENANTS, "runs": TENANTS * RUNS, "waiting": TENANTS * WAITING, "most_p95_ratio": MOST,
        "queries": figures, "entering_a_scope_ms": scope,
    }  # fmt: skip


def _compare(
    on: Side, off: Side, made: Sequence[Seeded], work: Callable[[Seeded], None], times: int, by_web: bool
) -> dict[str, Any]:
    """Both sides in turn, each first as often as the other, with the same tenant after each other."""
    for side in (on, off):
        side.plan_once(by_web)
    dice = random.Random(7)
    taken: dict[Side, list[float]] = {on: [], off: []}
    ratios = []
    for side in (on, off):
        for _ in range(10):
            side.time(work, dice.choice(made))
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            fresh: dict[Side, list[float]] = {on: [], off: []}
            for turn in range(times):
                one = dice.choice(made)
                for side in (on, off) if turn % 2 else (off, on):
                    fresh[side].append(side.time(work, one))
            ratios.append(_p95(fresh[on]) / _p95(fresh[off]))
            for side, values in fresh.items():
                taken[side] += values
    finally:
        gc.enable()
    with_policies, without = _figures(taken[on]), _figures(taken[off])
    return {
        "with_policies_ms": with_policies,
        "without_ms": without,
        "p50_ratio": round(with_policies["p50"] / without["p50"], 4),
        "p95_ratio": round(with_policies["p95"] / without["p95"], 4),
        "p95_ratio_of_rounds": round(statistics.median(ratios), 4),
        "samples_a_side": ROUNDS * times,
    }


def _figures(values: Sequence[float]) -> dict[str, float]:
    return {"p50": round(statistics.median(values), 4), "p95": round(_p95(values), 4)}


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


@contextmanager
def _sides(user: str, password: str) -> Iterator[tuple[Side, Side]]:
    """(with policies, without). Weir refuses the second login, so nobody is asked while this lasts."""
    connection_created.disconnect(dispatch_uid="weir_logins")
    sides = Side(), Side(user, password)
    try:
        yield sides
    finally:
        for side in sides:
            side.end()


@contextmanager
def _past_policies() -> Iterator[tuple[str, str]]:
    """A login with the app's grants that no policy holds, for as long as this lasts."""
    name, password = sql.Identifier("weir_bench"), secrets.token_urlsafe(16)
    with psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True) as admin:
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN BYPASSRLS PASSWORD {} IN ROLE weir_app").format(
                name, sql.Literal(password)
            )
        )
        try:
            yield "weir_bench", password
        finally:
            admin.execute(sql.SQL("DROP ROLE {}").format(name))


def _print(console: Console, figures: dict[str, Any], scope: dict[str, float]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for heading in (
        "Query",
        "p50 with",
        "p50 without",
        "p95 with",
        "p95 without",
        "p95 ratio",
        "median of rounds",
    ):
        table.add_column(heading, justify="left" if heading == "Query" else "right")
    for name, one in figures.items():
        on, off = one["with_policies_ms"], one["without_ms"]
        table.add_row(
            name, *(f"{value:.3f} ms" for value in (on["p50"], off["p50"], on["p95"], off["p95"])),
            f"{one['p95_ratio']:.3f}", f"{one['p95_ratio_of_rounds']:.3f}",
        )  # fmt: skip
    console.print(table)
    console.print(f"Entering a scope: p50 {scope['p50']:.3f} ms, p95 {scope['p95']:.3f} ms")
