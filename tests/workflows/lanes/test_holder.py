"""A leased lane in the hands of a runner: what it takes over, and what it does while the vendor is out."""

import json
import uuid
from typing import Any

import pytest

from tenants.secret import Secret
from tests.workflows.lanes.pieces import (
    EPOCH,
    NOW,
    a_foreign,
    a_holder,
    call_left,
    lane_facts,
    run_in_lane,
    stamp,
    trip,
)
from workflows.lanes.breaker import FAILURES
from workflows.lanes.holder import LaneHolder
from workflows.lanes.lease import LEASE_S, SAFE_SHARE
from workflows.lanes.turns import goes_on
from workflows.lanes.work import RunInLane

MINUTE = "60:"
LONG = ({"rate": 100, "period": 60.0},)


class TestTakingOver:
    def test_a_lane_is_held_for_four_fifths_of_its_lease(self) -> None:
        holder = a_holder(cooldown_s=3.0, pace=0.4)
        assert holder.held_until == NOW + 8.0
        assert holder.cooldown_until == NOW + 3.0
        assert holder.pacer.pace == 0.4
        assert (a_holder(pace=0.0).pacer.pace, a_holder(pace=7.0).pacer.pace) == (0.1, 1.0)

    def test_it_starts_with_nothing_in_hand_and_looks_for_work(self) -> None:
        holder = a_holder()
        assert not holder.has_work()
        assert (holder.turns.poked, holder.turns.claiming, holder.pausing, holder.answered_ok) == (
            True,
            False,
            False,
            False,
        )
        assert (holder.known([]), holder.turns.buffered(), holder.probe) == ([], 0, None)
        assert holder.secret is not None
        assert (holder.secret.reveal(), holder.base_url) == ("a-key", "http://vendor")
        assert holder.connector.provider == "prospeo"

    def test_what_others_stamped_is_in_flight_until_its_deadline(self) -> None:
        other = a_foreign(5.0)
        holder = a_holder(foreign=[other])
        assert holder.foreign == {other.id: NOW + 5.0}
        assert holder.foreign_holders == {other.id: other.holder}
        assert holder.known([]) == [other.id]
        assert holder.has_work()

    @pytest.mark.parametrize(
        ("quiet_s", "first"),
        [
            (None, NOW),
            (0.5, NOW + 0.52),
            (0.0, NOW + 1.02),
            (-3.0, NOW + 1.02),
            (1.0, NOW + 0.02),
            (1.02, NOW),
        ],
    )
    def test_short_windows_count_as_full_at_the_last_moment_that_can_have_been(
        self, quiet_s: float | None, first: float
    ) -> None:
        assert a_holder(quiet_s=quiet_s).pacer.next_start(NOW) == pytest.approx(first)

    def test_long_windows_count_what_was_written_down(self) -> None:
        starts = {MINUTE: [[EPOCH - 61, 500], [EPOCH - 60, 500], [EPOCH - 59, 60], [EPOCH - 10, 40]]}
        holder = a_holder(windows=LONG, starts=starts, quiet_s=0.0)
        assert holder.pacer.next_start(NOW) == pytest.approx(NOW + 1.05)
        starts[MINUTE][-1][1] = 39
        guarded = a_holder(windows=LONG, starts=starts).pacer.next_start(NOW)
        assert guarded == pytest.approx(NOW + 0.05), "those of exactly a window ago are in it for its guard"
        longer = {
            "3600:": [[EPOCH - 50, 500]]
        }  # the window is new: what is known of the longest other is in it too
        assert a_holder(windows=LONG, starts=longer).pacer.next_start(NOW) == pytest.approx(NOW + 10.05)

    def test_a_clock_that_was_ahead_blocks_nobody_for_longer_than_the_window(self) -> None:
        holder = a_holder(windows=LONG, starts={MINUTE: [[EPOCH + 500, 100]]})
        assert holder.pacer.next_start(NOW) == pytest.approx(NOW + 60.05)

    def heir_of(self, dead: LaneHolder, told: str | None, now: float) -> LaneHolder:
        """Who takes the lane over as soon as its lease has lapsed; both live by one monotonic clock."""
        ahead = EPOCH - NOW
        facts = lane_facts(
            windows=dead.facts.windows, database_now=now + ahead, starts=json.loads(told or "")
        )
        lapsed = dead.held_until + LEASE_S * (1 - SAFE_SHARE)
        return LaneHolder(
            facts,
            Secret("a-key"),
            "http://vendor",
            (),
            quiet_s=max(0.0, now - lapsed),
            leased_at=now,
            now=now,
        )

    def test_a_slow_taking_makes_no_start_look_older_than_it_is(self) -> None:
        """The database was asked at NOW, and its answer was used three seconds later."""
        facts = lane_facts(windows=({"rate": 3, "period": 60.0},), database_now=EPOCH)
        holder = LaneHolder(facts, Secret("k"), "http://v", (), quiet_s=None, leased_at=NOW, now=NOW + 3.0)
        first = at = NOW + 3.0
        for _ in range(3):
            at = max(at, holder.pacer.next_start(at))
            call_left(holder, at)
        heir = self.heir_of(holder, holder.starts(at), at + 11.0)
        assert heir.pacer.next_start(at + 11.0) >= first + 60.0

    def test_a_start_that_was_only_stamped_when_it_was_written_down_counts_from_when_it_can_have_left(
        self,
    ) -> None:
        run = run_in_lane()
        holder = a_holder(run, windows=({"rate": 1, "period": 60.0},))
        stamp(holder, run)
        told = holder.starts(NOW)
        left = NOW + 2.9
        (work,) = holder.take_to_send(left)
        call_left(holder, left)
        assert work.id in holder.in_flight
        heir = self.heir_of(holder, told, NOW + 10.0)
        assert heir.pacer.next_start(NOW + 10.0) >= left + 60.0

    def test_it_rests_as_long_as_the_one_before_would_have(self) -> None:
        holder = a_holder(failures=FAILURES, trips=1, rest_s=4.0)
        assert holder.breaker.until == NOW + 4.0
        assert holder.is_out(NOW + 3.9)
        assert not holder.is_out(NOW + 4.0)


