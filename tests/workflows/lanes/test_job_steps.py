"""Attempts that go on without a call in flight: what each answer means for the job, for its step and for the lane."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.connectors import registry
from integrations.http import CallResult
from integrations.outcomes import AwaitCallback, Done, Fail, Miss, Outcome, Poll, Retry
from tests.workflows.lanes.pieces import ADA, a_step, facts
from workflows.catalog import Final
from workflows.lanes import jobs, outcome
from workflows.lanes.outcome import Verdict, judge, lost, posted
from workflows.lanes.work import CALLBACK, LOOK_UP, POLL, Job, Posted, Settlement, Work

ADDRESS = "ada@engines.example"
BEGAN = datetime(1970, 1, 1, 0, 8, 20, tzinfo=UTC)
NOW = 1_000.0


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is NOW, on the monotonic clock; the dice fall on the highest number."""
    monkeypatch.setattr(jobs.time, "monotonic", lambda: NOW)
    monkeypatch.setattr(jobs.random, "uniform", lambda low, high: high)


def a_job(kind: str = POLL, **changes: Any) -> Job:
    """Begun at 500 (Unix time), with ten minutes left of ten."""
    values: dict[str, Any] = {
        "kind": kind, "token": "t1", "started": 500.0, "lasts": 600.0, "ends_at": NOW + 600,
        "state": {"job": "t1"} if kind == POLL else {},
    }  # fmt: skip
    return Job(**{**values, **changes})


def finding(job: Job | None = None, **changes: Any) -> Work:
    return a_step(facts(finders=["jobs"], verifier=None), provider="jobs", job=job, **changes)


def verifying(job: Job | None = None, *posts: Any, **changes: Any) -> Work:
    """A step that waits for what the vendor posts; `posts` are bodies."""
    bodies = [post if isinstance(post, bytes) else json.dumps(post).encode() for post in posts]
    return a_step(
        facts(template="email-verify", verifier="jobs"),
        provider="jobs", operation="verify", query={"email": ADDRESS}, record_input={"email": ADDRESS},
        job=job, posted=[Posted(uuid.uuid4(), 1, body) for body in bodies], **changes,
    )  # fmt: skip


def verdict(work: Work, answer: Outcome) -> Verdict:
    return judge(work, uuid.uuid4(), CallResult(answer, 200, 5), 700.0, 701.0)


def waits(settlement: Settlement) -> tuple[Any, ...]:
    """When the entry is looked at again, why then, and as which attempt."""
    assert settlement.goes_on
    assert settlement.called
    assert settlement.leaves_queue is False
    return settlement.again_after, settlement.again_reason, settlement.next_attempt


