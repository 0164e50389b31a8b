"""Leases, and what a holder sees of its lanes. Runs as the ops login: a runner serves many tenants at once.

All times are the database's; a holder keeps its own monotonic deadline, taken before the renewal was sent, less a
fifth, so that a frozen or cut-off holder sends nothing.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db import OperationalError, connections, transaction
from psycopg.errors import LockNotAvailable

from tenants.failpoints import reach
from tenants.scope import OPS_ALIAS, ops_scope
from workflows.lanes import hurry
from workflows.lanes.book import dump, rows
from workflows.lanes.claim import load
from workflows.lanes.wire import engine_cursor
from workflows.lanes.work import RunFacts, RunInLane, RunSeen

LEASE_S = 10.0
SAFE_SHARE = 0.8
RENEW_WAIT = "2s"
REASON = "lane runner"
# Among a lane's starts: when its holder wrote them down, by its own clock. Two connections write them, and what waited
# longer for its turn must not undo what was written later.
WRITTEN_AT = "at:written"
_NEWER = f"coalesce((t.starts::jsonb->>'{WRITTEN_AT}')::float >= (s.starts->>'{WRITTEN_AT}')::float, true)"


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """A leased lane's settings, its connection, and the engine's state as the last holder left it."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    connection_id: uuid.UUID
    provider: str
    mode: str
    key_hash: str
    on_ambiguous: str
    windows: tuple[dict[str, Any], ...]
    parallelism: int
    paused: bool
    cooldown_s: float
    starts: dict[str, Any]
    database_now: float
    pause_reason: str = ""
    pace: float = 1.0
    failures: int = 0
    trips: int = 0
    rest_s: float = 0.0
    bulk: bool = False


@dataclass(frozen=True, slots=True)
class Foreign:
    """A step that another holder stamped: in flight, as far as anyone knows, until its deadline."""

    id: uuid.UUID
    holder: uuid.UUID
    remaining_s: float
    sent_ago_s: float


FACTS = """
    SELECT l.id, l.tenant_id, c.id, l.provider, c.mode, c.key_hash, c.on_ambiguous, l.windows, l.parallelism, l.paused,
           greatest(0, extract(epoch FROM s.cooldown_until - clock_timestamp()))::float, s.starts,
           extract(epoch FROM clock_timestamp())::float, l.pause_reason, s.pace, s.failures, s.trips,
           greatest(0, extract(epoch FROM s.breaker_until - clock_timestamp()))::float, l.bulk
    FROM lane l JOIN integrations_connection c ON c.id = l.connection_id JOIN lane_state s ON s.lane_id = l.id
    WHERE l.id = ANY(%s)
"""
_FED = """
    EXISTS (SELECT 1 FROM step_queue q WHERE q.lane_id = lr.lane_id AND q.run_id = lr.run_id
            AND q.not_before IS NULL AND q.sent_at IS NULL)"""
_WHOLE = f"""
    SELECT lr.lane_id, r.id, r.tenant_id, r.template, r.config, r.lanes, r.livemode, r.created_at, r.credit_limit,
           lr.priority, lr.vtime, lr.since, {_FED}
    FROM lane_run lr JOIN run r ON r.id = lr.run_id"""  # noqa: S608 - text of ours
_ACTIVE = "WHERE lr.lane_id = ANY(%s) AND lr.state = 'active'"
RUNS = f"{_WHOLE} {_ACTIVE}"
_THESE = f"""
    {_WHOLE} JOIN unnest(%s::uuid[], %s::uuid[]) k(lane_id, run_id) ON k.lane_id = lr.lane_id AND k.run_id = lr.run_id
    WHERE lr.state = 'active'"""
_SEEN = f"""
    SELECT lr.lane_id, lr.run_id, lr.priority, r.credit_limit, {_FED}
    FROM lane_run lr JOIN run r ON r.id = lr.run_id {_ACTIVE}"""  # noqa: S608 - text of ours
_NOT_LEFT_OUT = """
    AND NOT EXISTS (SELECT 1 FROM unnest(%s::uuid[], %s::uuid[]) k(lane_id, run_id)
                    WHERE k.lane_id = lr.lane_id AND k.run_id = lr.run_id)"""