class TestRefreshing:
    def test_new_runs_come_in_and_ended_ones_go(self) -> None:
        one, two = run_in_lane(), run_in_lane()
        holder = a_holder(one)
        holder.refresh(holder.facts, [two], NOW + 1)
        assert list(holder.turns.runs) == [two.facts.id]
        assert two.last_turn == NOW + 1

    def test_a_new_run_has_no_credit_from_the_time_before_it(self) -> None:
        holder = a_holder()
        holder.turns.floor = 50.0
        late, ahead = run_in_lane(vtime=3.0), run_in_lane(vtime=70.0)
        holder.refresh(holder.facts, [late, ahead], NOW)
        assert (late.vtime, ahead.vtime) == (50.0, 70.0)

    def test_a_known_run_keeps_its_place_and_takes_over_what_people_change(self) -> None:
        run = run_in_lane(2)
        holder = a_holder(run)
        run.vtime = 9.0
        changed = RunInLane(run_in_lane().facts, priority=7, vtime=0.0, since=run.since)
        changed.facts.id, changed.facts.credit_limit = run.facts.id, 5000
        holder.refresh(holder.facts, [changed], NOW + 1)
        assert holder.turns.runs == {run.facts.id: run}
        assert (run.priority, run.vtime, len(run.buffer), run.facts.credit_limit) == (7, 9.0, 2, 5000)
        assert run.last_turn == NOW

    def test_other_limits_hold_at_once_with_what_was_started(self) -> None:
        holder = a_holder()
        for _ in range(2):
            call_left(holder, NOW)
        holder.refresh(lane_facts(windows=({"rate": 2, "period": 1.0},)), [], NOW)
        assert holder.pacer.next_start(NOW) >= NOW + 1.0
        assert [(limit.rate, limit.period) for limit in holder.pacer.limits] == [(2, 1.0)]
        before = holder.pacer.limits[0]
        holder.refresh(holder.facts, [], NOW)
        assert holder.pacer.limits[0] is before

    @pytest.mark.parametrize(
        ("change", "told"),
        [({}, False), ({"cooldown_s": 5.0}, False), ({"windows": ({"rate": 2, "period": 1.0},)}, True),
         ({"parallelism": 9}, True), ({"paused": True}, True)],
    )  # fmt: skip
    def test_it_tells_whether_something_may_start_or_end_by_it(self, change: Any, told: bool) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        assert holder.refresh(lane_facts(**change), [run], NOW) is told
        assert holder.refresh(holder.facts, [run, run_in_lane()], NOW) is True
        assert holder.refresh(holder.facts, [run], NOW) is True

    def test_when_a_lane_goes_on_is_remembered(self) -> None:
        holder = a_holder(paused=True)
        holder.refresh(lane_facts(paused=True), [], NOW + 1)
        assert holder.resumed_at == 0.0
        holder.refresh(lane_facts(), [], NOW + 2)
        holder.refresh(lane_facts(), [], NOW + 3)
        assert holder.resumed_at == NOW + 2
        assert not holder.facts.paused


class TestOutage:
    def test_out_is_who_rests_and_whose_key_is_the_trouble(self) -> None:
        assert not a_holder().is_out(NOW)
        for reason, out in (("auth_failed", True), ("no_credits", True), ("somebody", False), ("", False)):
            assert a_holder(paused=True, pause_reason=reason).is_out(NOW) is out
        assert not a_holder(pause_reason="auth_failed").is_out(NOW)

    def test_after_the_rest_it_is_out_while_a_probe_is_under_way(self) -> None:
        holder = a_holder()
        trip(holder)
        assert holder.is_out(NOW)
        assert not holder.is_out(NOW + 10)
        holder.probe = uuid.uuid4()
        assert holder.is_out(NOW + 10)
        fresh = a_holder()
        fresh.probe = uuid.uuid4()
        assert not fresh.is_out(NOW)

    def test_runs_that_do_not_wait_pass_it_over_and_the_others_keep_theirs(self) -> None:
        waits, skips, more = (
            run_in_lane(2),
            run_in_lane(2, on_outage="skip"),
            run_in_lane(1, on_outage="skip"),
        )
        assert (goes_on(waits), goes_on(skips)) == (False, True)
        holder = a_holder(waits, skips, more)
        assert holder.take_to_pass_over(NOW) == []
        steps = [*skips.buffer, *more.buffer]
        trip(holder)
        assert holder.take_to_pass_over(NOW) == steps
        assert (len(waits.buffer), len(skips.buffer), len(more.buffer)) == (2, 0, 0)
        assert holder.take_to_pass_over(NOW) == []
