"""What a claim costs late in a huge run, beside the same claim of a fresh queue.

A million steps of one run are queued, stamped and deleted while a snapshot is open, so that nothing of them can be
cleaned up, behind 100,000 steps of a paused run that lie at the head of the same lane.
"""

import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from bench.people import people
from bench.rig import CHUNK, Lane, a_lane
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, OPS_ALIAS, tenant_scope
from workflows.lanes.claim import claim
from workflows.lanes.work import RunInLane
from workflows.models import LaneRun

FRESH, PAUSED, SETTLED = 10_000, 100_000, 1_000_000
SNAPSHOT_S = 300.0
CLAIMS, AT_ONCE = 190, 50


def measure() -> dict[str, Any]:
    """Milliseconds per claim, fresh and late, and their ratio."""
    fresh_lane = a_lane()
    fresh_run = fresh_lane.run()
    fresh_lane.queue(fresh_run, people(FRESH, "Fresh"))

    late_lane = a_lane()
    paused, late_run = late_lane.run(), late_lane.run()
    late_lane.queue(paused, people(PAUSED, "Paused"))
    with tenant_scope(late_lane.tenant_id):
        LaneRun.objects.filter(run_id=paused.facts.id).update(state="paused")
    began = time.monotonic()
    with _snapshot():
        last = _settle(late_lane, late_run, SETTLED)
        late_lane.queue(late_run, people(FRESH, "Late"))
        time.sleep(max(0.0, SNAPSHOT_S - (time.monotonic() - began)))
        # Before either is timed: a holder reads from the head once, when it takes the lane over.
        head_began = time.perf_counter()
        claim(late_lane.tenant_id, late_lane.lane_id, "prospeo", [(late_run, AT_ONCE)], [])
        from_head = time.perf_counter() - head_began
        late_run.cursor = last
        claims = [(fresh_lane, fresh_run), (late_lane, late_run)]
        times: list[list[float]] = [[], []]
        for _ in range(CLAIMS):
            for place, (lane, run) in enumerate(claims):
                times[place].append(_claim(lane, run))
        open_s = time.monotonic() - began
    for lane in (fresh_lane, late_lane):
        lane.clear()
    fresh, late = (statistics.median(found[CLAIMS // 10 :]) for found in times)
    return {
        "claim_fresh_ms": round(fresh * 1000, 3),
        "claim_late_ms": round(late * 1000, 3),
        "claim_late_to_fresh": round(late / fresh, 3),
        "claim_late_first_of_a_holder_ms": round(from_head * 1000, 1),
        "steps_settled": SETTLED,
        "snapshot_open_s": round(open_s),
    }


def _claim(lane: Lane, run: RunInLane) -> float:
    """Seconds of the next claim, which goes on where the one before ended, as a holder's does."""
    began = time.perf_counter()
    ((_, works, _),) = claim(lane.tenant_id, lane.lane_id, "prospeo", [(run, AT_ONCE)], [])
    took = time.perf_counter() - began
    assert len(works) == AT_ONCE
    run.cursor = works[-1].id
    return took


@contextmanager
def _snapshot() -> Iterator[None]:
    """Somebody's report that reads for as long as this lasts: what dies meanwhile cannot be cleaned up."""
    reader = connections[OPS_ALIAS].copy()
    try:
        reader.set_autocommit(False)
        with reader.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = 0")
            reader.commit()
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT count(*) FROM step_queue")
        yield
    finally:
        reader.rollback()
        reader.close()


def _settle(lane: Lane, run: RunInLane, count: int) -> uuid.UUID:
    """So many steps come and go, a chunk per transaction, as the engine's flushes have it; the last one's id."""
    last = uuid7()
    for _ in range(0, count, CHUNK):
        ids = [uuid7() for _ in range(CHUNK)]
        last = ids[-1]
        statements: tuple[tuple[str, list[Any]], ...] = (
            (
                """INSERT INTO step_queue (id, tenant_id, lane_id, run_id, record_id, name, query, fingerprint, context,
                                           attempt, crashes, reason, reserved)
                   SELECT id, %s, %s, %s, id, 'find:prospeo', '{}', id::text, '[]', 1, 0, '', 0
                   FROM unnest(%s::uuid[]) t(id)""",
                [lane.tenant_id, lane.lane_id, run.facts.id, ids],
            ),
            ("UPDATE step_queue SET sent_at = now(), holder = %s WHERE id = ANY(%s)", [last, ids]),
            ("DELETE FROM step_queue WHERE id = ANY(%s)", [ids]),
        )
        for statement, parameters in statements:
            with tenant_scope(lane.tenant_id), connections[APP_ALIAS].cursor() as cursor:
                cursor.execute(statement, parameters)
    return last