Acquired = tuple[LaneFacts, list[Foreign], float | None]
"""A lane's facts, what earlier holders may have in flight, and for how many seconds certainly no call was started (None:
never was one)."""


def acquire(lane_id: uuid.UUID, holder: uuid.UUID) -> Acquired | None:
    """As `acquire_all`, of one lane; None when another holder has it."""
    return acquire_all([lane_id], holder).get(lane_id)


def acquire_all(lane_ids: Sequence[uuid.UUID], holder: uuid.UUID) -> dict[uuid.UUID, Acquired]:
    """Take those of these lanes that are free or lapsed: what was acquired of each. Others have the rest."""
    with ops_scope(REASON), transaction.atomic(using=OPS_ALIAS), engine_cursor(OPS_ALIAS) as cursor:
        taken = {
            row[0]: (row[1], load(row[2]) or {})
            for row in rows(
                cursor,
                f"""UPDATE lane_state s SET holder = %s, lease_until = clock_timestamp() + %s * interval '1 second',
                      seen_at = clock_timestamp(), starts = s.starts - 'last' - '{WRITTEN_AT}'
               FROM (SELECT id, starts, extract(epoch FROM clock_timestamp() - CASE WHEN holder IS NULL THEN released_at
                                                                            ELSE lease_until END)::float AS quiet
                     FROM lane_state WHERE lane_id = ANY(%s)
                     AND (holder IS NULL OR lease_until < clock_timestamp()) FOR UPDATE SKIP LOCKED) was
               WHERE s.id = was.id RETURNING s.lane_id, was.quiet, was.starts, {hurry.SET}""",  # noqa: S608 - a fragment of ours
                [holder, LEASE_S, list(lane_ids), hurry.STALLED],
            )
        }
        if not taken:
            return {}
        # What an orderly holder left of its last starts is good for one hand-over: this one's starts are not in it.
        facts = [replace(_facts(row), starts=taken[row[0]][1]) for row in rows(cursor, FACTS, [list(taken)])]
        foreign: dict[uuid.UUID, list[Foreign]] = {lane_id: [] for lane_id in taken}
        for lane_id, *row in rows(
            cursor,
            """SELECT lane_id, id, holder, extract(epoch FROM deadline_at - clock_timestamp())::float,
                      extract(epoch FROM clock_timestamp() - sent_at)::float
               FROM step_queue WHERE lane_id = ANY(%s) AND not_before IS NULL AND sent_at IS NOT NULL""",
            [list(taken)],
        ):
            foreign[lane_id].append(Foreign(*row))
        reach("lane.leased")
    reach("lane.taken")
    return {lane.id: (lane, foreign[lane.id], taken[lane.id][0]) for lane in facts}


@dataclass(frozen=True, slots=True)
class Report:
    """What a holder tells about a lane with each renewal, for pages and for the next holder."""

    lane_id: uuid.UUID
    in_flight: int
    started_last_period: int
    wait_reason: str
    cooldown_s: float
    pace: float
    starts: str
    failures: int = 0
    trips: int = 0
    rest_s: float = 0.0
    latency_s: float | None = None  # None: no call of this holder has come back yet


_NOT_BEING_WRITTEN = """JOIN (SELECT k.lane_id FROM lane_state k WHERE k.lane_id = ANY(%s) AND k.holder = %s
                     FOR NO KEY UPDATE SKIP LOCKED) free ON free.lane_id = t.lane_id"""


def renew_all(holder: uuid.UUID, reports: Sequence[Report]) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    """As `renew`, first of all what nobody is writing at this moment: a flush that waits for one tenant's rows has written
    the starts of others' lanes, and is not to cost all lanes their leases. For the rest it waits RENEW_WAIT. Returns the
    lanes that were renewed, and those of which it is not known whether they are held: next time tells."""
    renewed = renew(holder, reports, wait=False)
    rest = [report for report in reports if report.lane_id not in renewed]
    if not rest:
        return renewed, set()
    try:
        with ops_scope(REASON), transaction.atomic(using=OPS_ALIAS):
            with connections[OPS_ALIAS].cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{RENEW_WAIT}'")
            return renewed | renew(holder, rest), set()
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        return renewed, {report.lane_id for report in rest}


