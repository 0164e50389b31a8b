"""The engine's ceiling beside a bare loop of the same HTTP calls, and how much of an allowed rate it uses.

Both sides ask the same sandbox, 64 calls at a time, vendors answering at once; the bare loop stores nothing.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from django.conf import settings
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from integrations.connectors import registry
from integrations.http import VendorClient
from integrations.operations import create_connection
from integrations.outcomes import Done
from tenants.operations.people import create_user
from tenants.operations.tenants import create_tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from workflows.catalog import Ask, Taken
from workflows.lanes.decide import decide
from workflows.lanes.runner import Runner
from workflows.models import Run, Workflow
from workflows.operations.accept_run import accept_run, find_workflow

CONTACTS, WAYS = 3_000, 64
RATE, RATE_CALLS = 20, 200
GIVE_UP_S = 300.0
PROVIDERS = ("prospeo", "findymail", "zerobounce")


def measure() -> dict[str, Any]:
    """Run both benchmarks and print a table; the figures, by name."""
    with _sandbox() as url:
        settings.SANDBOX_URL = url
        bare = _bare_loop(url)
        engine = _engine(url)
        used, over = _rate_used(url)
    figures = {
        "contacts": CONTACTS,
        "bare_loop_contacts_per_s": round(bare, 1),
        "engine_contacts_per_s": round(engine, 1),
        "engine_of_bare_loop": round(engine / bare, 3),
        "allowed_rate_used": round(used, 3),
        "calls_over_limit": over,
    }
    table = Table(box=SIMPLE_HEAD)
    table.add_column("Figure")
    table.add_column("Measured", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    Console().print(table)
    return figures


def _people(count: int, tag: str) -> list[dict[str, str]]:
    return [
        {"first_name": f"{tag}{number}", "last_name": "Smith", "domain": f"{tag}{number}.example"}
        for number in range(count)
    ]


def _bare_loop(url: str) -> float:
    """Contacts per second of a loop that makes the same calls, decides alike, and keeps nothing."""
    for provider in PROVIDERS:
        _limit(url, provider, "bare", windows=[{"rate": 1_000_000, "period": 1}], parallelism=WAYS)
    began = time.perf_counter()
    asyncio.run(_ask_all(url))
    return CONTACTS / (time.perf_counter() - began)


async def _ask_all(url: str) -> None:
    config = {
        "finders": ["prospeo", "findymail"],
        "verifier": "zerobounce",
        "accept": ["valid"],
        "on_outage": "wait",
    }
    waiting = iter(_people(CONTACTS, "Bare"))

    async def worker(client: VendorClient) -> None:
        for person in waiting:
            taken: list[Taken] = []
            while isinstance(plan := decide("email-waterfall", config, person, taken)[0], Ask):
                connector = registry.get(plan.provider)
                result = await client.call(
                    connector,
                    plan.operation,
                    plan.query,
                    secret=Secret("bare"),
                    base_url=f"{url}/{plan.provider}",
                )
                answer = result.outcome.answer if isinstance(result.outcome, Done) else {}
                taken.append(Taken(plan.operation, plan.provider, result.outcome.name, answer))

    async with VendorClient() as client:
        await asyncio.gather(*(worker(client) for _ in range(WAYS)))


def _engine(url: str) -> float:
    """Contacts per second from the first accept to the last record, everything stored."""
    tenant_id = _tenant(url, {"windows": [], "parallelism": WAYS})
    runner = Runner()
    runner.start()
    try:
        began = time.perf_counter()
        for start in range(0, CONTACTS, 1_000):
            with tenant_scope(tenant_id):
                accept_run(
                    workflow=find_workflow("email-waterfall"),
                    records=_people(CONTACTS, "Engine")[start : start + 1_000],
                    actor="system:bench", source=Run.Source.API, livemode=True,
                )  # fmt: skip
        _wait(tenant_id)
        return CONTACTS / (time.perf_counter() - began)
    finally:
        runner.stop()


def _rate_used(url: str) -> tuple[float, int]:
    """The share of 20 calls a second that is used while work waits, and the calls that were over."""
    limits = {"windows": [{"rate": RATE, "period": 1}], "parallelism": 3}
    tenant_id = _tenant(url, limits)
    with tenant_scope(tenant_id):
        Workflow.objects.filter(slug="email-waterfall").update(
            config={"finders": ["prospeo"], "verifier": None, "accept": ["valid"]}
        )
    runner = Runner()
    runner.start()
    try:
        with tenant_scope(tenant_id):
            accept_run(
                workflow=find_workflow("email-waterfall"), records=_people(RATE_CALLS, "Rate"),
                actor="system:bench", source=Run.Source.API, livemode=True,
            )  # fmt: skip
        _wait(tenant_id)
    finally:
        runner.stop()
    calls = _ask(url, "GET", f"calls?provider=prospeo&key={_key('prospeo', tenant_id)}")
    times = (
        [call["mono"] for call in calls["calls"]]
        if isinstance(calls, dict)
        else [call["mono"] for call in calls]
    )
    over = sum(call["over_limit"] for call in (calls["calls"] if isinstance(calls, dict) else calls))
    return (len(times) - 1) / (times[-1] - times[0]) / RATE, over


def _tenant(url: str, limits: Mapping[str, Any]) -> uuid.UUID:
    owner = create_user(email=f"{uuid.uuid4().hex}@bench.example", password=None)
    tenant = create_tenant(name="Bench", plan="enterprise", owner=owner, actor="system:bench")
    with tenant_scope(tenant):
        for provider in PROVIDERS:
            key = _key(provider, tenant.pk)
            create_connection(
                provider=provider, secret=Secret(key), actor="system:bench", mode="sandbox", **limits
            )
            windows = limits["windows"] or [{"rate": 1_000_000, "period": 1}]
            _limit(url, provider, key, windows=windows, parallelism=limits["parallelism"])
    return tenant.pk


def _key(provider: str, tenant_id: uuid.UUID) -> str:
    return f"bench-{provider}-{tenant_id}"


def _wait(tenant_id: uuid.UUID) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline:
        with tenant_scope(tenant_id):
            if not Run.objects.filter(finished_at=None).exists():
                return
        time.sleep(0.05)
    raise SystemExit("The benchmark run did not end in time.")


def _limit(url: str, provider: str, key: str, **limits: Any) -> None:
    _ask(url, "POST", "keys", {"provider": provider, "key": key, **limits})


def _ask(url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{url}/_sandbox/{path}", method=method, data=data)
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def _sandbox() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "integrations.sandbox", "--host", "127.0.0.1", "--port", "0", "--latency-scale", "0"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None, "the sandbox did not start"
        yield found.group()
    finally:
        process.terminate()
        process.wait(timeout=10)
