"""A whole Weir under its supervisor, with workers that are told to do things differently, and its books."""

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from config.embedded import destroy
from config.embedded.keeper import wait_until_gone
from config.embedded.layout import make_layout
from config.embedded.processes import as_account, clean_environment, working_in
from config.embedded.servers import running
from tests.chaos.campaign import Books
from tests.chaos.ledger import Comparison, compare
from tests.environment import with_database
from tests.journeys.system import System

QUICK_CALLS = {"call_s": 3.0, "grace_s": 2.0}
"""The vendors' own deadlines of 30 to 65 s are how long a dead worker's calls stay in doubt; here they are short."""


class ChaosSystem(System):
    """`manage.py up` with odd workers."""

    command = ("-m", "tests.chaos.up")
    start_seconds = 300.0

    def __init__(self, data_dir: Path, *, workers: int = 1, latency: int = 5, **odds: Any) -> None:
        super().__init__(
            data_dir,
            WEIR_CHAOS=json.dumps({**QUICK_CALLS, **odds}),
            WEIR_CHAOS_WORKERS=str(workers),
            WEIR_SANDBOX_LATENCY=str(latency),
        )
        found = running(data_dir)
        assert found is not None
        self.database = with_database(found.urls["DATABASE_ADMIN_URL"], "weir")
        self.redis_url = found.urls["REDIS_URL"]
        self.books = Books(self.database)

    def workers(self) -> list[psutil.Process]:
        """The worker processes that live."""
        return self.children("tests.chaos.worker")

    def holder_of(self, worker: psutil.Process) -> str | None:
        """What a worker's runner calls itself; None while it has none."""
        try:
            return (self.data_dir / "run" / "holders" / str(worker.pid)).read_text() or None
        except FileNotFoundError:
            return None

    def crash_postgres(self) -> None:
        """`pg_ctl stop -m immediate`: as a power cut; the supervisor's keeper starts it again."""
        layout = make_layout(self.data_dir)
        subprocess.run(
            [layout.postgres_program("pg_ctl"), "stop", "-m", "immediate", "-W", "-D", str(layout.pgdata)],
            check=True, capture_output=True, timeout=30, cwd=layout.home, env=clean_environment(),
            **as_account(layout.account),
        )  # fmt: skip

    def signal_redis(self, number: int) -> None:
        layout = make_layout(self.data_dir)
        for pid in working_in(layout.redis_dir, "redis-server"):
            os.kill(pid, number)

    def accept(self, records: list[dict[str, str]]) -> str:
        """A run of these records as an upload; its id."""
        lines = [",".join(records[0]), *(",".join(record.values()) for record in records)]
        upload = self.upload("\n".join(lines).encode())
        return str(self.call("POST", "/runs", {"workflow": "email-waterfall", "upload": upload["id"]})["id"])

    def left(self) -> int | None:
        """Records that have not ended; None while the database is away."""
        try:
            return self.books.left()
        except psycopg.OperationalError:
            return None

    def compare(self, *, expected: int) -> Comparison:
        calls: list[dict[str, Any]] = []
        while page := self.sandbox("GET", f"calls?since={calls[-1]['seq'] if calls else 0}&limit=50000"):
            calls += page
        return compare(self.database, [self.tenant["tenant_id"]], calls, expected=expected)


@contextmanager
def whole_system(**options: Any) -> Iterator[ChaosSystem]:
    with tempfile.TemporaryDirectory(prefix="weir-chaos-") as folder:
        data_dir = Path(folder) / "data"
        made = ChaosSystem(data_dir, **options)
        try:
            yield made
        finally:
            made.books.close()
            made.stop()
            wait_until_gone(data_dir, seconds=30)
            destroy(data_dir)


@dataclass
class Storm:
    """What was killed, what it had in hand, and how long that took to be resumed."""

    system: ChaosSystem
    chance: random.Random
    kills: dict[str, int] = field(default_factory=dict)
    in_hand: int = 0
    """Steps stamped and unsettled at the kills: as many calls may be repeated."""
    resumed: list[float] = field(default_factory=list)
    """Seconds until the steps of a killed worker were somebody else's."""
    _orphans: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    def strike(self) -> None:
        """Kill something: mostly a worker, now and then all of them, web or beat."""
        what = self.chance.choices(("worker", "all workers", "web", "beat"), (14, 2, 3, 1))[0]
        match what:
            case "worker":
                workers = self.system.workers()
                killed = self.kill_workers(self.chance.sample(workers, min(1, len(workers))))
            case "all workers":
                killed = self.kill_workers(self.system.workers())
            case "web":
                killed = self.system.kill("granian")
            case _:
                killed = self.system.kill("celery", "beat")
        if killed:
            self.kills[what] = self.kills.get(what, 0) + 1

    def kill_workers(self, workers: list[psutil.Process], number: int = signal.SIGKILL) -> int:
        holders = [self.system.holder_of(worker) for worker in workers]
        for worker in workers:
            worker.send_signal(number)
        if number == signal.SIGKILL:
            psutil.wait_procs(workers, timeout=10)
            for holder in filter(None, holders):
                if stamped := self.system.books.stamped(holder):
                    self.in_hand += len(stamped)
                    self._orphans[holder] = time.monotonic()
        return len(workers)

    def look(self) -> bool:
        """Notice which orphans have been resumed; whether there are none left."""
        if self._orphans:
            now, still = time.monotonic(), self.system.books.holders()
            for holder in [holder for holder in self._orphans if holder not in still]:
                self.resumed.append(now - self._orphans.pop(holder))
        return not self._orphans

    def rest(self, seconds: float) -> None:
        """Let so much time pass, looking on."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            time.sleep(0.25)
