"""Settlements of steps that were not asked, or of which nobody knows: every field that is written down."""

import uuid
from dataclasses import fields
from datetime import date
from typing import Any

import pytest

from integrations.connectors import registry
from integrations.http import CallResult
from integrations.outcomes import Miss
from tests.workflows.lanes.pieces import a_step, facts
from tests.workflows.lanes.test_job_steps import a_job, finding, verifying, waits
from workflows.catalog import Final, Taken
from workflows.lanes import jobs, settle
from workflows.lanes.month import Month
from workflows.lanes.outcome import LOST, in_doubt, judge, lost, suppressed
from workflows.lanes.parking import Parking
from workflows.lanes.stamp import _Room
from workflows.lanes.tally import Tally
from workflows.lanes.together import Together
from workflows.lanes.work import CALLBACK, LOOK_UP, Batch, Flushed, Settlement, Work

HOLDER = uuid.uuid4()
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
NOT_KNOWN = "The same question was asked for another record, and no answer came."


def said(settlement: Settlement) -> dict[str, Any]:
    """What a settlement says beyond what one that says nothing would; its own id, a fresh one, apart."""
    assert settlement.attempt_id.version == 7
    silent = Settlement(settlement.work, settlement.attempt_id, None, "", "")
    values = [
        (one.name, getattr(settlement, one.name), getattr(silent, one.name)) for one in fields(Settlement)
    ]
    return {
        name: value for name, value, default in values if value != default or type(value) is not type(default)
    }


class TestWithoutACall:
    def test_who_is_not_to_be_looked_up_is_skipped_at_no_cost(self) -> None:
        assert said(suppressed(a_step())) == {
            "outcome": "suppressed",
            "status": "done",
            "reason": "On the suppression list: not looked up.",
            "called": False,
            "final": Final("skipped", error={
                "code": "suppressed", "message": "This person asked not to be looked up.",
            }),
        }  # fmt: skip

    def test_a_question_whose_asker_got_no_answer_waits_for_the_same_decision_at_no_cost(self) -> None:
        assert said(in_doubt(a_step(provider="findymail", reserved=1000))) == {
            "outcome": "timeout",
            "status": "ambiguous",
            "reason": NOT_KNOWN,
            "called": False,
            "in_doubt": True,
            "counts_as": "ambiguous",
            "final": Final("failed", None, {
                "code": "ambiguous",
                "message": "Findymail may have been asked and paid, and no answer came. Ask again, which may be paid "
                "twice, or accept the loss.",
            }),
        }  # fmt: skip

    def test_of_a_vendor_that_charges_it_once_it_is_dead_and_nobody_has_to_decide(self) -> None:
        told = said(in_doubt(a_step()))
        final = told.pop("final")
        assert (final.status, final.output, final.error["code"]) == ("failed", None, "vendor_timeout")
        assert told == {
            "outcome": "timeout",
            "status": "dead",
            "reason": NOT_KNOWN,
            "called": False,
            "in_doubt": True,
            "counts_as": "timeout",
        }

    def test_a_vendor_with_too_little_to_ask_is_shown_as_skipped(self) -> None:
        work = a_step()
        settlement = judge(work, HOLDER, CallResult(Miss(), 200, 5), 0.0, 0.0).settlement
        attempt_id, *row = settle._skip_row(settlement, Taken("find", "findymail", "skipped"))
        assert attempt_id.version == 7
        assert row == [
            None, work.run.id, work.record_id, work.id, "find", "findymail", 1, "done", "skipped",
            "Not enough input for this vendor.", None, None, None, 0, None, None, None,
        ]  # fmt: skip