def renew(holder: uuid.UUID, reports: Sequence[Report], *, wait: bool = True) -> set[uuid.UUID]:
    """Prolong the leases of these lanes and write their reports; returns the lanes of which it did. Where it does not
    `wait`, those that somebody else is writing are left out."""
    lanes = [report.lane_id for report in reports]
    with ops_scope(REASON), connections[OPS_ALIAS].cursor() as cursor:
        held = rows(
            cursor,
            f"""UPDATE lane_state s SET lease_until = clock_timestamp() + %s * interval '1 second', seen_at = now(),
                      in_flight = t.in_flight, started_last_period = t.started, wait_reason = t.reason,
                      starts = CASE WHEN {_NEWER} THEN t.starts::jsonb ELSE s.starts END,
                      pace = t.pace, failures = t.failures, trips = t.trips,
                      latency_s = coalesce(t.latency, s.latency_s),
                      cooldown_until = CASE WHEN t.cooldown > 0 THEN now() + t.cooldown * interval '1 second' END,
                      breaker = CASE WHEN t.trips = 0 THEN 'closed' WHEN t.rest > 0 THEN 'open' ELSE 'half_open' END,
                      breaker_until = CASE WHEN t.rest > 0 THEN now() + t.rest * interval '1 second' END
               FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::text[], %s::float[], %s::float[], %s::text[],
                           %s::int[], %s::int[], %s::float[], %s::float[])
                    t(lane_id, in_flight, started, reason, cooldown, pace, starts, failures, trips, rest, latency)
                    {"" if wait else _NOT_BEING_WRITTEN}
               WHERE s.lane_id = t.lane_id AND s.holder = %s RETURNING s.lane_id""",  # noqa: S608 - text of ours
            [
                LEASE_S,
                lanes,
                [r.in_flight for r in reports],
                [r.started_last_period for r in reports],
                [r.wait_reason for r in reports],
                [r.cooldown_s for r in reports],
                [r.pace for r in reports],
                [r.starts for r in reports],
                [r.failures for r in reports],
                [r.trips for r in reports],
                [r.rest_s for r in reports],
                [r.latency_s for r in reports],
                *(() if wait else (lanes, holder)),
                holder,
            ],
        )
    return {row[0] for row in held}


def write_starts(
    cursor: Any, tenant_id: uuid.UUID, holder: uuid.UUID, starts: Sequence[tuple[uuid.UUID, uuid.UUID, str]]
) -> None:
    """Write down what lanes may have started once the present transaction is committed: (tenant, lane, JSON) each. The
    cursor is the app login's, with the tenant set."""
    cursor.execute(
        f"""UPDATE lane_state s SET starts = t.starts::jsonb FROM unnest(%s::uuid[], %s::text[]) t(lane_id, starts)
           WHERE s.tenant_id = %s AND s.lane_id = t.lane_id AND s.holder = %s AND {_NEWER}""",  # noqa: S608 - text of ours
        [[entry[1] for entry in starts], [entry[2] for entry in starts], tenant_id, holder],
    )


def release(lane_ids: Sequence[uuid.UUID], holder: uuid.UUID) -> None:
    """Give lanes back; the next holder may start at once."""
    with ops_scope(REASON), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            """UPDATE lane_state SET holder = NULL, lease_until = NULL, released_at = clock_timestamp(), in_flight = 0,
                      wait_reason = '' WHERE lane_id = ANY(%s) AND holder = %s""",
            [list(lane_ids), holder],
        )
    reach("lane.released")


