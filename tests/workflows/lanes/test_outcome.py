"""What follows from each way in which a call may end: who pays with an attempt, who waits, who is asked next."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.http import BROKE_OFF, CallResult
from integrations.outcomes import Done, Fail, Miss, Outcome, Retry
from tests.workflows.lanes.pieces import ADA, a_step, facts
from workflows.catalog import Ask, Final, Taken
from workflows.lanes import outcome as engine
from workflows.lanes.decide import fingerprint
from workflows.lanes.outcome import LOST, Verdict, cached, dead, go_on, judge, lost, passed_over
from workflows.lanes.work import Settlement, Work

HOLDER = uuid.uuid4()
ADDRESS = {"email": "ada@engines.example", "email_status": "valid"}
ASK_FINDYMAIL = Ask("find", "findymail", ADA)
DAY = 24 * 3600.0


@pytest.fixture
def dice(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The dice fall on the highest number; what they were asked for is kept."""
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr(engine.random, "uniform", uniform)
    return asked


def verdict(
    outcome: Outcome, work: Work | None = None, *, status: int | None = 200, **options: Any
) -> Verdict:
    result = CallResult(outcome, status, 123)
    return judge(work or a_step(), HOLDER, result, 1_000.0, 1_000.5, **options)


def again(settlement: Settlement) -> tuple[Any, ...]:
    """When it is tried again, why then, and as which attempt."""
    assert (settlement.ask, settlement.final, settlement.leaves_queue) == (None, None, False)
    return settlement.again_after, settlement.again_reason, settlement.next_attempt


class TestAnswers:
    def test_what_was_sent_and_when_is_written_down(self) -> None:
        work = a_step()
        settled = verdict(Miss(), work, status=404).settlement
        assert settled.work is work
        assert settled.holder == HOLDER
        assert (settled.outcome, settled.status, settled.called) == ("miss", "done", True)
        assert (settled.http_status, settled.latency_ms) == (404, 123)
        assert settled.started_at == datetime(1970, 1, 1, 0, 16, 40, tzinfo=UTC)
        assert settled.finished_at == datetime(1970, 1, 1, 0, 16, 40, 500_000, tzinfo=UTC)
        assert settled.attempt_id.version == 7
        assert settled.attempt_id != verdict(Miss(), work).settlement.attempt_id

    def test_a_hit_goes_to_the_verifier(self) -> None:
        found = verdict(Done(ADDRESS, credits=1000))
        settled = found.settlement
        assert (settled.outcome, settled.answer, settled.credits) == ("hit", ADDRESS, 1000)
        assert settled.ask == Ask("verify", "zerobounce", {"email": ADDRESS["email"]})
        assert settled.ask_fingerprint == fingerprint(settled.ask)
        assert settled.leaves_queue
        assert (found.cooldown_s, found.pause) == (0.0, "")

    def test_a_miss_goes_to_the_next_finder_with_what_it_cost(self) -> None:
        settled = verdict(Miss(credits=500)).settlement
        assert (settled.credits, settled.ask, settled.reason) == (500, ASK_FINDYMAIL, "")

    def test_what_a_step_cost_counts_towards_the_records_cap(self) -> None:
        work = a_step(facts(max_credits_per_record=1.2))
        assert verdict(Miss(credits=200), work).settlement.ask == ASK_FINDYMAIL
        final = verdict(Miss(credits=201), work).settlement.final
        assert final is not None
        assert final.error is not None
        assert final.error["code"] == "record_credit_limit"

    def test_the_last_answer_ends_the_record(self) -> None:
        before = Taken("find", "prospeo", "hit", ADDRESS, 1000).to_json()
        work = a_step(
            provider="zerobounce", operation="verify", query={"email": ADDRESS["email"]}, taken=[before]
        )
        settled = verdict(Done(ADDRESS, credits=1000), work).settlement
        assert settled.ask is None
        assert settled.ask_fingerprint == ""
        assert settled.final == Final(
            "found",
            {"email": ADDRESS["email"], "email_status": "valid", "found_by": "prospeo", "verified_by": "zerobounce"},
        )  # fmt: skip

    def test_vendors_that_cannot_be_asked_are_noted_on_the_way(self) -> None:
        work = a_step(record_input={"full_name": "Ada Byron"})
        settled = verdict(Miss(), work).settlement
        assert settled.skipped == [Taken("find", "findymail", "skipped")]
        assert settled.final == Final("not_found")

    @pytest.mark.parametrize("kind", ["invalid", "suppressed"])
    def test_a_refused_question_goes_on_with_its_reason(self, kind: Any) -> None:
        found = verdict(Fail(kind, "no such domain"), status=400)
        settled = found.settlement
        assert (settled.outcome, settled.status, settled.reason) == (kind, "done", "no such domain")
        assert settled.leaves_queue
        assert (settled.ask, settled.final) == {
            "invalid": (ASK_FINDYMAIL, None),
            "suppressed": (None, Final("skipped", error={
                "code": "suppressed", "message": "This person asked not to be looked up.",
            })),
        }[kind]  # fmt: skip
        assert found.pause == ""

    def test_a_failure_for_good_is_dead_and_listed(self) -> None:
        settled = verdict(Fail("error", "no such page"), status=404).settlement
        assert (settled.status, settled.reason, settled.outcome) == ("dead", "no such page", "error")
        assert settled.final is not None
        assert settled.final.status == "failed"


