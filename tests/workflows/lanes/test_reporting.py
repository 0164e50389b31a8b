"""What a lane says about itself: why it waits, its figures, whether it is idle."""

import json
import uuid

import pytest

from tests.workflows.lanes.pieces import (
    EPOCH,
    NOW,
    a_foreign,
    a_holder,
    a_step,
    call_left,
    fly,
    lane_facts,
    run_in_lane,
    stamp,
    trip,
)
from workflows.lanes.holder import LaneHolder

MINUTE = "60:"
LONG = ({"rate": 100, "period": 60.0},)


class TestWhyItWaits:
    def waits(self, holder: LaneHolder, now: float = NOW) -> str:
        return holder.wait_reason(now)

    def test_nothing_waits_where_nothing_is(self) -> None:
        assert self.waits(a_holder()) == ""
        holder = a_holder()
        trip(holder)
        assert self.waits(holder) == ""
        assert self.waits(a_holder(run_in_lane(1))) == ""

    def test_each_reason_has_its_word(self) -> None:
        assert self.waits(a_holder(paused=True)) == "paused"
        assert self.waits(a_holder(run_in_lane(1), cooldown_s=1.0)) == "cooldown"
        resting = a_holder(run_in_lane(1))
        trip(resting)
        assert self.waits(resting) == "breaker"
        full = a_holder(run_in_lane(1))
        fly(full, 3)
        assert self.waits(full) == ""
        fly(full, 1)
        assert self.waits(full) == "parallelism"
        foreign = a_holder(run_in_lane(1), foreign=[a_foreign()])
        fly(foreign, 3)
        assert self.waits(foreign) == "parallelism"
        limited = a_holder(run_in_lane(1))
        call_left(limited, NOW)
        assert self.waits(limited) == "rate"

    def test_what_is_stamped_waits_as_well(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        stamp(holder, run)
        call_left(holder, NOW)
        assert self.waits(holder) == "rate"
        trip(holder)
        assert self.waits(holder) == "breaker"

    def test_a_reason_stays_for_two_seconds_while_there_is_work(self) -> None:
        holder = a_holder(run_in_lane(1), cooldown_s=1.0)
        holder.note_wait(NOW + 0.9)
        assert self.waits(holder, NOW + 2.8) == "cooldown"
        assert self.waits(holder, NOW + 2.9) == ""
        idle = a_holder(cooldown_s=1.0)
        assert self.waits(idle) == ""
        assert self.waits(a_holder(paused=True), NOW) == "paused"


class TestReporting:
    def test_the_starts_of_long_windows_are_told_in_the_databases_time(self) -> None:
        assert a_holder().starts(NOW) is None
        run = run_in_lane()
        holder = a_holder(run, windows=LONG)
        assert json.loads(holder.starts(NOW) or "") == {MINUTE: [], "at:written": NOW}
        call_left(holder, NOW)
        call_left(holder, NOW)
        ((end, count),) = json.loads(holder.starts(NOW) or "")[MINUTE]
        assert (end, count) == (EPOCH + 1.25, 2)

    def test_what_is_stamped_counts_as_started_when_the_lease_ends(self) -> None:
        run = run_in_lane()
        holder = a_holder(run, windows=({"rate": 10, "period": 1.0}, *LONG))
        stamp(holder, run, 2)
        holder.stamping[uuid.uuid4()] = a_step()
        told = json.loads(holder.starts(NOW + 0.12345) or "")
        assert told[MINUTE] == [[EPOCH + 8.0, 3]]
        assert json.loads(holder.report(NOW + 0.12345).starts)[MINUTE] == [[EPOCH + 8.0, 3]]

    def test_starts_are_told_by_the_latest_that_the_databases_clock_can_have_been(self) -> None:
        holder = a_holder(windows=LONG)
        call_left(holder, NOW)
        holder.refresh(lane_facts(windows=LONG, database_now=EPOCH + 1.0), [], NOW + 3.0, asked_at=NOW + 0.5)
        ((end, _),) = json.loads(holder.report(NOW + 3.0).starts)[MINUTE]
        assert end == EPOCH + 1.25 + 0.5

    def test_all_that_a_page_shows_of_a_lane(self) -> None:
        run = run_in_lane(1)
        holder = a_holder(run, foreign=[a_foreign()], cooldown_s=2.0, pace=0.7, failures=3, trips=0)
        fly(holder, 2)
        for ago in (1.5, 0.9, 0.1):
            call_left(holder, NOW - ago)
        report = holder.report(NOW)
        assert report.lane_id == holder.facts.id
        assert (report.in_flight, report.started_last_period, report.wait_reason) == (3, 2, "cooldown")
        assert (report.cooldown_s, report.pace) == (2.0, 0.7)
        assert json.loads(report.starts) == {"at:written": NOW}
        assert (report.failures, report.trips, report.rest_s) == (3, 0, 0.0)
        later = holder.report(NOW + 5)
        assert (later.cooldown_s, later.rest_s) == (0.0, 0.0)
        trip(holder)
        resting = holder.report(NOW + 1)
        assert (resting.trips, resting.rest_s) == (1, 9.0)
        assert json.loads(a_holder(windows=LONG).report(NOW).starts) == {MINUTE: [], "at:written": NOW}

    def test_the_shortest_window_is_the_period_that_is_told(self) -> None:
        holder = a_holder(windows=(*LONG, {"rate": 10, "period": 2.0}))
        for ago in (2.5, 1.5, 0.5):
            call_left(holder, NOW - ago)
        assert holder.report(NOW).started_last_period == 2
        assert a_holder(windows=()).report(NOW).started_last_period == 0

    def test_idle_is_who_has_nothing_to_do(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        assert holder.idle_for(NOW + 5) == 0.0  # it was poked
        holder.turns.poked = False
        assert holder.idle_for(NOW + 7) == 2.0
        holder.turns.claiming = True
        assert holder.idle_for(NOW + 8) == 0.0
        holder.turns.claiming = False
        run.buffer.append(a_step())
        assert holder.idle_for(NOW + 9) == 0.0
        run.buffer.clear()
        assert holder.idle_for(NOW + 9.5) == 0.5

    @pytest.mark.parametrize("where", ["in_flight", "stamping", "foreign", "stamped", "settling", "buffer"])
    def test_anything_in_hand_is_work(self, where: str) -> None:
        run, work = run_in_lane(), a_step()
        holder = a_holder(run)
        assert holder.has_work() is False
        if where == "buffer":
            run.buffer.append(work)
        elif where == "stamped":
            holder.stamped.append(work)
        elif where == "settling":
            holder.settling.add(work.id)
        else:
            getattr(holder, where)[work.id] = work
        assert holder.has_work() is True
