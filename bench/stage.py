"""What the benches of the engine share: vendors and workers as processes, tenants with lanes, and who used how much CPU."""

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connections

from config.env import data_dir_of
from integrations.operations import create_connection
from tenants.operations.people import create_user
from tenants.operations.tenants import create_tenant
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope
from tenants.secret import Secret
from workflows.models import Run
from workflows.operations.accept_run import accept_run, find_workflow

PROVIDERS = ("prospeo", "findymail", "zerobounce")
GIVE_UP_S = 600.0
ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def vendors(*, latency: float = 0.0) -> Iterator[str]:
    """The address of bench/vendors.py in a process of its own; connections in sandbox mode lead there meanwhile."""
    with _process("bench.vendors", "--latency", str(latency)) as process:
        assert process.stdout is not None
        found = re.match(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None, "the vendors did not start"
        before, settings.SANDBOX_URL = settings.SANDBOX_URL, found.group()
        try:
            yield found.group()
        finally:
            settings.SANDBOX_URL = before


@contextmanager
def _process(*argv: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *argv], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()  # ends with its standard input
        process.wait(timeout=20)


@contextmanager
def workers(count: int, url: str) -> Iterator[list[psutil.Process]]:
    """So many Celery workers as production has them, each with its lane runner; ready when the block begins."""
    log = data_dir_of(os.environ) / "logs"
    log.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ) | {"WEIR_SANDBOX_URL": url}
    started = []
    for number in range(count):
        with (log / f"bench-worker-{number}.log").open("w") as out:
            started.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "celery", "-A", "config.celery", "worker", "-P", "threads", "-c", "4"),
                        *("-Q", "rings,jobs", "-n", f"bench-{number}@%h", "--without-mingle", "--without-gossip"),
                        *("--loglevel", "WARNING"),
                    ],
                    cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                )
            )  # fmt: skip
    try:
        _until(lambda: _sessions() >= count, "the workers did not start")
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=90)


def _sessions() -> int:
    """How many workers' runners have begun to look after the database (each sweeps once a second)."""
    with ops_scope("bench"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT client_port) FROM pg_stat_activity WHERE application_name = 'weir-ops' "
            "AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def tenant(**limits: Any) -> uuid.UUID:
    """A tenant with a sandbox connection to each vendor, all with these limits (`windows`, `parallelism`)."""
    owner = create_user(email=f"{uuid.uuid4().hex}@bench.example", password=None)
    made = create_tenant(name="Bench", plan="enterprise", owner=owner, actor="system:bench")
    with tenant_scope(made):
        for provider in PROVIDERS:
            create_connection(
                provider=provider, secret=Secret(f"bench-{provider}-{made.pk}"), actor="system:bench",
                mode="sandbox", **limits,
            )  # fmt: skip
    return made.pk


def send(tenant_id: uuid.UUID, records: Sequence[Mapping[str, str]], **options: Any) -> Run:
    """Accept a run of the email waterfall over these contacts."""
    with tenant_scope(tenant_id):
        return accept_run(
            workflow=find_workflow("email-waterfall"), records=list(records), actor="system:bench",
            source=Run.Source.API, livemode=True, **options,
        )  # fmt: skip


def wait_for_all(tenant_id: uuid.UUID) -> None:
    """Until no run of the tenant is under way."""

    def ended() -> bool:
        with tenant_scope(tenant_id):
            return not Run.objects.filter(finished_at=None).exists()

    _until(ended, "the run did not end in time")


def _until(holds: Any, complaint: str) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"Gave up: {complaint}.")
        time.sleep(0.05)


def cpu_of(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that these processes and their children have used, ended children included."""
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            try:
                mine = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += mine.user + mine.system
    return total


def postgres() -> psutil.Process:
    """The postmaster of the bench's own server; raises SystemExit where the server is not on this machine."""
    with ops_scope("bench"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = int(cursor.fetchone()[0])
    try:
        parent = psutil.Process(pid).parent()
    except psutil.NoSuchProcess:
        parent = None
    if parent is None or "postgres" not in parent.name():
        raise SystemExit("The CPU of PostgreSQL can be measured only where it runs on this machine.")
    return parent


def redis_server() -> psutil.Process:
    """The process of the bench's own Redis."""
    import redis

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        return psutil.Process(int(client.info("server")["process_id"]))


def clear(tenant_id: uuid.UUID) -> None:
    """Nothing of the tenant waits any more: what one bench leaves is no work for the next one's workers."""
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        cursor.execute("DELETE FROM lane_run WHERE tenant_id = %s", [tenant_id])
        cursor.execute("DELETE FROM step_queue WHERE tenant_id = %s", [tenant_id])