class TestTheKeyIsTheTrouble:
    @pytest.mark.parametrize("kind", ["auth_failed", "no_credits"])
    def test_the_lane_is_paused_and_the_step_waits_without_paying(self, kind: Any) -> None:
        found = verdict(Fail(kind, "refused"), a_step(attempt=3, tried_s=2 * DAY), status=401)
        settled = found.settlement
        assert (found.pause, found.cooldown_s) == (kind, 0.0)
        assert (settled.status, settled.reason) == ("failed", "refused")
        assert again(settled) == (0.0, "", 3)
        assert settled.again_afresh


class TestSlowDown:
    @pytest.mark.parametrize(
        ("after", "cooldown"), [(None, 5.0), (0.0, 5.0), (7.5, 7.5), (3600.0, 3600.0), (100_000.0, 86_400.0)]
    )
    def test_the_lane_waits_as_long_as_the_vendor_says(self, after: float | None, cooldown: float) -> None:
        found = verdict(Retry("rate_limited", "slow down", after), a_step(attempt=2), status=429)
        assert (found.cooldown_s, found.pause) == (cooldown, "")
        assert again(found.settlement) == (0.0, "", 2)
        assert (found.settlement.status, found.settlement.reason) == ("failed", "slow down")
        assert not found.settlement.again_afresh

    def test_not_for_ever_and_the_lane_waits_all_the_same(self) -> None:
        work = a_step(tried_s=DAY)
        found = verdict(Retry("rate_limited", "slow down", 9.0), work, status=429)
        assert found.cooldown_s == 9.0
        assert (found.settlement.status, found.settlement.leaves_queue) == ("dead", True)
        assert found.settlement.reason == "slow down (not answered within 24 hours)"
        young = verdict(Retry("rate_limited", "slow down"), a_step(tried_s=DAY - 0.1), status=429)
        assert young.settlement.status == "failed"


