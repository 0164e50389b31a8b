"""A leased lane in the hands of a runner: what it claims, stamps and sends, when, and what it says about itself."""

import json
import uuid
from dataclasses import replace
from typing import Any

import orjson
import pytest

from integrations.connectors.base import Quota
from tests.workflows.lanes.pieces import EPOCH, NOW, a_holder, a_step, call_left, lane_facts, run_in_lane
from workflows.lanes.breaker import FAILURES
from workflows.lanes.holder import CLAIM_MOST, LaneHolder, goes_on
from workflows.lanes.lease import Foreign
from workflows.lanes.work import RunInLane, Work

MINUTE = "60:"
LONG = ({"rate": 100, "period": 60.0},)


def a_foreign(remaining_s: float = 5.0) -> Foreign:
    return Foreign(uuid.uuid4(), uuid.uuid4(), remaining_s, 1.0)


def fly(holder: LaneHolder, count: int) -> list[Work]:
    """So many calls are in flight."""
    works = [a_step() for _ in range(count)]
    holder.in_flight.update((work.id, work) for work in works)
    return works


def stamp(holder: LaneHolder, run: RunInLane, count: int = 1, *, at: float = NOW) -> list[Work]:
    """So many steps of the run are stamped and wait to be sent."""
    works = [a_step(run.facts, stamped_at=at) for _ in range(count)]
    holder.stamped.extend(works)
    return works


def made(milliseconds: int, run: RunInLane) -> Work:
    """A step that was queued so long after the beginning of time."""
    return replace(a_step(run.facts), id=uuid.UUID(int=milliseconds << 80))


def place(run: RunInLane) -> tuple[uuid.UUID | None, bool]:
    """Up to where the run's queue was read, and whether that was its end."""
    return run.cursor, run.exhausted


def trip(holder: LaneHolder, now: float = NOW) -> None:
    """The vendor fails until the lane rests; it rests for exactly as long as it must."""
    holder.breaker.dice = lambda low, high: high
    for _ in range(FAILURES):
        holder.breaker.failed(now, now)


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
        assert (holder.poked, holder.claiming, holder.pausing, holder.answered_ok) == (
            True,
            False,
            False,
            False,
        )
        assert (holder.known(), holder.buffered(), holder.probe) == ([], 0, None)
        assert holder.secret is not None
        assert (holder.secret.reveal(), holder.base_url) == ("a-key", "http://vendor")
        assert holder.connector.provider == "prospeo"

    def test_what_others_stamped_is_in_flight_until_its_deadline(self) -> None:
        other = a_foreign(5.0)
        holder = a_holder(foreign=[other])
        assert holder.foreign == {other.id: NOW + 5.0}
        assert holder.foreign_holders == {other.id: other.holder}
        assert holder.known() == [other.id]
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
        assert list(holder.runs) == [two.facts.id]
        assert two.last_turn == NOW + 1

    def test_a_new_run_has_no_credit_from_the_time_before_it(self) -> None:
        holder = a_holder()
        holder.vtime_floor = 50.0
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
        assert holder.runs == {run.facts.id: run}
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