class TestLost:
    def test_what_may_be_asked_again_is_in_doubt_until_it_is_answered(self) -> None:
        work = a_step(attempt=2, reserved=1000)
        settled = lost(work, HOLDER, on_ambiguous="ask")
        assert said(settled) == {
            "holder": HOLDER,
            "outcome": "timeout",
            "status": "ambiguous",
            "reason": LOST,
            "again_after": 0.0,
            "next_attempt": 3,
            "in_doubt": True,
            "booked": 1000,
        }
        [doubt] = work.taken
        assert (doubt["outcome"], doubt["credits"]) == ("ambiguous", 1000)
        assert doubt["answer"]["attempt"] == str(settled.attempt_id)

    def test_who_asked_for_a_jobs_result_is_followed_by_another_and_nothing_is_in_doubt(self) -> None:
        work = finding(a_job(), attempt=2)
        assert said(lost(work, HOLDER, on_ambiguous="ask")) == {
            "holder": HOLDER,
            "outcome": "timeout",
            "status": "ambiguous",
            "reason": LOST,
            "again_after": 0.0,
            "next_attempt": 2,
            "job": work.job,
            "goes_on": True,
        }

    def test_what_can_be_looked_up_says_in_the_history_that_the_worker_stopped(self) -> None:
        settled = lost(finding(), HOLDER, on_ambiguous="repeat")
        assert (settled.status, settled.reason, settled.called) == ("ambiguous", LOST, True)
        assert settled.calls == 1

    def test_a_post_that_is_no_answer_is_read_and_the_wait_goes_on(self) -> None:
        work = verifying(None, b"{")
        settled = lost(work, HOLDER, on_ambiguous="ask")
        assert waits(settled) == (pytest.approx(registry.get("jobs").job_seconds, abs=1.0), "callback", 1)
        assert settled.job is not None
        assert (settled.job.kind, settled.holder) == (CALLBACK, HOLDER)
        assert settled.read == [work.posted[0].id]
        assert work.crashes == 0


class TestCallsThatTheVendorKnowsNothingOf:
    def look(self, attempt: int = 1, taken: list[dict[str, Any]] | None = None, **config: Any) -> Work:
        """A step whose lost call is being looked up."""
        work = finding(a_job(LOOK_UP, counted=True), attempt=attempt, taken=taken or [])
        work.run.config.update(config)
        return work

    def settled(self, work: Work) -> Settlement:
        return judge(work, HOLDER, CallResult(Miss(), 200, 5), 700.0, 701.0).settlement

    def test_they_are_made_again_as_often_as_their_workflow_says(self) -> None:
        assert waits(self.settled(self.look(3, max_attempts=4))) == (0.0, "", 4)
        dead = self.settled(self.look(4, max_attempts=4))
        assert (dead.status, dead.outcome) == ("dead", "error")
        assert dead.reason == "The call did not reach the vendor (attempt 4 of 4)"

    def test_three_times_where_it_says_nothing(self) -> None:
        assert waits(self.settled(self.look(2, max_attempts=None))) == (0.0, "", 3)
        assert self.settled(self.look(3, max_attempts=None)).reason.endswith("(attempt 3 of 3)")

    def test_what_one_was_booked_at_is_given_back_and_that_is_history(self) -> None:
        earlier = uuid.uuid4()
        booked = {
            "operation": "find", "provider": "jobs", "outcome": "ambiguous", "credits": 1000,
            "answer": {"attempt": str(earlier), "of": "f" * 32, "month": "2026-10-01"},
        }  # fmt: skip
        work = self.look(taken=[booked])
        settled = self.settled(work)
        assert (settled.outcome, settled.status) == ("error", "failed")
        assert settled.reason == "The vendor knows nothing of the earlier call."
        assert (settled.goes_on, settled.job, settled.called, settled.calls) == (False, None, True, 0)
        assert (settled.again_after, settled.again_reason, settled.next_attempt) == (0.0, "", 2)
        assert (settled.released, settled.released_in, settled.settles) == (1000, {OCTOBER: 1000}, [earlier])
        assert (settled.ask, settled.final, work.taken) == (None, None, [])


def test_a_time_limit_of_less_than_a_minute_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.get("jobs"), "job_seconds", 20.0)
    settled = Settlement(finding(), uuid.uuid4(), HOLDER, "error", "done")
    assert jobs._too_late(settled, a_job()).reason == "The vendor's job did not end within 1 minute."