class TestAskingForAResult:
    def test_a_job_begins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs.time, "time", lambda: 555.0)
        found = verdict(finding(attempt=2), Poll(30.0, {"job": "t9"}))
        assert waits(found.settlement) == (30.0, "poll", 2)
        lasts = registry.get("jobs").job_seconds
        assert found.settlement.job == Job(
            POLL, state={"job": "t9"}, started=555.0, lasts=lasts, ends_at=NOW + lasts
        )
        assert (found.cooldown_s, found.pause) == (0.0, "")

    def test_it_is_asked_for_again_and_not_at_once(self) -> None:
        settled = verdict(finding(a_job(asked=2, failures=3)), Poll(0.0, {"job": "t1", "page": 2})).settlement
        assert waits(settled) == (0.1, "poll", 1)
        assert settled.job == a_job(asked=3, state={"job": "t1", "page": 2})
        assert settled.started_at == BEGAN

    def test_no_later_than_its_end(self) -> None:
        settled = verdict(finding(a_job(ends_at=NOW + 4)), Poll(30.0, {})).settlement
        assert waits(settled)[0] == 4.0

    def test_one_that_never_ends_is_dead(self) -> None:
        settled = verdict(finding(a_job(ends_at=NOW)), Poll(30.0, {})).settlement
        minutes = round(registry.get("jobs").job_seconds / 60)
        assert (settled.outcome, settled.status, settled.leaves_queue) == ("timeout", "dead", True)
        assert settled.reason == f"The vendor's job did not end within {minutes} minutes."

    def test_its_result_ends_the_attempt_with_the_whole_time_of_the_job(self) -> None:
        settled = verdict(
            finding(a_job(asked=1)), Done({"email": ADDRESS, "email_status": "valid"}, 1000)
        ).settlement
        assert (settled.outcome, settled.status, settled.credits) == ("hit", "done", 1000)
        assert (settled.started_at, settled.goes_on) == (BEGAN, False)
        assert settled.reason == "The result was asked for 2 times."
        assert verdict(finding(a_job()), Miss()).settlement.reason == ""

    @pytest.mark.parametrize(("after", "cooldown"), [(None, 5.0), (7.0, 7.0), (1e6, 86_400.0)])
    def test_slow_down_is_for_the_lane_and_the_job_goes_on(
        self, after: float | None, cooldown: float
    ) -> None:
        found = verdict(finding(a_job(), attempt=2), Retry("rate_limited", "slow down", after))
        assert (found.cooldown_s, found.pause) == (cooldown, "")
        assert waits(found.settlement) == (0.0, "", 2)
        assert found.settlement.job == a_job()

    @pytest.mark.parametrize("kind", ["auth_failed", "no_credits"])
    def test_a_refused_key_pauses_the_lane_and_the_job_goes_on(self, kind: Any) -> None:
        found = verdict(finding(a_job()), Fail(kind, "refused"))
        assert (found.pause, found.cooldown_s, found.settlement.reason) == (kind, 0.0, "refused")
        assert waits(found.settlement) == (0.0, "", 1)
        assert found.settlement.job == a_job()

    @pytest.mark.parametrize(
        ("failures", "after", "delay"), [(0, None, 2.0), (3, None, 16.0), (9, None, 60.0), (0, 30.0, 30.0)]
    )
    def test_trouble_with_asking_costs_no_attempt(
        self, failures: int, after: float | None, delay: float
    ) -> None:
        settled = verdict(finding(a_job(failures=failures)), Retry("error", "broken", after)).settlement
        assert waits(settled) == (delay, "backoff", 1)
        assert settled.job == a_job(failures=failures + 1)

    def test_any_other_failure_is_the_answer(self) -> None:
        settled = verdict(finding(a_job()), Fail("error", "the vendor has forgotten the job")).settlement
        assert (settled.status, settled.reason) == ("dead", "the vendor has forgotten the job")

    def test_a_worker_that_dies_while_asking_is_followed_by_another(self) -> None:
        settled = lost(finding(a_job(), attempt=2), uuid.uuid4(), on_ambiguous="ask")
        assert waits(settled) == (0.0, "", 2)
        assert settled.job == a_job()


class TestWaitingForAPost:
    def test_it_waits_as_long_as_the_vendor_says_and_no_longer_than_it_may(self) -> None:
        settled = verdict(verifying(), AwaitCallback("t7", 60.0)).settlement
        assert waits(settled) == (60.0, "callback", 1)
        job = settled.job
        assert job is not None
        assert (job.kind, job.token, job.lasts, job.ends_at) == (CALLBACK, "t7", 60.0, NOW + 60)
        long = verdict(verifying(), AwaitCallback("t7", 1e6)).settlement
        lasts = registry.get("jobs").job_seconds
        assert long.job is not None
        assert (long.again_after, long.job.lasts, long.job.ends_at) == (lasts, lasts, NOW + lasts)

    def test_what_is_posted_is_the_answer(self) -> None:
        work = verifying(
            a_job(CALLBACK), {"job": "t1", "status": "done", "result": {"email": ADDRESS, "verdict": "valid"}}
        )
        settled = posted(work)
        assert (settled.outcome, settled.status, settled.credits) == ("hit", "done", 1000)
        assert (settled.holder, settled.http_status, settled.latency_ms) == (None, None, None)
        assert settled.started_at == BEGAN
        assert settled.finished_at is not None
        assert abs(settled.finished_at.timestamp() - time.time()) < 60
        assert settled.read == [work.posted[0].id]
        assert settled.final == Final("found", {
            "email": ADDRESS, "email_status": "valid", "found_by": None, "verified_by": "jobs",
        })  # fmt: skip

    def test_what_cannot_be_read_or_is_of_another_job_is_passed_by(self) -> None:
        good = {"job": "t1", "status": "done", "result": None}
        work = verifying(
            a_job(CALLBACK), b"{", {"job": "t2", "status": "failed"}, good, {"job": "t1", "status": "failed"}
        )
        settled = posted(work)
        assert (settled.outcome, settled.status) == ("miss", "done")
        assert settled.read == [post.id for post in work.posted]

    def test_a_job_that_failed_is_dead_with_its_reason(self) -> None:
        settled = posted(verifying(a_job(CALLBACK), {"job": "t1", "status": "failed"}))
        assert (settled.status, settled.reason) == ("dead", "the vendor's job failed")

    @pytest.mark.parametrize("kind", ["auth_failed", "no_credits"])
    def test_what_is_posted_says_nothing_about_the_key(
        self, monkeypatch: pytest.MonkeyPatch, kind: Any
    ) -> None:
        asked: list[Any] = []

        def interpret(*given: Any) -> Outcome:
            asked.append(given)
            return Fail(kind, "refused")

        monkeypatch.setattr(registry.get("jobs"), "interpret_callback", interpret)
        settled = posted(verifying(a_job(CALLBACK), b"x"))
        assert asked == [("verify", "t1", b"x")]
        assert (settled.outcome, settled.status, settled.reason) == ("error", "dead", "refused")

    def test_without_an_answer_in_it_the_wait_goes_on_to_its_end(self) -> None:
        work = verifying(a_job(CALLBACK, ends_at=NOW + 42), b"{", attempt=3)
        settled = posted(work)
        assert waits(settled) == (42.0, "callback", 3)
        assert (settled.outcome, settled.status, settled.holder) == ("timeout", "failed", None)
        assert (settled.work, settled.job, settled.started_at) == (
            work,
            a_job(CALLBACK, ends_at=NOW + 42),
            BEGAN,
        )
        assert settled.read == [work.posted[0].id]
        assert settled.attempt_id.version == 7

    def test_and_then_it_is_dead(self) -> None:
        settled = posted(verifying(a_job(CALLBACK, ends_at=NOW)))
        minutes = round(registry.get("jobs").job_seconds / 60)
        assert (settled.status, settled.outcome, settled.read) == ("dead", "timeout", [])
        assert (
            settled.reason == f"The vendor took the question and did not call back within {minutes} minutes."
        )

    def test_a_post_tells_that_a_lost_call_was_made(self) -> None:
        holder = uuid.uuid4()
        work = verifying(None, {"job": "whatever", "status": "done", "result": None})
        settled = lost(work, holder, on_ambiguous="ask")
        assert (settled.outcome, settled.status, settled.holder) == ("miss", "done", holder)
        assert work.crashes == 0


