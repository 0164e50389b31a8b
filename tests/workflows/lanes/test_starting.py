"""What a lane stamps and sends, and when; how it slows down."""

import uuid
from typing import Any

import pytest

from integrations.connectors.base import Quota
from tests.workflows.lanes.pieces import (
    NOW,
    a_foreign,
    a_holder,
    a_step,
    call_left,
    fly,
    run_in_lane,
    stamp,
    trip,
)
from workflows.lanes.holder import LaneHolder
from workflows.lanes.work import RunInLane


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
        run = next(iter(holder.turns.runs.values()))
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
