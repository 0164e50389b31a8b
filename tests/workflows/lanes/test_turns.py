"""The runs of a lane: what is claimed of each, and whose turn it is."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.workflows.lanes.pieces import (
    EPOCH,
    NOW,
    a_foreign,
    a_holder,
    a_step,
    run_in_lane,
    trip,
)
from workflows.lanes.holder import LaneHolder
from workflows.lanes.turns import CLAIM_MOST
from workflows.lanes.work import RunInLane, Work


def made(milliseconds: int, run: RunInLane) -> Work:
    """A step that was queued so long after the beginning of time."""
    return replace(a_step(run.facts), id=uuid.UUID(int=milliseconds << 80))


def place(run: RunInLane) -> tuple[uuid.UUID | None, bool]:
    """Up to where the run's queue was read, and whether that was its end."""
    return run.cursor, run.exhausted


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
        holder.turns.claiming = True
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
        assert {share for _, share in plan} == {2}, "one more than a run of one record has"

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
        holder.turns.claimed(run, works, NOW, ended=False)
        assert list(run.buffer) == [works[0], works[2]]
        assert place(run) == (works[2].id, False)
        holder.turns.claimed(run, [], NOW, ended=False)
        assert place(run) == (works[2].id, False)
        holder.turns.claimed(run, [], NOW, ended=True)
        assert place(run) == (works[2].id, True)

    def test_a_hint_of_new_work_makes_every_run_worth_a_look_from_where_it_was_read_up_to(self) -> None:
        one, two = run_in_lane(), run_in_lane()
        holder = a_holder(one, two)
        holder.turns.claimed(one, [made(1, one)], NOW, ended=False)
        holder.turns.claimed(two, [], NOW, ended=True)
        holder.turns.poked = False
        holder.turns.poke()
        assert (place(one), place(two), holder.turns.poked) == ((made(1, one).id, False), (None, False), True)

    def test_of_many_runs_those_alone_are_read_again_that_the_database_says_have_work(self) -> None:
        runs = [run_in_lane() for _ in range(17)]
        holder = a_holder(*runs)
        self.read_to_the_end(holder, runs)
        holder.turns.poke()
        assert self.plan(holder) == []
        assert not holder.turns.poked, "no reason to keep an idle lane"
        fed = {runs[3].facts.id, runs[5].facts.id}
        seen = [replace(run, fed=run.facts.id in fed) for run in runs]
        assert holder.turns.refresh(seen, NOW, stamping=[runs[5].facts.id])
        assert [run for run, _ in self.plan(holder)] == [runs[3]]
        holder.turns.refresh(seen, NOW)
        assert {run.facts.id for run, _ in self.plan(holder)} == fed
        self.read_to_the_end(holder, runs)
        holder.turns.poke(every_run=True)
        assert len(self.plan(holder)) == 16

    def test_what_came_while_a_claim_was_reading_is_read_for_again(self) -> None:
        runs = [run_in_lane() for _ in range(17)]
        holder = a_holder(*runs)
        self.read_to_the_end(holder, runs)
        holder.turns.reading([(run, 2) for run in runs[:3]], NOW)
        holder.turns.refresh([replace(run, fed=run is runs[0]) for run in runs], NOW)
        holder.turns.came_back(made(1, runs[1]), due=True)
        holder.turns.came_back(made(2, runs[2]), due=False)
        for run in runs[:3]:
            holder.turns.claimed(run, [], NOW, ended=True)
        holder.turns.claiming = False
        assert [run for run, _ in self.plan(holder)] == runs[:2]

    def read_to_the_end(self, holder: LaneHolder, runs: list[RunInLane]) -> None:
        holder.turns.reading([(run, 2) for run in runs], NOW)
        for run in runs:
            holder.turns.claimed(run, [], NOW, ended=True)
        holder.turns.claiming = False
        assert self.plan(holder) == []

    def test_the_latest_steps_are_looked_at_again_one_before_them_may_not_be_committed_yet(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)
        seen = EPOCH * 1000 - 10_000
        holder.turns.claimed(run, [made(int(seen) + 500, run)], NOW, ended=False)
        assert place(run) == (uuid.UUID(int=int(seen) << 80), False)

    def test_a_run_is_read_from_its_head_now_and_then(self) -> None:
        run = run_in_lane()
        holder = a_holder(run)

        def starts(now: float, *, ended: bool) -> bool:
            """Whether a claim begins at the head."""
            holder.turns.reading([(run, 10)], now)
            found = run.cursor is None
            holder.turns.claimed(run, [made(1, run)], now, ended=ended)
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
            holder.turns.came_back(work, due=False)
        asked = []
        for _ in range(2):
            holder.turns.reading([(run, 10)], NOW)
            asked.append(set(run.asking))
        assert len(asked[0]) == 200
        assert asked[0] | asked[1] == {work.id for work in works}
        holder.turns.claimed(run, works[:10], NOW, ended=False)
        holder.turns.reading([(run, 10)], NOW)
        assert len(run.returned) == 290
        for work in works * 20:
            holder.turns.came_back(replace(work, id=uuid.uuid4()), due=False)
        holder.turns.reading([(run, 10)], NOW + 0.1)
        assert run.cursor is None, "too many to name: it is read from its head"

    def test_what_comes_for_a_run_that_has_gone_is_dropped(self) -> None:
        gone, holder = run_in_lane(), a_holder()
        holder.turns.claimed(gone, [a_step(gone.facts)], NOW, ended=True)
        assert (len(gone.buffer), gone.exhausted) == (0, False)

    def test_all_that_is_in_hand_of_a_run_is_known(self) -> None:
        run, unread = run_in_lane(1), run_in_lane(1)
        other = a_foreign()
        holder = a_holder(run, unread, foreign=[other])
        buffered = run.buffer[0].id
        flying, stamped, stamping = (a_step(run.facts) for _ in range(3))
        holder.in_flight[flying.id] = flying
        holder.stamped.append(stamped)
        settling = uuid.uuid4()
        holder.settling.add(settling)
        for work in (stamping, a_step(unread.facts)):
            holder.stamping[work.id] = work
        assert set(holder.known([run])) == {buffered, flying.id, stamped.id, stamping.id, settling, other.id}
        assert len(holder.known([run])) == 6


class TestTurns:
    def test_a_higher_priority_goes_first_and_equals_take_turns(self) -> None:
        low, one, two = run_in_lane(9), run_in_lane(9, priority=1), run_in_lane(9, priority=1)
        holder = a_holder(low, one, two, windows=({"rate": 20, "period": 1.0},), parallelism=20)
        taken = [work.run.id for work in holder.take_for_stamping(NOW)]
        assert taken == [one.facts.id, two.facts.id] * 3
        assert (low.vtime, one.vtime, two.vtime) == (0.0, 3.0, 3.0)
        assert holder.turns.floor == 2.0
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
        assert holder.turns.rank(patient, NOW + 6000.0) == (0, 5.0)

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
        holder.turns.claimed(run, [well, suspect, last], NOW, ended=False)
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
        holder.turns.claimed(run, [suspect], NOW, ended=False)
        run.buffer.remove(suspect)
        if where == "stamped":
            holder.stamped.append(suspect)
        else:
            getattr(holder, where)[suspect.id] = suspect
        assert holder.take_for_stamping(NOW) == []
        suspect.crashes = 1
        assert holder.take_for_stamping(NOW) != []
