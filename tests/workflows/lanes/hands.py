"""A lane in the hands of a test: a holder without a runner, on a clock of the test's own."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tenants.secret import Secret
from workflows.lanes.holder import LaneHolder
from workflows.lanes.lease import LaneFacts
from workflows.lanes.work import STAMP_MAX_AGE_S, RunFacts, RunInLane, Work

NOW = 1_000.0
TENANT = uuid.UUID(int=1)


def lane_facts(**changes: Any) -> LaneFacts:
    facts: dict[str, Any] = {
        "id": uuid.UUID(int=2), "tenant_id": TENANT, "connection_id": uuid.UUID(int=3), "provider": "prospeo",
        "mode": "live", "key_hash": "k", "on_ambiguous": "ask", "windows": ({"rate": 10, "period": 1},),
        "parallelism": 4, "paused": False, "cooldown_s": 0.0, "starts": {}, "database_now": NOW,
    }  # fmt: skip
    return LaneFacts(**{**facts, **changes})


def holder(**changes: Any) -> LaneHolder:
    """A lane that has been held for long enough for its lease never to lapse during the test."""
    made = LaneHolder(
        lane_facts(**changes), Secret("key"), "http://127.0.0.1", (), quiet_s=None, leased_at=NOW, now=NOW
    )
    made.held_until = NOW + 1e6
    return made


def run_in_lane(number: int, *, priority: int = 5, config: dict[str, Any] | None = None) -> RunInLane:
    born = datetime(2026, 1, 1, tzinfo=UTC)
    facts = RunFacts(
        uuid.UUID(int=100 + number), TENANT, "email-waterfall", config or {}, {}, True, born, None
    )
    return RunInLane(facts=facts, priority=priority, vtime=0.0, since=born)


def works(run: RunInLane, count: int, *, crashes: int = 0, operation: str = "find") -> list[Work]:
    return [
        Work(
            id=uuid.uuid4(), lane_id=uuid.UUID(int=2), run=run.facts, record_id=uuid.uuid4(), record_input={},
            operation=operation, provider="prospeo", query={}, fingerprint=uuid.uuid4().hex, taken=[], attempt=1,
            crashes=crashes, ready_at=run.since,
        )
        for _ in range(count)
    ]  # fmt: skip


def give(lane: LaneHolder, runs: Sequence[RunInLane], count: int, now: float = NOW) -> None:
    """Let the lane know these runs, each with so many steps claimed."""
    lane.refresh(lane.facts, [*lane.turns.runs.values(), *runs], now)
    for run in runs:
        lane.turns.claimed(run, works(run, count), NOW, ended=True)


def stamped(lane: LaneHolder, now: float) -> list[Work]:
    """What the lane would have stamped now, written at once."""
    chosen = lane.take_for_stamping(now)
    for work in chosen:
        del lane.stamping[work.id]
        work.send_by = now + STAMP_MAX_AGE_S
        lane.stamped.append(work)
    return chosen


def send(lane: LaneHolder, now: float) -> Work:
    """Send the next stamped step."""
    work = lane.stamped.popleft()
    lane.in_flight[work.id] = work
    lane.pacer.started(now, work.operation)
    lane.pacer.sent(now, work.operation)
    return work