class TestClaiming:
    def plan(self, holder: LaneHolder, now: float = NOW) -> list[tuple[Any, int]]:
        return holder.claim_plan(now)

    def test_each_run_gets_its_share_of_four_flushes(self) -> None:
        """Ten a second and a quarter of one: three starts a flush, so twenty at least."""
        one, two = run_in_lane(), run_in_lane()
        holder = a_holder(one, two)
        assert [(run.facts.id, share) for run, share in self.plan(holder)] == [
            (one.facts.id, 10), (two.facts.id, 10),
        ]  # fmt: skip

    def test_a_fast_lane_claims_more_and_never_more_than_the_most(self) -> None:
        run = run_in_lane()
        fast = a_holder(run, windows=({"rate": 100, "period": 1.0},), parallelism=100)
        assert self.plan(fast) == [(run, 4 * 28)]
        very = a_holder(run, windows=({"rate": 9000, "period": 1.0},), parallelism=1000)
        assert self.plan(very) == [(run, CLAIM_MOST)]

    def test_nothing_is_claimed_while_a_claim_is_under_way_or_the_lane_is_paused(self) -> None:
        holder = a_holder(run_in_lane())
        holder.claiming = True
        assert self.plan(holder) == []
        assert self.plan(a_holder(run_in_lane(), paused=True)) == []
        assert self.plan(a_holder(run_in_lane(), paused=True, pause_reason="auth_failed")) == []
        assert self.plan(a_holder()) == []

    def test_runs_at_their_end_or_with_enough_in_hand_are_left_out(self) -> None:
        done, full, short = run_in_lane(), run_in_lane(5), run_in_lane(4)
        holder = a_holder(done, full, short)
        done.exhausted = True
        assert [run for run, _ in self.plan(holder)] == [short]

    def test_enough_at_hand_is_enough_unless_a_run_has_nothing(self) -> None:
        many = [run_in_lane(4) for _ in range(5)]
        assert self.plan(a_holder(*many)) == []
        many[0].buffer.pop()
        assert self.plan(a_holder(*many)) != []
        many[0].buffer.append(a_step())
        empty = run_in_lane()
        assert empty in [run for run, _ in self.plan(a_holder(*many, empty))]

    def test_at_most_sixteen_runs_at_once_those_before_others_first(self) -> None:
        runs = [run_in_lane(vtime=float(number)) for number in range(20, 0, -1)]
        plan = self.plan(a_holder(*runs))
        assert [run.vtime for run, _ in plan] == [float(number) for number in range(1, 17)]
        assert {share for _, share in plan} == {1}

    def test_while_the_vendor_is_out_those_that_do_not_wait_are_read_to_their_end(self) -> None:
        waits, skips = run_in_lane(), run_in_lane(on_outage="skip")
        paused = a_holder(waits, skips, paused=True, pause_reason="no_credits")
        assert self.plan(paused) == [(skips, CLAIM_MOST)]
        resting = a_holder(waits, skips)
        trip(resting)
        assert self.plan(resting) == [(waits, CLAIM_MOST // 2), (skips, CLAIM_MOST // 2)]
        by_hand = a_holder(waits, skips, paused=True, pause_reason="somebody")
        assert self.plan(by_hand) == []

    def test_what_was_claimed_is_kept_in_order_and_what_was_answered_before_is_not(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        works = [made(1, run), replace(made(2, run), cached_outcome="hit"), made(3, run)]
        holder.claimed(run, works, NOW, ended=False)
        assert list(run.buffer) == [works[0], works[2]]
        assert place(run) == (works[2].id, False)
        holder.claimed(run, [], NOW, ended=False)
        assert place(run) == (works[2].id, False)
        holder.claimed(run, [], NOW, ended=True)
        assert place(run) == (works[2].id, True)

    def test_a_hint_of_new_work_makes_every_run_worth_a_look_from_where_it_was_read_up_to(self) -> None:
        one, two = run_in_lane(), run_in_lane()
        holder = a_holder(one, two)
        holder.claimed(one, [made(1, one)], NOW, ended=False)
        holder.claimed(two, [], NOW, ended=True)
        holder.poked = False
        holder.poke()
        assert (place(one), place(two), holder.poked) == ((made(1, one).id, False), (None, False), True)

    def test_the_latest_steps_are_looked_at_again_one_before_them_may_not_be_committed_yet(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        seen = EPOCH * 1000 - 10_000
        holder.claimed(run, [made(int(seen) + 500, run)], NOW, ended=False)
        assert place(run) == (uuid.UUID(int=int(seen) << 80), False)

    def test_a_run_is_read_from_its_head_now_and_then(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)

        def starts(now: float, *, ended: bool) -> bool:
            """Whether a claim begins at the head."""
            holder.reading([(run, 10)], now)
            found = run.cursor is None
            holder.claimed(run, [made(1, run)], now, ended=ended)
            return found

        assert starts(NOW, ended=False)
        assert not starts(NOW + 14.9, ended=False)
        assert starts(NOW + 15.0, ended=True)
        assert not starts(NOW + 15.9, ended=True)
        assert starts(NOW + 16.0, ended=True)

    def test_what_came_back_is_asked_for_by_name_all_of_it_in_turn(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        works = [made(number, run) for number in range(1, 301)]
        for work in works:
            holder.came_back(work)
        asked = []
        for _ in range(2):
            holder.reading([(run, 10)], NOW)
            asked.append(set(run.asking))
        assert len(asked[0]) == 200
        assert asked[0] | asked[1] == {work.id for work in works}
        holder.claimed(run, works[:10], NOW, ended=False)
        holder.reading([(run, 10)], NOW)
        assert len(run.returned) == 290
        for work in works * 20:
            holder.came_back(replace(work, id=uuid.uuid4()))
        holder.reading([(run, 10)], NOW + 0.1)
        assert run.cursor is None, "too many to name: it is read from its head"

    def test_what_comes_for_a_run_that_has_gone_is_dropped(self) -> None:
        gone, holder = run_in_lane(), a_holder()
        holder.claimed(gone, [a_step(gone.facts)], NOW, ended=True)
        assert (len(gone.buffer), gone.exhausted) == (0, False)

    def test_all_that_is_in_hand_is_known(self) -> None:
        run = run_in_lane(1)
        other = a_foreign()
        holder = a_holder(run, foreign=[other])
        buffered = run.buffer[0].id
        (flying,) = fly(holder, 1)
        (stamped,) = stamp(holder, run)
        stamping, settling = a_step(), uuid.uuid4()
        holder.stamping[stamping.id] = stamping
        holder.settling.add(settling)
        assert set(holder.known()) == {buffered, flying.id, stamped.id, stamping.id, settling, other.id}
        assert len(holder.known()) == 6


class TestTurns:
    def test_a_higher_priority_goes_first_and_equals_take_turns(self) -> None:
        low, one, two = run_in_lane(9), run_in_lane(9, priority=1), run_in_lane(9, priority=1)
        holder = a_holder(low, one, two, windows=({"rate": 20, "period": 1.0},), parallelism=20)
        taken = [work.run.id for work in holder.take_for_stamping(NOW)]
        assert taken == [one.facts.id, two.facts.id] * 3
        assert (low.vtime, one.vtime, two.vtime) == (0.0, 3.0, 3.0)
        assert holder.vtime_floor == 2.0
        assert (one.last_turn, low.last_turn) == (NOW, NOW)

    def test_a_minute_without_a_turn_is_a_step_of_priority(self) -> None:
        patient, urgent = run_in_lane(5), run_in_lane(5, priority=1)
        holder = a_holder(patient, urgent)
        holder.held_until = NOW + 1000
        patient.vtime, urgent.last_turn = 5.0, NOW + 119.9

        def first(now: float) -> Any:
            work = holder.take_for_stamping(now)[0]
            holder.stamping.clear()
            patient.last_turn, patient.vtime, urgent.last_turn, urgent.vtime = NOW, 5.0, NOW + 119.9, 0.0
            return work.run.id

        assert first(NOW + 59.9) == urgent.facts.id
        assert first(NOW + 119.9) == urgent.facts.id  # as high by now, but it had more
        assert first(NOW + 120.0) == patient.facts.id
        patient.last_turn = 0.0  # not known yet
        assert holder._rank(patient, NOW + 6000.0) == (0, 5.0)

    def test_what_is_taken_is_being_stamped_and_counts_as_in_hand(self) -> None:
        run = run_in_lane(9)
        holder = a_holder(run)
        first = list(run.buffer)[:3]
        taken = holder.take_for_stamping(NOW)
        assert taken == first
        assert list(holder.stamping.values()) == first
        assert len(run.buffer) == 6
        assert holder.take_for_stamping(NOW) == []

    def test_what_was_in_hand_when_workers_died_twice_runs_alone(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        well, suspect, last = a_step(run.facts), a_step(run.facts, crashes=2), a_step(run.facts)
        holder.claimed(run, [well, suspect, last], NOW, ended=False)
        assert holder.take_for_stamping(NOW) == [well]
        holder.stamping.clear()
        holder.in_flight[well.id] = well
        assert holder.take_for_stamping(NOW) == []
        holder.in_flight.clear()
        holder.stamped.append(well)
        assert holder.take_for_stamping(NOW) == []
        holder.stamped.clear()
        holder.stamping[well.id] = well
        assert holder.take_for_stamping(NOW) == []
        holder.stamping.clear()
        assert holder.take_for_stamping(NOW) == [suspect]
        assert holder.take_for_stamping(NOW) == []  # alone: nothing beside it

    @pytest.mark.parametrize("where", ["in_flight", "stamped", "stamping"])
    def test_nothing_goes_beside_it_wherever_it_is(self, where: str) -> None:
        run = run_in_lane(3)
        holder = a_holder(run)
        suspect = a_step(run.facts, crashes=2)
        holder.claimed(run, [suspect], NOW, ended=False)
        run.buffer.remove(suspect)
        if where == "stamped":
            holder.stamped.append(suspect)
        else:
            getattr(holder, where)[suspect.id] = suspect
        assert holder.take_for_stamping(NOW) == []
        suspect.crashes = 1
        assert holder.take_for_stamping(NOW) != []


class TestRoom:
    """Four calls at once of half a second each: three may end within a flush (4 x 0.25 / 0.5 x 1.2, rounded up)."""

    def room(self, holder: LaneHolder, now: float = NOW) -> int:
        return holder.stamp_room(now, buffered=1000)

    def fast(self, *runs: RunInLane, **changes: Any) -> LaneHolder:
        return a_holder(*runs, windows=({"rate": 1000, "period": 1.0},), **changes)

    def test_what_is_free_and_what_will_be(self) -> None:
        holder = self.fast()
        assert self.room(holder) == 4 + 3
        works = fly(holder, 3)
        assert self.room(holder) == 1 + 3
        fly(holder, 3)
        assert self.room(holder) == 3
        holder.in_flight.clear()
        holder.foreign = {work.id: NOW + 9 for work in works}
        assert self.room(holder) == 1 + 3

    def test_what_is_stamped_already_takes_room(self) -> None:
        run = run_in_lane()
        holder = self.fast(run)
        stamp(holder, run, 2)
        assert self.room(holder) == 5
        holder.stamping = {work.id: work for work in stamp(holder, run, 2)}
        assert self.room(holder) == 1
        stamp(holder, run, 9)
        assert self.room(holder) == 0

    def test_fast_answers_leave_more_room_up_to_a_bound(self) -> None:
        holder = self.fast()
        holder.latency = 0.1
        assert self.room(holder) == 4 + 12
        holder.latency = 0.0
        assert self.room(holder) == 8 * 4  # what a crash leaves ambiguous stays bounded

    def test_never_more_than_the_limits_allow_soon_nor_than_there_is(self) -> None:
        holder = a_holder(run_in_lane(2))
        assert self.room(holder) == 3
        run = next(iter(holder.runs.values()))
        assert holder.stamp_room(NOW) == 2
        stamp(holder, run, 1)
        holder.stamping = {work.id: work for work in [a_step()]}
        assert self.room(holder) == 1

    def test_none_while_paused_cooling_down_or_no_longer_held(self) -> None:
        assert self.room(self.fast(paused=True)) == 0
        cooling = self.fast(cooldown_s=2.0)
        assert self.room(cooling, NOW + 1.74) == 0
        assert self.room(cooling, NOW + 1.75) > 0
        holder = self.fast()
        assert self.room(holder, NOW + 7.9) > 0
        assert self.room(holder, NOW + 8.0) == 0

    def test_after_a_rest_one_probe_at_a_time(self) -> None:
        run = run_in_lane()
        holder = self.fast(run)
        holder.held_until = NOW + 100
        trip(holder)
        over = holder.breaker.until
        assert over == NOW + 10
        assert self.room(holder, over - 0.26) == 0
        assert self.room(holder, over - 0.25) == 1
        assert self.room(holder, over + 5) == 1
        (stamped,) = stamp(holder, run)
        assert self.room(holder, over) == 0
        holder.stamped.clear()
        holder.stamping[stamped.id] = stamped
        assert self.room(holder, over) == 0
        holder.stamping.clear()
        holder.probe = stamped.id
        assert self.room(holder, over) == 0
        holder.probe, holder.foreign = None, {uuid.uuid4(): over + 9}
        assert self.room(holder, over) == 0


class TestSending:
    def test_at_once_where_nothing_stands_against_it(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        assert holder.send_at(NOW) is None
        stamp(holder, run)
        assert holder.send_at(NOW) == NOW

    def test_not_before_the_limits_allow_for_its_operation(self) -> None:
        run = run_in_lane()
        holder = a_holder(run, windows=({"rate": 1, "period": 10.0, "group": "find"},))
        stamp(holder, run)
        call_left(holder, NOW, "verify")
        assert holder.send_at(NOW) == NOW
        call_left(holder, NOW, "find")
        assert holder.send_at(NOW) == pytest.approx(NOW + 10.05)

    def test_not_before_the_vendor_may_be_asked_again(self) -> None:
        run = run_in_lane()
        holder = a_holder(run, cooldown_s=3.0)
        stamp(holder, run)
        assert holder.send_at(NOW) == NOW + 3.0
        trip(holder)
        assert holder.send_at(NOW) == NOW + 10.0

    def test_something_else_has_to_happen_first(self) -> None:
        run = run_in_lane()
        for changes in ({"paused": True}, {"parallelism": 0}):
            holder = a_holder(run, **changes)
            stamp(holder, run)
            assert holder.send_at(NOW) is None
        holder = a_holder(run)
        stamp(holder, run)
        assert holder.send_at(NOW + 8.0) is None
        assert holder.send_at(NOW + 7.9) == NOW + 7.9
        secret, holder.secret = holder.secret, None
        assert holder.send_at(NOW) is None
        holder.secret = secret
        fly(holder, 3)
        assert holder.send_at(NOW) == NOW
        holder.foreign = {uuid.uuid4(): NOW + 9}
        assert holder.send_at(NOW) is None

    def test_a_second_probe_waits_for_the_first(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        trip(holder)
        (work,) = stamp(holder, run)
        assert holder.send_at(NOW) == NOW + 10
        holder.probe = work.id
        assert holder.send_at(NOW) is None

    def test_stamps_that_would_outlive_their_meaning_go_back(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        (old,) = stamp(holder, run, at=NOW - 3.1)
        (fresh,) = stamp(holder, run, at=NOW - 3.0)
        assert holder.overdue(NOW) == [old]
        assert list(holder.stamped) == [fresh]

    def test_stamps_of_runs_that_have_gone_go_back(self) -> None:
        run, gone = run_in_lane(), run_in_lane()
        holder = a_holder(run)
        (mine,) = stamp(holder, run)
        (theirs,) = stamp(holder, gone)
        (both,) = stamp(holder, gone, at=NOW - 9)
        assert holder.overdue(NOW) == [both, theirs]
        assert list(holder.stamped) == [mine]

    @pytest.mark.parametrize(
        ("changes", "later", "back"),
        [({}, 0.0, 0), ({"paused": True}, 0.0, 2), ({"cooldown_s": 3.0}, 0.0, 0), ({"cooldown_s": 3.1}, 0.0, 2),
         ({}, 8.0, 2), ({"trips": 1, "rest_s": 3.1}, 0.0, 2), ({"trips": 1, "rest_s": 3.0}, 0.0, 0)],
    )  # fmt: skip
    def test_stamps_that_cannot_be_sent_soon_go_back(self, changes: Any, later: float, back: int) -> None:
        run = run_in_lane()
        holder = a_holder(run, **changes)
        stamp(holder, run, 2, at=NOW + later)
        assert len(holder.overdue(NOW + later)) == back
        assert len(holder.stamped) == 2 - back


class TestSlowingDown:
    def test_a_warning_halves_the_pace_and_those_that_came_with_it_do_not(self) -> None:
        holder = a_holder()
        holder.cool_down(NOW, 5.0)
        assert (holder.cooldown_until, holder.pacer.pace) == (NOW + 5.0, 0.5)
        holder.cool_down(NOW + 1.0, 2.0)
        assert (holder.cooldown_until, holder.pacer.pace) == (NOW + 5.0, 0.5)
        holder.cool_down(NOW + 2.1, 20.0)
        assert (holder.cooldown_until, holder.pacer.pace) == (NOW + 22.1, 0.25)
        for number in range(9):
            holder.cool_down(NOW + 30 + 2 * number, 1.0)
        assert holder.pacer.pace == 0.1

    def test_five_quiet_seconds_are_a_tenth_of_the_pace_each(self) -> None:
        holder = a_holder()
        holder.cool_down(NOW, 5.0)
        holder.recover_pace(NOW + 10.0)
        assert holder.pacer.pace == 0.5
        holder.recover_pace(NOW + 10.1)
        assert holder.pacer.pace == 0.6
        holder.recover_pace(NOW + 15.0)
        assert holder.pacer.pace == 0.6
        for number in range(1, 9):
            holder.recover_pace(NOW + 10.1 + 5.1 * number)
        assert holder.pacer.pace == 1.0
        last = holder.last_429
        holder.recover_pace(NOW + 1000)
        assert (holder.pacer.pace, holder.last_429) == (1.0, last)

    def test_the_latency_follows_what_is_seen(self) -> None:
        holder = a_holder()
        assert holder.latency == 0.5
        assert holder.report(NOW).latency_s is None, "nobody has seen it yet"
        holder.observed(1.5)
        assert holder.latency == 1.5
        holder.observed(0.5)
        assert holder.report(NOW).latency_s == pytest.approx(1.3)


class TestLookingAgain:
    def test_within_a_second_at_the_latest(self) -> None:
        assert a_holder().look_again_at(NOW) == NOW + 1.0

    def test_when_a_rest_is_over_and_when_stamping_for_it_may_begin(self) -> None:
        holder = a_holder(cooldown_s=0.9)
        assert holder.look_again_at(NOW) == NOW + 0.9 - 0.25
        assert holder.look_again_at(NOW + 0.7) == NOW + 0.9
        assert holder.look_again_at(NOW + 0.9) == NOW + 1.9
        trip(holder)
        assert holder.look_again_at(NOW + 9.5) == NOW + 9.75

    def test_when_a_stamp_grows_too_old(self) -> None:
        run = run_in_lane(1)
        holder = a_holder(run)
        stamp(holder, run, at=NOW - 2.5)
        stamp(holder, run, at=NOW - 2.9)
        assert holder.look_again_at(NOW) == NOW + 0.5

    def test_when_there_is_room_to_stamp_again(self) -> None:
        run = run_in_lane(1)
        holder = a_holder(run, windows=({"rate": 1, "period": 0.8},))
        holder.pacer.started(NOW)
        holder.pacer.sent(NOW)
        free = holder.pacer.next_start(NOW)
        assert holder.look_again_at(NOW) == pytest.approx(free - 0.25)
        (work,) = run.buffer
        run.buffer.clear()
        assert holder.look_again_at(NOW) == NOW + 1.0
        run.buffer.append(work)
        holder.stamping[work.id] = work
        assert holder.look_again_at(NOW) == NOW + 1.0

    def test_when_what_others_stamped_is_over(self) -> None:
        assert a_holder(foreign=[a_foreign(0.4)]).look_again_at(NOW) == NOW + 0.4


def test_a_vendor_that_says_that_nothing_is_left_rests_the_lane() -> None:
    holder = a_holder()
    holder.told([Quota(remaining=0, reset_after=7.0, period=60.0)], 1, NOW)
    assert holder.cooldown_until == NOW + 7.0
    holder.told([Quota(remaining=50, reset_after=30.0, period=60.0)], 2, NOW)
    assert holder.cooldown_until == NOW + 7.0
    holder.told([Quota(remaining=0, reset_after=3.0, period=60.0)], 1, NOW + 1)
    assert holder.cooldown_until == NOW + 7.0  # an answer that was overtaken


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
        assert holder.starts(NOW) == orjson.dumps({MINUTE: []}).decode()
        call_left(holder, NOW)
        call_left(holder, NOW)
        ((end, count),) = json.loads(holder.starts(NOW) or "")[MINUTE]
        assert (end, count) == (EPOCH + 1.25, 2)

    def test_what_is_stamped_counts_as_started(self) -> None:
        run = run_in_lane()
        holder = a_holder(run, windows=({"rate": 10, "period": 1.0}, *LONG))
        stamp(holder, run, 2)
        holder.stamping[uuid.uuid4()] = a_step()
        told = json.loads(holder.starts(NOW + 0.12345) or "")
        assert told == {MINUTE: [[EPOCH + 0.123, 3]]}

    def test_all_that_a_page_shows_of_a_lane(self) -> None:
        run = run_in_lane(1)
        holder = a_holder(run, foreign=[a_foreign()], cooldown_s=2.0, pace=0.7, failures=3, trips=0)
        fly(holder, 2)
        for ago in (1.5, 0.9, 0.1):
            call_left(holder, NOW - ago)
        report = holder.report(NOW)
        assert report.lane_id == holder.facts.id
        assert (report.in_flight, report.started_last_period, report.wait_reason) == (3, 2, "cooldown")
        assert (report.cooldown_s, report.pace, report.starts) == (2.0, 0.7, "{}")
        assert (report.failures, report.trips, report.rest_s) == (3, 0, 0.0)
        later = holder.report(NOW + 5)
        assert (later.cooldown_s, later.rest_s) == (0.0, 0.0)
        trip(holder)
        resting = holder.report(NOW + 1)
        assert (resting.trips, resting.rest_s) == (1, 9.0)
        assert json.loads(a_holder(windows=LONG).report(NOW).starts) == {MINUTE: []}

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
        holder.poked = False
        assert holder.idle_for(NOW + 7) == 2.0
        holder.claiming = True
        assert holder.idle_for(NOW + 8) == 0.0
        holder.claiming = False
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
