"""The engine's plain data, made by hand: no database, no vendor."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tenants.secret import Secret
from workflows.catalog import TEMPLATES
from workflows.lanes.breaker import FAILURES
from workflows.lanes.holder import LaneHolder
from workflows.lanes.lease import Foreign, LaneFacts
from workflows.lanes.work import STAMP_MAX_AGE_S, RunFacts, RunInLane, Work

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ADA = {"first_name": "Ada", "last_name": "Byron", "domain": "engines.example"}


def facts(*, template: str = "email-waterfall", **config: Any) -> RunFacts:
    """A run whose configuration is the template's own but for what is given."""
    return RunFacts(
        id=uuid.uuid4(),
        tenant_id=uuid.uuid4(),
        template=template,
        config=TEMPLATES[template].default_config() | config,
        lanes={},
        livemode=True,
        created_at=LONG_AGO,
        credit_limit=None,
    )


def a_step(run: RunFacts | None = None, **changes: Any) -> Work:
    """The first step of a record: Prospeo is asked for Ada."""
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "lane_id": uuid.uuid4(),
        "run": run or facts(),
        "record_id": uuid.uuid4(),
        "record_input": ADA,
        "operation": "find",
        "provider": "prospeo",
        "query": ADA,
        "fingerprint": "f" * 32,
        "taken": [],
        "attempt": 1,
        "crashes": 0,
        "ready_at": LONG_AGO,
    }
    return Work(**{**values, **changes})


NOW = 100.0
EPOCH = 1_000_000.0  # what the database's clock says at NOW


def lane_facts(**changes: Any) -> LaneFacts:
    """A lane of Prospeo's: ten starts a second, four calls at once, nothing the matter."""
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "tenant_id": uuid.uuid4(),
        "connection_id": uuid.uuid4(),
        "provider": "prospeo",
        "mode": "sandbox",
        "key_hash": "0" * 16,
        "on_ambiguous": "advance",
        "windows": ({"rate": 10, "period": 1.0},),
        "parallelism": 4,
        "paused": False,
        "cooldown_s": 0.0,
        "starts": {},
        "database_now": EPOCH,
    }
    return LaneFacts(**{**values, **changes})


def a_holder(
    *runs: RunInLane, foreign: Sequence[Foreign] = (), quiet_s: float | None = None, **changes: Any
) -> LaneHolder:
    """A lane leased at NOW, with these runs."""
    facts = lane_facts(**changes)
    holder = LaneHolder(
        facts, Secret("a-key"), "http://vendor", foreign, quiet_s=quiet_s, leased_at=NOW, now=NOW
    )
    holder.refresh(facts, runs, NOW)
    return holder


def run_in_lane(steps: int = 0, *, priority: int = 0, vtime: float = 0.0, **config: Any) -> RunInLane:
    """A run with so many steps in the holder's hands."""
    run = RunInLane(facts(**config), priority=priority, vtime=vtime, since=LONG_AGO)
    run.buffer.extend(a_step(run.facts) for _ in range(steps))
    return run


def call_left(holder: LaneHolder, at: float, operation: str = "") -> None:
    """A call was started, and its bytes left the machine at once."""
    holder.pacer.started(at, operation)
    holder.pacer.sent(at, operation)


def a_foreign(remaining_s: float = 5.0) -> Foreign:
    return Foreign(uuid.uuid4(), uuid.uuid4(), remaining_s, 1.0)


def fly(holder: LaneHolder, count: int) -> list[Work]:
    """So many calls are in flight."""
    works = [a_step() for _ in range(count)]
    holder.in_flight.update((work.id, work) for work in works)
    return works


def stamp(holder: LaneHolder, run: RunInLane, count: int = 1, *, at: float = NOW) -> list[Work]:
    """So many steps of the run are stamped and wait to be sent."""
    works = [a_step(run.facts, send_by=at + STAMP_MAX_AGE_S) for _ in range(count)]
    holder.stamped.extend(works)
    return works


def trip(holder: LaneHolder, now: float = NOW) -> None:
    """The vendor fails until the lane rests; it rests for exactly as long as it must."""
    holder.breaker.dice = lambda low, high: high
    for _ in range(FAILURES):
        holder.breaker.failed(now, now)