class TestAgain:
    def test_each_attempt_waits_twice_as_long_with_full_jitter(self, dice: list[Any]) -> None:
        config = facts(max_attempts=10)
        waits = [
            again(verdict(Retry("error", "broken"), a_step(config, attempt=n)).settlement)
            for n in range(1, 10)
        ]
        ceilings = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]
        assert dice == [(0, ceiling) for ceiling in ceilings]
        assert waits == [(ceiling, "backoff", n) for n, ceiling in enumerate(ceilings, start=2)]

    def test_the_first_ceiling_is_the_workflows(self, dice: list[Any]) -> None:
        config = facts(max_attempts=10, backoff_s=90)
        for attempt in (1, 2, 3):
            verdict(Retry("error", "broken"), a_step(config, attempt=attempt))
        assert dice == [(0, 90), (0, 180), (0, 300.0)]

    def test_never_earlier_than_the_vendor_says(self, dice: list[Any]) -> None:
        assert again(verdict(Retry("error", "broken", 60.0)).settlement) == (60.0, "backoff", 2)
        assert again(verdict(Retry("error", "broken", 1.0)).settlement) == (2.0, "backoff", 2)

    def test_its_reason_says_when_the_vendor_may_have_been_asked(self) -> None:
        settled = verdict(Retry("timeout", "no answer in time", uncertain=True), status=None).settlement
        assert settled.reason == "no answer in time; the vendor may have been asked"
        assert (settled.outcome, settled.status, settled.http_status) == ("timeout", "ambiguous", None)
        assert verdict(Retry("error", "broken")).settlement.reason == "broken"

    def test_after_its_attempts_a_step_is_dead(self) -> None:
        assert verdict(Retry("error", "broken"), a_step(attempt=2)).settlement.status == "failed"
        settled = verdict(Retry("error", "broken"), a_step(attempt=3)).settlement
        assert (settled.status, settled.reason) == ("dead", "broken (attempt 3 of 3)")
        assert settled.final is not None
        assert settled.final.error is not None
        assert settled.final.error["code"] == "vendor_error"
        settled = verdict(Retry("timeout", "slow"), a_step(facts(max_attempts=1))).settlement
        assert (settled.status, settled.reason, settled.outcome) == (
            "dead",
            "slow (attempt 1 of 1)",
            "timeout",
        )
        assert settled.final is not None
        assert settled.final.error is not None
        assert settled.final.error["code"] == "vendor_timeout"

    def test_a_run_from_before_there_was_a_number_has_three(self) -> None:
        work = a_step(attempt=3)
        del work.run.config["max_attempts"]
        assert verdict(Retry("error", "broken"), work).settlement.reason == "broken (attempt 3 of 3)"

    def test_after_a_day_it_is_dead_whatever_is_left(self) -> None:
        settled = verdict(Retry("error", "broken"), a_step(tried_s=DAY), spare_s=10.0).settlement
        assert (settled.status, settled.reason) == ("dead", "broken (not answered within 24 hours)")

    def test_a_failed_probe_costs_no_attempt_and_waits_for_longer_than_the_lane(
        self, dice: list[Any]
    ) -> None:
        settled = verdict(
            Retry("error", "broken", uncertain=True), a_step(attempt=3), spare_s=20.0
        ).settlement
        assert dice == [(1.0, 4.0)]
        assert again(settled) == (24.0, "breaker", 3)
        assert settled.reason == "broken"

    def test_a_probe_that_may_have_been_paid_uses_up_an_attempt(self, dice: list[Any]) -> None:
        gone = Retry("timeout", "no answer in time", uncertain=True)
        options: dict[str, Any] = {"status": None, "spare_s": 20.0, "on_ambiguous": "repeat"}
        work = a_step(provider="findymail", reserved=1000)
        settled = verdict(gone, work, **options).settlement
        assert again(settled) == (24.0, "breaker", 2)
        assert settled.booked == 1000
        work = a_step(facts(max_attempts=2), provider="findymail", reserved=1000, attempt=2)
        settled = verdict(gone, work, **options).settlement
        assert (settled.status, settled.reason) == ("dead", "no answer in time (attempt 2 of 2)")
        assert settled.booked == 1000

    def test_a_probe_of_a_run_that_does_not_wait_pays_as_any_call(self, dice: list[Any]) -> None:
        work = a_step(facts(on_outage="skip"))
        assert again(verdict(Retry("error", "broken"), work, spare_s=20.0).settlement) == (2.0, "backoff", 2)

    def test_a_vendor_out_of_service_ends_no_record_that_does_not_wait(self) -> None:
        settled = verdict(Retry("error", "broken"), a_step(facts(on_outage="skip"), attempt=3)).settlement
        assert (settled.status, settled.ask) == ("dead", ASK_FINDYMAIL)


class TestDoubt:
    @pytest.mark.parametrize("status", [None, 200, 502, 504, 520, 524, 527])
    def test_what_the_vendor_did_not_say_itself_leaves_the_call_in_doubt(self, status: int | None) -> None:
        work = a_step(provider="findymail", reserved=1000)
        settled = verdict(Retry("error", "broken", uncertain=True), work, status=status).settlement
        assert (settled.status, settled.in_doubt, settled.booked) == ("ambiguous", True, 1000)

    @pytest.mark.parametrize("status", [400, 500, 503, 519, 528])
    def test_an_error_that_the_vendor_told_is_no_doubt(self, status: int) -> None:
        work = a_step(provider="findymail", reserved=1000)
        settled = verdict(Retry("error", "broken", uncertain=True), work, status=status).settlement
        assert (settled.status, settled.in_doubt, settled.booked) == ("failed", False, 0)


