"""What the benches of flow control need beside bench/stage.py: strict vendors with a journal, single lanes, and queues
filled past the operations that would take minutes to fill them."""

import itertools
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from django.conf import settings
from django.db import connections

from integrations.operations import create_connection
from tenants.ids import uuid7
from tenants.operations.people import create_user
from tenants.operations.tenants import create_tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tenants.secret import Secret
from workflows.lanes.work import RunFacts, RunInLane
from workflows.models import Lane as LaneRow
from workflows.models import LaneRun, Run, Workflow

FINDER_ALONE = {"finders": ["prospeo"], "verifier": None, "accept": ["valid"]}
ACTOR = "system:bench"
CHUNK = 10_000
_NUMBERS = itertools.count()


class Vendors:
    """The sandbox: it holds each key to its limits and remembers every call."""

    def __init__(self, url: str) -> None:
        self.url = url

    def limit(self, key: str, **limits: Any) -> None:
        self.ask("POST", "keys", {"provider": "prospeo", "key": key, **limits})

    def calls(self, key: str = "") -> list[dict[str, Any]]:
        told = self.ask("GET", f"calls?provider=prospeo&key={key}" if key else "calls?provider=prospeo")
        return told["calls"] if isinstance(told, dict) else told

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/_sandbox/{path}", method=method, data=data), timeout=60) as answer:
            return json.load(answer)


@contextmanager
def strict_vendors() -> Iterator[Vendors]:
    """Sandbox vendors that answer at once; connections in sandbox mode lead there meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-m", "integrations.sandbox", "--host", "127.0.0.1", "--port", "0", "--latency-scale", "0"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    before = settings.SANDBOX_URL
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None, "the sandbox did not start"
        settings.SANDBOX_URL = found.group()
        yield Vendors(found.group())
    finally:
        settings.SANDBOX_URL = before
        process.terminate()
        process.wait(timeout=10)


@dataclass(frozen=True)
class Lane:
    """A lane of a tenant, and the vendor's key behind it."""

    tenant_id: uuid.UUID
    lane_id: uuid.UUID
    key: str

    def run(self) -> RunInLane:
        """A run with this lane, as a holder sees it; nothing is queued yet."""
        with tenant_scope(self.tenant_id):
            workflow = Workflow.objects.get(slug="email-waterfall")
            run = Run.objects.create(
                workflow=workflow, template=workflow.template, config={**workflow.config, **FINDER_ALONE},
                lanes={"prospeo": str(self.lane_id)}, status="running", source=Run.Source.API, name="Bench",
                created_by=ACTOR,
            )  # fmt: skip
            run.refresh_from_db()
            LaneRun.objects.create(lane_id=self.lane_id, run_id=run.pk)
        facts = RunFacts(
            run.pk, self.tenant_id, run.template, run.config, run.lanes, run.livemode, run.created_at, None
        )
        return RunInLane(facts=facts, priority=5, vtime=0.0, since=run.created_at)

    def queue(self, run: RunInLane, people: Sequence[Mapping[str, str]]) -> None:
        """A record and its first step for each of these, as accepting has them, without the ledger."""
        for start in range(0, len(people), CHUNK):
            some = [json.dumps(person) for person in people[start : start + CHUNK]]
            with tenant_scope(self.tenant_id), connections[APP_ALIAS].cursor() as cursor:
                cursor.execute(
                    """WITH made AS (
                           INSERT INTO record (id, tenant_id, run_id, position, input, status, credits)
                           SELECT id, %s, %s, %s + n, input::jsonb, 'queued', 0
                           FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY t(id, input, n)
                           RETURNING id, input)
                       INSERT INTO step_queue (id, tenant_id, lane_id, run_id, record_id, name, query, fingerprint,
                                               context, attempt, crashes, reason, reserved)
                       SELECT id, %s, %s, %s, id, 'find:prospeo', input, md5(id::text), '[]', 1, 0, '', 0
                       FROM made ORDER BY id""",
                    [
                        self.tenant_id, run.facts.id, start, [uuid7() for _ in some], some,
                        self.tenant_id, self.lane_id, run.facts.id,
                    ],
                )  # fmt: skip
        with tenant_scope(self.tenant_id):
            Run.objects.filter(pk=run.facts.id).update(
                total=len(people), filled=len(people), pending=len(people), queued=len(people)
            )

    def clear(self) -> None:
        """Nothing of this lane waits any more: what one bench leaves is no work for the next one's workers."""
        with tenant_scope(self.tenant_id), connections[APP_ALIAS].cursor() as cursor:
            cursor.execute("DELETE FROM lane_run WHERE lane_id = %s", [self.lane_id])
            cursor.execute("DELETE FROM step_queue WHERE lane_id = %s", [self.lane_id])


def a_tenant() -> uuid.UUID:
    owner = create_user(email=f"{uuid.uuid4().hex}@bench.example", password=None)
    made = create_tenant(name="Bench", plan="enterprise", owner=owner, actor=ACTOR)
    with tenant_scope(made):
        Workflow.objects.filter(slug="email-waterfall").update(config=FINDER_ALONE)
    return made.pk


def a_lane(tenant_id: uuid.UUID | None = None, **limits: Any) -> Lane:
    """A Prospeo lane, of a new tenant if none is given."""
    # The vendors' journal tells the last four characters of a key and no more.
    tenant, key = tenant_id or a_tenant(), f"key-{uuid.uuid4().hex}{next(_NUMBERS):04x}"
    with tenant_scope(tenant):
        connection = create_connection(
            provider="prospeo",
            secret=Secret(key),
            actor=ACTOR,
            mode="sandbox",
            **{"parallelism": 10, **limits},
        )
        return Lane(tenant, LaneRow.objects.get(connection=connection).pk, key)
