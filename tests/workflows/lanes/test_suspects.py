"""A step that was in hand when workers died twice is a suspect: it runs alone, or innocent ones would be given up."""

import uuid
from datetime import UTC, datetime

from workflows.lanes.holder import LaneHolder
from workflows.lanes.lease import LaneFacts
from workflows.lanes.work import RunFacts, RunInLane, Work

NOW = 1_000.0
AT = datetime(2026, 1, 1, tzinfo=UTC)


def lane_with(*runs: list[int]) -> LaneHolder:
    """A lane with a run for each list; its steps have crashed so often."""
    facts = LaneFacts(
        id=uuid.uuid4(), tenant_id=uuid.uuid4(), connection_id=uuid.uuid4(), provider="prospeo", mode="sandbox",
        key_hash="", on_ambiguous="ask", windows=(), parallelism=10, paused=False, cooldown_s=0.0, starts={},
        database_now=0.0,
    )  # fmt: skip
    lane = LaneHolder(facts, None, "", [], quiet_s=None, leased_at=NOW, now=NOW)
    made = []
    for _ in runs:
        run_facts = RunFacts(uuid.uuid4(), facts.tenant_id, "email-waterfall", {}, {}, True, AT, None)
        made.append(RunInLane(facts=run_facts, priority=5, vtime=0.0, since=AT))
    lane.refresh(facts, made, NOW)
    for run, crashes in zip(made, runs, strict=True):
        lane.turns.claimed(run, [_work(facts, run.facts, count) for count in crashes], NOW, ended=True)
    return lane


def _work(facts: LaneFacts, run: RunFacts, crashes: int) -> Work:
    return Work(
        id=uuid.uuid4(), lane_id=facts.id, run=run, record_id=uuid.uuid4(), record_input={}, operation="find",
        provider="prospeo", query={}, fingerprint="", taken=[], attempt=1, crashes=crashes, ready_at=AT,
    )  # fmt: skip


def taken(lane: LaneHolder, **options: bool) -> list[int]:
    return [work.crashes for work in lane.take_for_stamping(NOW, **options)]


def test_steps_that_never_crashed_twice_are_stamped_together() -> None:
    lane = lane_with([0, 1, 1, 0])
    assert taken(lane) == [0, 1, 1, 0]
    assert not lane.suspect_in_hand()


def test_a_suspect_is_stamped_alone() -> None:
    lane = lane_with([2, 0, 0])
    assert taken(lane) == [2]
    assert lane.suspect_in_hand()
    assert taken(lane) == [], "nothing joins it"


def test_a_suspect_waits_until_nothing_else_is_in_hand() -> None:
    lane = lane_with([0, 2, 0])
    assert taken(lane) == [0]
    assert taken(lane) == []
    lane.stamping.clear()
    assert taken(lane) == [2]


def test_one_suspect_at_a_time_in_a_process_and_the_other_runs_go_on() -> None:
    lane = lane_with([2, 0], [0, 0])
    assert taken(lane, suspect_elsewhere=True) == [0, 0]
    lane.stamping.clear()
    assert taken(lane, suspect_elsewhere=False) == [2]
