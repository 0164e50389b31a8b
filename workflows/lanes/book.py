"""The set-based statements that accepting, filling, settling, cancelling and retrying share.

Each takes a cursor of the app login inside a transaction in which the tenant is set, and writes any number of rows with
one statement.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tenants.ids import uuid7
from workflows import telling
from workflows.lanes.abreast import Share
from workflows.lanes.work import Work
from workflows.states import RECORD_COUNTS


def hold_tenant(cursor: Any, tenant_id: uuid.UUID) -> str:
    """Keep the tenant until this transaction ends, before anything else is locked; its status, empty where it is gone.

    For writers of tables without a foreign key to it: what they write would be left when the tenant is erased.
    """
    cursor.execute("SELECT status FROM tenants_tenant WHERE id = %s FOR KEY SHARE", [tenant_id])
    found = cursor.fetchone()
    return str(found[0]) if found else ""


@dataclass(slots=True)
class QueueEntry:
    """A call to be queued."""

    lane_id: uuid.UUID
    run_id: uuid.UUID
    record_id: uuid.UUID
    name: str
    query: dict[str, str]
    fingerprint: str
    context: list[dict[str, Any]] = field(default_factory=list)


def dump(value: Any) -> str | None:
    """JSON text for a jsonb column; None stays NULL."""
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # what orjson refuses (integers beyond 64 bits) and JSON can say
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def rows(cursor: Any, statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    cursor.execute(statement, parameters)
    return cursor.fetchall()


def rows_later(
    cursor: Any, statement: str, parameters: Sequence[Any] | Mapping[str, Any]
) -> Callable[[], list[tuple[Any, ...]]]:
    """As `rows`, for whoever does not need them at once: with shares written abreast, what is waited for more than once
    costs a message each time."""
    if isinstance(cursor, Share):
        return cursor.later(statement, parameters)
    found = rows(cursor, statement, parameters)
    return lambda: found


def ids(cursor: Any, statement: str, parameters: Sequence[Any]) -> set[uuid.UUID]:
    return {row[0] for row in rows(cursor, statement, parameters)}


INSERT_QUEUE = """
    INSERT INTO step_queue (id, tenant_id, lane_id, run_id, record_id, name, query, fingerprint, context, attempt, crashes,
                            reason, reserved)
    SELECT id, %(tenant)s, lane_id, run_id, record_id, name, query::jsonb, fingerprint, context::jsonb, 1, 0, '', 0
    FROM unnest(%(queue_ids)s::uuid[], %(queue_lanes)s::uuid[], %(queue_runs)s::uuid[], %(queue_records)s::uuid[],
                %(queue_names)s::text[], %(queries)s::text[], %(fingerprints)s::text[], %(contexts)s::text[])
         t(id, lane_id, run_id, record_id, name, query, fingerprint, context)"""
"""Takes `queue_parameters` and the tenant."""

# A run starts level with the least served run of the lane, not at zero. Looked for among the newest, which came in level
# with the least served of their time: in a lane with many thousand runs the look would cost more than all the rest.
_LEVEL = """
    coalesce((SELECT min(o.vtime) FROM (SELECT n.vtime, n.state FROM lane_run n
                                        WHERE n.tenant_id = %(tenant)s AND n.lane_id = t.lane_id
                                        ORDER BY n.run_id DESC LIMIT 50) o WHERE o.state = 'active'),
             (SELECT min(o.vtime) FROM lane_run o
              WHERE o.tenant_id = %(tenant)s AND o.lane_id = t.lane_id AND o.state = 'active'), 0)"""

NEW_IN_LANES = f"""
    INSERT INTO lane_run (id, tenant_id, lane_id, run_id, state, priority, vtime)
    SELECT t.id, %(tenant)s, t.lane_id, t.run_id, 'active', %(priority)s, {_LEVEL}
    FROM unnest(%(entry_ids)s::uuid[], %(entered)s::uuid[], %(entering)s::uuid[]) t(id, lane_id, run_id)"""  # noqa: S608 - text of ours alone
"""Notes that a run that is only now being written has work in lanes; takes `queue_parameters`, the tenant, its priority."""


def insert_queue(
    cursor: Any, tenant_id: uuid.UUID, entries: Sequence[QueueEntry]
) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Queue calls, and note in their lanes that these runs have work; returns (tenant, lane) of the lanes."""
    if not entries:
        return set()
    cursor.execute(INSERT_QUEUE, {**queue_parameters(entries), "tenant": tenant_id})
    pairs = sorted({(entry.lane_id, entry.run_id) for entry in entries})
    enter_lanes(cursor, tenant_id, pairs)
    return {(tenant_id, lane_id) for lane_id, _ in pairs}