class TestParking:
    MONTH, RUN = Parking(True, 700), Parking(False, 300)

    def test_beside_the_month_the_run_does_not_count(self) -> None:
        assert self.MONTH.beside(self.RUN) == self.RUN.beside(self.MONTH) == self.MONTH

    @pytest.mark.parametrize("for_month", [True, False])
    def test_of_two_alike_the_cheaper_says_how_much_room_is_needed(self, for_month: bool) -> None:
        cheap, dear = Parking(for_month, 200), Parking(for_month, 500)
        assert cheap.beside(dear) == dear.beside(cheap) == Parking(for_month, 200)


class TestTally:
    """What a transaction changes, before it is written; no statement is made."""

    def tally(self, limit: int | None = 5000) -> Tally:
        month = Month(None, uuid.uuid4(), limit, NOVEMBER)
        return Tally(None, month.tenant_id, month)

    def test_what_is_given_back_goes_to_the_month_that_it_was_booked_in(self) -> None:
        tally, work = self.tally(), a_step(month=NOVEMBER)
        tally.take_back(work, 300, OCTOBER)
        tally.take_back(work, 20, None)
        assert tally.runs[work.run.id]["spent"] == -320
        assert tally.month._changes == {
            OCTOBER: {"spent": -300, "reserved": 0},
            NOVEMBER: {"spent": -20, "reserved": 0},
        }
        assert tally.month.room() == 5020

    @pytest.mark.parametrize(("limit", "livemode"), [(None, True), (5000, False)])
    def test_a_month_that_is_not_counted_is_left_alone(self, limit: int | None, livemode: bool) -> None:
        run = facts()
        run.livemode = livemode
        tally, work = self.tally(limit), a_step(run)
        tally.take_back(work, 300, OCTOBER)
        tally.take_back(work, 20, None)
        assert tally.runs[work.run.id]["spent"] == -320
        assert not tally.month._changes

    def test_a_runs_room_is_less_what_this_transaction_spent_and_set_aside(self) -> None:
        run = facts()
        tally, work = self.tally(), a_step(run, reserved=1000, month=NOVEMBER)
        room = _Room(None, tally.tenant_id, [], tally)
        room._left[run.id] = 5000
        tally.reserve(work)
        assert (room._now(run.id), room._now(None)) == (4000, 4000)
        tally.release(work)
        tally.spend(work, 250)
        assert (room._now(run.id), room._now(None)) == (4750, 4750)


def test_of_two_refusals_of_calls_for_several_the_later_end_holds() -> None:
    together = Together(registry.get("zerobounce"), 1_000.0, quiet_s=1e6)
    assert together._open("verify", 1_000.0)
    assert together.rest("verify", 1_600.0)
    assert together.rest("verify", 1_100.0)
    assert not together._open("verify", 1_599.0)
    assert together._open("verify", 1_600.0)


def test_each_tenants_share_of_a_flush_is_all_that_is_its_own() -> None:
    mine, theirs = a_step(), a_step()
    batch = Batch(
        settlements=[suppressed(mine), suppressed(theirs)],
        stamps=[(theirs, 30.0, 1000), (mine, 20.0, 0)],
        unstamps=[mine, theirs],
        starts=[(mine.run.tenant_id, mine.lane_id, "{}"), (theirs.run.tenant_id, theirs.lane_id, "{}")],
    )
    assert settle.by_tenant(batch) == {
        mine.run.tenant_id: Batch(batch.settlements[:1], batch.stamps[1:], [mine], batch.starts[:1]),
        theirs.run.tenant_id: Batch(batch.settlements[1:], batch.stamps[:1], [theirs], batch.starts[1:]),
    }


def test_what_shares_of_a_flush_did_adds_up() -> None:
    ids = [uuid.uuid4() for _ in range(8)]

    def did(*own: uuid.UUID, late: int) -> Flushed:
        one, two, three, four = own
        return Flushed(
            {one}, {two}, {(one, two)}, {(three, four)}, [four], late, [Batch(unstamps=[a_step()])]
        )

    first, second = did(*ids[:4], late=1), did(*ids[4:], late=2)
    kept = [*first.kept, *second.kept]
    first.add(second)
    assert first == Flushed(
        {ids[0], ids[4]}, {ids[1], ids[5]}, {(ids[0], ids[1]), (ids[4], ids[5])},
        {(ids[2], ids[3]), (ids[6], ids[7])}, [ids[3], ids[7]], 3, kept,
    )  # fmt: skip