class TestWithoutACall:
    def test_what_was_answered_before_costs_nothing(self) -> None:
        settled = cached(a_step(cached_outcome="hit", cached_answer=ADDRESS))
        assert (settled.outcome, settled.status, settled.called) == ("cached", "done", False)
        assert (settled.answer, settled.credits, settled.holder) == (ADDRESS, 0, None)
        assert settled.reason == "Answered before; not asked again."
        assert settled.ask == Ask("verify", "zerobounce", {"email": ADDRESS["email"]})
        assert settled.attempt_id.version == 7
        assert settled.http_status is None
        assert settled.started_at is None

    def test_a_vendor_out_of_service_is_passed_over(self) -> None:
        settled = passed_over(a_step(facts(on_outage="skip")))
        assert (settled.outcome, settled.status, settled.called) == ("skipped", "done", False)
        assert (settled.answer, settled.credits, settled.holder) == ({"why": "outage"}, 0, None)
        assert settled.reason == "The vendor was out of service; the workflow does not wait."
        assert settled.ask == ASK_FINDYMAIL
        assert settled.attempt_id.version == 7


class TestLost:
    """Stamped, and nobody knows whether it was sent."""

    def test_a_free_repeat_is_asked_again_as_another_attempt(self) -> None:
        work = a_step(attempt=2)
        settled = lost(work, HOLDER, on_ambiguous="advance")
        assert (settled.work, settled.holder, settled.called) == (work, HOLDER, True)
        assert (settled.outcome, settled.status) == ("timeout", "ambiguous")
        assert settled.reason == (
            "The worker stopped before the answer came back; whether the vendor was asked is not known."
        )
        assert again(settled) == (0.0, "", 3)
        assert work.crashes == 1
        assert settled.attempt_id.version == 7

    def test_one_that_is_charged_goes_on_as_a_miss_unless_it_may_be_repeated(self) -> None:
        work = a_step(provider="findymail", taken=[Taken("find", "prospeo", "miss").to_json()])
        settled = lost(work, HOLDER, on_ambiguous="advance")
        assert (settled.status, settled.outcome) == ("ambiguous", "timeout")
        assert settled.final == Final("not_found")
        settled = lost(a_step(provider="findymail"), HOLDER, on_ambiguous="repeat")
        assert again(settled) == (0.0, "", 2)

    def test_one_that_a_person_is_to_decide_ends_with_what_to_do(self) -> None:
        settled = lost(a_step(provider="findymail"), HOLDER, on_ambiguous="ask")
        assert (settled.status, settled.outcome) == ("ambiguous", "timeout")
        assert settled.reason == LOST
        assert settled.final is not None
        assert settled.final.status == "failed"
        assert settled.final.error == {
            "code": "ambiguous",
            "message": "Findymail may have been asked and paid, and no answer came. Ask again, which may be paid twice, "
            "or accept the loss.",
        }

    def test_what_was_in_hand_when_workers_died_three_times_is_dead(self) -> None:
        assert not lost(a_step(crashes=1), HOLDER, on_ambiguous="repeat").leaves_queue
        settled = lost(a_step(crashes=2), HOLDER, on_ambiguous="repeat")
        assert (settled.status, settled.outcome) == ("dead", "timeout")
        assert settled.reason == "Workers stopped three times while this step was in their hands."
        assert settled.leaves_queue


def a_settlement(outcome: str, **changes: Any) -> Settlement:
    return Settlement(a_step(**changes), uuid.uuid4(), HOLDER, outcome, "done")


def test_what_came_before_is_told_to_the_template_with_this_step_behind_it() -> None:
    before = Taken("find", "prospeo", "miss").to_json()
    settled = go_on(a_settlement("miss", provider="findymail", taken=[before]))
    assert settled.final == Final("not_found")
    assert go_on(a_settlement("miss")).ask == ASK_FINDYMAIL


def test_another_word_for_the_outcome_counts_for_the_template_alone() -> None:
    settled = go_on(a_settlement("timeout"), outcome="miss")
    assert (settled.ask, settled.outcome) == (ASK_FINDYMAIL, "timeout")


@pytest.mark.parametrize(
    ("outcome", "code"), [("timeout", "vendor_timeout"), ("rate_limited", "vendor_error")]
)
def test_the_dead_end_as_an_error_but_for_silence(outcome: str, code: str) -> None:
    settled = dead(a_settlement(outcome), "over", status="ambiguous")
    assert (settled.status, settled.reason) == ("ambiguous", "over")
    assert settled.final is not None
    assert settled.final.error is not None
    assert settled.final.error["code"] == code
    assert dead(a_settlement(outcome), "over").status == "dead"


def test_a_call_that_broke_off_says_nothing_about_the_vendor() -> None:
    broken = CallResult(Retry("error", BROKE_OFF), 503, 1)
    assert engine.vendor_well(broken) is None
