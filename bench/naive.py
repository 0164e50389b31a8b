"""The other bound: one Celery task per step with one commit each, as a plain Django project would begin.

The same vendors, decisions and PostgreSQL; 64 threads in one worker; no limits, no fence, no ledger, nothing that
survives a lost message.

The worker is this module as a Celery application, with BENCH_URL in its environment.
"""

import os
import subprocess
import sys
import threading
import time
import uuid
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import psycopg
from celery import Celery

from bench.bare import CONFIG
from bench.people import people
from integrations.connectors import registry
from integrations.connectors.base import Clarify, VendorResponse
from integrations.outcomes import Done
from workflows.catalog import Ask, Taken
from workflows.lanes.decide import decide

QUEUE = "bench-naive"
TABLE = "bench_naive_step"
GIVE_UP_S = 300.0

# Not this process's current app, through which the benches ring for Weir's own workers.
app = Celery(
    "naive", broker=os.environ.get("CELERY_BROKER_URL") or os.environ.get("REDIS_URL"), set_as_current=False
)
app.conf.update(
    task_ignore_result=True, task_acks_late=True, task_default_queue=QUEUE, worker_prefetch_multiplier=1
)
_mine = threading.local()


@app.task(name="bench.naive.step")
def step(contact: str, person: dict[str, str], taken: list[dict[str, Any]]) -> None:
    """Ask whoever is next for this contact, write the answer down, send the next task."""
    before = [Taken.from_json(entry) for entry in taken]
    plan, _ = decide("email-waterfall", CONFIG, person, before)
    if not isinstance(plan, Ask):
        _write(contact, len(taken), plan.status, plan.output)
        return
    connector = registry.get(plan.provider)
    request = connector.request(plan.operation, plan.query, "bare")
    target = f"/{plan.provider}{request.path}" + (f"?{urlencode(request.params)}" if request.params else "")
    body = None if request.json is None else orjson.dumps(request.json)
    line = _line()
    line.request(request.method, target, body=body, headers=dict(request.headers))
    answer = line.getresponse()
    response = VendorResponse(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    outcome = connector.interpret(plan.operation, response)
    assert not isinstance(outcome, Clarify)
    found = outcome.answer if isinstance(outcome, Done) else {}
    _write(contact, len(taken), outcome.name, found)
    step.delay(contact, person, [*taken, Taken(plan.operation, plan.provider, outcome.name, found).to_json()])


def measure(url: str, contacts: int) -> float:
    """Contacts a second through one such worker."""
    env = dict(os.environ) | {"BENCH_URL": url}
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as database:
        database.execute(f"DROP TABLE IF EXISTS {TABLE}")
        database.execute(
            f"CREATE TABLE {TABLE} (id uuid PRIMARY KEY, contact text, number int, outcome text, answer jsonb)"
        )
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "bench.naive", "worker", "-P", "threads", "-c", "64"),
                *("-n", "naive@%h", "-Q", QUEUE, "--without-mingle", "--without-gossip", "--loglevel", "ERROR"),
            ],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _send(people(1, "Warm"))
            _until(database, 1)
            began = time.perf_counter()
            _send(people(contacts, "Naive"))
            _until(database, contacts + 1)
            return contacts / (time.perf_counter() - began)
        finally:
            worker.terminate()
            worker.wait(timeout=60)
            app.control.purge()
            database.execute(f"DROP TABLE {TABLE}")


def _send(everyone: list[dict[str, str]]) -> None:
    for person in everyone:
        step.delay(person["domain"], person, [])


def _until(database: Any, ended: int) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    question = f"SELECT count(*) FROM {TABLE} WHERE outcome IN ('found', 'not_found')"
    while database.execute(question).fetchone()[0] < ended:
        if time.monotonic() > deadline:
            raise SystemExit("Gave up: the Celery tasks did not end in time.")
        time.sleep(0.05)


def _line() -> HTTPConnection:
    if not hasattr(_mine, "line"):
        parts = urlsplit(os.environ["BENCH_URL"])
        _mine.line = HTTPConnection(parts.hostname or "", parts.port)
    line: HTTPConnection = _mine.line
    return line


def _write(contact: str, number: int, outcome: str, answer: Any) -> None:
    if not hasattr(_mine, "database"):
        _mine.database = psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True)
    _mine.database.execute(
        f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s, %s)",
        [uuid.uuid4(), contact, number, outcome, orjson.dumps(answer).decode()],
    )