def give_back(lanes: Sequence[Acquired], holder: uuid.UUID) -> None:
    """Give lanes back in which nothing was done, as they were found: with what earlier holders left of their starts, and
    since when certainly no call was started. A lane that was merely released has the next holder wait for its windows."""
    with ops_scope(REASON), engine_cursor(OPS_ALIAS) as cursor:
        cursor.execute(
            """UPDATE lane_state s SET holder = NULL, lease_until = NULL, starts = t.starts::jsonb,
                      released_at = clock_timestamp() - t.quiet * interval '1 second'
               FROM unnest(%s::uuid[], %s::text[], %s::float[]) t(lane_id, starts, quiet)
               WHERE s.lane_id = t.lane_id AND s.holder = %s""",
            [
                [facts.id for facts, _, _ in lanes],
                [dump(facts.starts) for facts, _, _ in lanes],
                [quiet_s for _, _, quiet_s in lanes],
                holder,
            ],
        )


def look(
    lane_ids: Sequence[uuid.UUID],
) -> tuple[dict[uuid.UUID, LaneFacts], dict[uuid.UUID, list[RunInLane]]]:
    """The present settings of leased lanes, and the runs that may have calls started in them: two queries in all."""
    lanes = list(lane_ids)
    with ops_scope(REASON), engine_cursor(OPS_ALIAS) as cursor:
        facts = {row[0]: _facts(row) for row in rows(cursor, FACTS, [lanes])}
        runs: dict[uuid.UUID, list[RunInLane]] = {lane_id: [] for lane_id in lanes}
        for row in rows(cursor, RUNS, [lanes]):
            runs[row[0]].append(_run(row))
    return facts, runs


def look_again(
    lane_ids: Sequence[uuid.UUID],
    known: Mapping[uuid.UUID, Collection[uuid.UUID]],
    leave_out: Sequence[tuple[uuid.UUID, uuid.UUID]],
) -> tuple[dict[uuid.UUID, LaneFacts], dict[uuid.UUID, list[RunInLane | RunSeen]]]:
    """As `look`; of the runs of a lane that its holder has `known`, only what changes, and nothing of those to `leave_out`
    (lane, run). With a record a run, a lane has as many runs as it has work, and is looked at each time that some comes.
    """
    lanes = list(lane_ids)
    without = [list(column) for column in zip(*leave_out, strict=True)]
    new: list[tuple[uuid.UUID, uuid.UUID]] = []
    runs: dict[uuid.UUID, list[RunInLane | RunSeen]] = {lane_id: [] for lane_id in lanes}
    with ops_scope(REASON), engine_cursor(OPS_ALIAS) as cursor:
        facts = {row[0]: _facts(row) for row in rows(cursor, FACTS, [lanes])}
        for lane_id, *seen in rows(cursor, _SEEN + _NOT_LEFT_OUT if without else _SEEN, [lanes, *without]):
            if seen[0] in known.get(lane_id, ()):
                runs[lane_id].append(RunSeen._make(seen))
            else:
                new.append((lane_id, seen[0]))
        if new:
            for row in rows(cursor, _THESE, [list(column) for column in zip(*new, strict=True)]):
                runs[row[0]].append(_run(row))
    return facts, runs


def note_ok(connection_ids: Sequence[uuid.UUID]) -> None:
    """Connections that answered: their last good answer is now."""
    with ops_scope(REASON), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            "UPDATE integrations_connection SET last_ok_at = now() WHERE id = ANY(%s)",
            [sorted(connection_ids)],
        )


def _facts(row: tuple[Any, ...]) -> LaneFacts:
    values = list(row)
    values[7], values[11] = tuple(load(row[7])), load(row[11]) or {}
    return LaneFacts(*values)


def _run(row: tuple[Any, ...]) -> RunInLane:
    facts = RunFacts(
        id=row[1],
        tenant_id=row[2],
        template=row[3],
        config=load(row[4]),
        lanes=load(row[5]),
        livemode=row[6],
        created_at=row[7],
        credit_limit=row[8],
    )
    return RunInLane(facts=facts, priority=row[9], vtime=row[10], since=row[11], fed=row[12])


def moment(seconds: float) -> datetime:
    """A wall-clock time (Unix seconds) as a datetime in UTC, for history rows alone; no decision uses it."""
    return datetime.fromtimestamp(seconds, UTC)