def queue_parameters(entries: Sequence[QueueEntry]) -> dict[str, Any]:
    """What `INSERT_QUEUE` and `NEW_IN_LANES` take for these calls."""
    pairs = sorted({(entry.lane_id, entry.run_id) for entry in entries})
    return {
        "queue_ids": [uuid7() for _ in entries],
        "queue_lanes": [entry.lane_id for entry in entries],
        "queue_runs": [entry.run_id for entry in entries],
        "queue_records": [entry.record_id for entry in entries],
        "queue_names": [entry.name for entry in entries],
        "queries": [dump(entry.query) for entry in entries],
        "fingerprints": [entry.fingerprint for entry in entries],
        "contexts": [dump(entry.context) for entry in entries],
        "entry_ids": [uuid7() for _ in pairs],
        "entered": [pair[0] for pair in pairs],
        "entering": [pair[1] for pair in pairs],
    }


def enter_lanes(cursor: Any, tenant_id: uuid.UUID, pairs: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Note that runs have work in lanes.

    Rows that are there already are looked for first: ON CONFLICT alone would wait for whoever is updating them.
    """
    cursor.execute(
        f"""INSERT INTO lane_run (id, tenant_id, lane_id, run_id, state, priority, vtime)
           SELECT t.id, %(tenant)s, t.lane_id, t.run_id,
                  CASE r.status WHEN 'paused' THEN 'paused' WHEN 'cancelled' THEN 'cancelled'
                                WHEN 'failed' THEN 'cancelled' ELSE 'active' END,
                  r.priority, {_LEVEL}
           FROM unnest(%(ids)s::uuid[], %(lanes)s::uuid[], %(runs)s::uuid[]) t(id, lane_id, run_id)
                JOIN run r ON r.id = t.run_id
           WHERE NOT EXISTS (SELECT 1 FROM lane_run l WHERE l.tenant_id = r.tenant_id AND l.lane_id = t.lane_id
                             AND l.run_id = t.run_id)
           ON CONFLICT (tenant_id, lane_id, run_id) DO NOTHING""",  # noqa: S608 - text of ours alone
        {
            "tenant": tenant_id,
            "ids": [uuid7() for _ in pairs],
            "lanes": [pair[0] for pair in pairs],
            "runs": [pair[1] for pair in pairs],
        },
    )


HISTORY_COLUMNS = (
    "id", "lane_id", "run_id", "record_id", "queue_id", "operation", "provider", "attempt", "status", "outcome",
    "reason", "answer", "http_status", "latency_ms", "credits", "ready_at", "started_at", "finished_at",
)  # fmt: skip


def write_history(cursor: Any, tenant_id: uuid.UUID, history: Sequence[tuple[Any, ...]]) -> None:
    """Append attempts to the history; each row in the order of `HISTORY_COLUMNS`. Written again, nothing changes."""
    if not history:
        return
    cursor.execute(
        """INSERT INTO step (id, tenant_id, lane_id, run_id, record_id, queue_id, name, operation, provider, attempt,
                             status, outcome, reason, answer, http_status, latency_ms, credits, ready_at, started_at,
                             finished_at)
           SELECT id, %s, lane_id, run_id, record_id, queue_id, operation || ':' || provider, operation, provider,
                  attempt, status, outcome, reason, answer::jsonb, http_status, latency_ms, credits, ready_at,
                  started_at, coalesce(finished_at, now())
           FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::int[],
                       %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[], %s::bigint[],
                       %s::timestamptz[], %s::timestamptz[], %s::timestamptz[])
                t(id, lane_id, run_id, record_id, queue_id, operation, provider, attempt, status, outcome, reason,
                  answer, http_status, latency_ms, credits, ready_at, started_at, finished_at)
           ON CONFLICT (id) DO NOTHING""",
        [tenant_id, *(list(column) for column in zip(*history, strict=True))],
    )


def count_runs(
    cursor: Any, tenant_id: uuid.UUID, changes: Mapping[uuid.UUID, Counter[str]]
) -> list[uuid.UUID]:
    """Move the counts of runs (in id order: the lock order) and complete those that have no record left.

    A change may have a key per record status, and "ended" (records that became final), "spent" and "reserved" (credits).
    Returns the runs that ended here.
    """
    ordered = sorted(changes)
    columns = (*RECORD_COUNTS, "ended", "spent", "reserved")
    sets = ", ".join(f"{column} = run.{column} + t.{column}" for column in RECORD_COUNTS)
    arrays = ", ".join("%s::bigint[]" for _ in columns)
    left = rows(
        cursor,
        f"""UPDATE run SET {sets}, pending = run.pending - t.ended, credits_spent = run.credits_spent + t.spent,
                   credits_reserved = CASE WHEN was.ends THEN 0 ELSE greatest(0, run.credits_reserved + t.reserved) END,
                   status = CASE WHEN was.ends THEN {_ENDED}
                                 WHEN run.status = 'queued' AND (t.running > 0 OR t.ended > 0) THEN 'running'
                                 ELSE run.status END,
                   started_at = CASE WHEN run.started_at IS NULL AND (t.running > 0 OR t.ended > 0 OR was.ends) THEN now()
                                     ELSE run.started_at END,
                   finished_at = CASE WHEN was.ends THEN now() ELSE run.finished_at END
            FROM unnest(%s::uuid[], {arrays}) t(id, {", ".join(columns)})
                 CROSS JOIN LATERAL (
                     SELECT o.id, o.pending - t.ended <= 0 AND o.finished_at IS NULL AS ends,
                            o.started_at IS NULL AND (t.running > 0 OR t.ended > 0) AS starts
                     FROM run o WHERE o.id = t.id AND o.tenant_id = %s FOR NO KEY UPDATE) was
            WHERE run.id = was.id
            RETURNING run.id, was.starts, was.ends, run.status, CASE WHEN was.ends THEN {telling.ABOUT_RUNS} END""",  # noqa: S608 - text of ours alone
        [ordered, *([changes[run_id][column] for run_id in ordered] for column in columns), tenant_id],
    )
    if started := sorted(row[0] for row in left if row[1]):
        write_events(
            cursor, tenant_id, [(run_id, "run.started", {}) for run_id in started], actor="system:engine"
        )
    return _after_the_end(cursor, tenant_id, sorted((row[0], *row[3:]) for row in left if row[2]))


_ENDED = "CASE WHEN run.status = 'cancelled' THEN run.status ELSE 'completed' END"


def complete_runs(cursor: Any, tenant_id: uuid.UUID, run_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """End runs of which no record is left; a cancelled run stays cancelled. Returns those that ended now."""
    if not run_ids:
        return []
    ended = rows(
        cursor,
        f"""UPDATE run SET status = {_ENDED}, finished_at = now(), credits_reserved = 0,
                   started_at = coalesce(started_at, now())
           WHERE id = ANY(%s) AND pending <= 0 AND finished_at IS NULL RETURNING id, status, {telling.ABOUT_RUNS}""",  # noqa: S608
        [list(run_ids)],
    )
    return _after_the_end(cursor, tenant_id, ended)


def _after_the_end(
    cursor: Any, tenant_id: uuid.UUID, ended: Sequence[tuple[uuid.UUID, str, bool]]
) -> list[uuid.UUID]:
    """What follows from the end of runs (id, status, whether anybody is told): their lanes forget them."""
    run_ids = [run_id for run_id, _, _ in ended]
    if ended:
        cursor.execute("DELETE FROM lane_run WHERE tenant_id = %s AND run_id = ANY(%s)", [tenant_id, run_ids])
        write_events(
            cursor,
            tenant_id,
            [(run_id, f"run.{status}", {}) for run_id, status, _ in ended],
            actor="system:engine",
        )
        telling.runs_ended(cursor, tenant_id, [run_id for run_id, _, told in ended if told])
    return run_ids


def write_events(
    cursor: Any, tenant_id: uuid.UUID, events: Iterable[tuple[uuid.UUID, str, dict[str, Any]]], *, actor: str
) -> None:
    """Append transitions of runs: (run, kind, detail)."""
    entries = list(events)
    cursor.execute(
        """INSERT INTO run_event (id, tenant_id, run_id, kind, detail, actor)
           SELECT id, %s, run_id, kind, detail::jsonb, %s
           FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[]) t(id, run_id, kind, detail)""",
        [
            tenant_id,
            actor,
            [uuid7() for _ in entries],
            [entry[0] for entry in entries],
            [entry[1] for entry in entries],
            [dump(entry[2]) for entry in entries],
        ],
    )


def wake_followers(
    cursor: Any, tenant_id: uuid.UUID, fingerprints: Sequence[str]
) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """Let the steps go on that wait for somebody else's answer to these questions; returns their lanes.

    One that somebody else is writing at this moment is left to the sweep: whoever comes here has locked entries and
    lookups, and must not wait for another entry.
    """
    return wake_followers_later(cursor, tenant_id, fingerprints)()


def wake_followers_later(
    cursor: Any, tenant_id: uuid.UUID, fingerprints: Sequence[str]
) -> Callable[[], set[tuple[uuid.UUID, uuid.UUID]]]:
    """As `wake_followers`; their lanes are asked for later."""
    if not fingerprints:
        return set
    lanes = rows_later(
        cursor,
        """UPDATE step_queue q SET not_before = NULL, reason = ''
           FROM (SELECT id FROM step_queue WHERE fingerprint = ANY(%s) AND reason = 'duplicate' AND tenant_id = %s
                 FOR NO KEY UPDATE SKIP LOCKED) follows
           WHERE q.id = follows.id RETURNING q.lane_id""",
        [list(fingerprints), tenant_id],
    )
    return lambda: {(tenant_id, lane_id) for (lane_id,) in lanes()}


def drop_leads(cursor: Any, tenant_id: uuid.UUID, works: Sequence[Work]) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """These steps no longer ask on behalf of others: whoever waited for them may ask."""
    return drop_leads_of(cursor, tenant_id, [(work.id, work.fingerprint) for work in works])


def drop_leads_of(
    cursor: Any, tenant_id: uuid.UUID, leads: Sequence[tuple[uuid.UUID, str]]
) -> set[tuple[uuid.UUID, uuid.UUID]]:
    """As `drop_leads`, for (queue entry, fingerprint) pairs."""
    if not leads:
        return set()
    fingerprints = [lead[1] for lead in leads]
    cursor.execute(
        """DELETE FROM lookup l USING (
               SELECT id FROM lookup WHERE tenant_id = %s AND fingerprint = ANY(%s) AND leader = ANY(%s) AND outcome = ''
               ORDER BY provider, livemode, fingerprint FOR UPDATE) mine
           WHERE l.id = mine.id""",
        [tenant_id, fingerprints, [lead[0] for lead in leads]],
    )
    return wake_followers(cursor, tenant_id, fingerprints)