class TestLookingUp:
    """A call that may have been made, of a vendor for whom making it twice does harm."""

    def test_what_can_be_looked_up_is(self) -> None:
        found = verdict(finding(attempt=2), Retry("timeout", "no answer in time", uncertain=True))
        settled = found.settlement
        assert (settled.status, settled.outcome) == ("ambiguous", "timeout")
        assert settled.reason == "no answer in time; the vendor may have been asked"
        assert (settled.again_after, settled.next_attempt) == (0.0, 2)
        assert settled.job is not None
        assert (settled.job.kind, settled.job.counted) == (LOOK_UP, True)

    def test_what_calls_back_is_waited_for(self) -> None:
        settled = lost(verifying(None, attempt=2), uuid.uuid4(), on_ambiguous="repeat")
        lasts = registry.get("jobs").job_seconds
        assert (settled.status, settled.again_after, settled.next_attempt) == ("ambiguous", lasts, 2)
        assert settled.again_reason == "callback"
        assert settled.job is not None
        assert (settled.job.kind, settled.job.counted) == (CALLBACK, True)

    def test_what_can_be_neither_is_for_a_person(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry.get("jobs"), "can_look_up", frozenset())
        settled = lost(finding(), uuid.uuid4(), on_ambiguous="repeat")
        assert (settled.status, settled.leaves_queue) == ("ambiguous", True)
        assert settled.reason == (
            "Whether the vendor did it is not known, and doing it twice would do harm. "
            "Look there, then retry the record."
        )

    def test_a_vendor_that_knows_nothing_of_it_is_asked(self) -> None:
        settled = verdict(finding(a_job(LOOK_UP), attempt=2), Miss()).settlement
        assert waits(settled) == (0.0, "", 3)
        assert settled.job is None

    def test_but_not_for_ever(self) -> None:
        settled = verdict(finding(a_job(LOOK_UP), attempt=3), Miss()).settlement
        assert (settled.status, settled.outcome, settled.leaves_queue) == ("dead", "error", True)
        assert settled.reason == "The call did not reach the vendor (attempt 3 of 3)"

    def test_what_is_found_ends_it_and_what_cannot_be_asked_is_for_a_person(self) -> None:
        found = verdict(finding(a_job(LOOK_UP)), Done({"email": ADDRESS, "email_status": "valid"})).settlement
        assert (found.status, found.goes_on) == ("done", False)
        late = verdict(finding(a_job(LOOK_UP, ends_at=NOW)), Retry("error", "broken")).settlement
        minutes = round(registry.get("jobs").job_seconds / 60)
        assert (late.status, late.outcome) == ("ambiguous", "timeout")
        assert late.reason == (
            f"The vendor could not be asked within {minutes} minutes what became of the call. "
            "Look there, then retry the record."
        )


def test_a_step_without_a_job_began_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome.time, "time", lambda: 500.0)
    assert outcome._began(finding(query=ADA)) == 500.0
    assert outcome._began(finding(a_job(started=7.0))) == 7.0
