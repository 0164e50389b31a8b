"""Long-running jobs of a vendor, over real HTTP: asked for again and again, or posted back; calls of unknown outcome."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.db.models import Sum

from billing.models import UsageEvent
from integrations.connectors.jobs import Jobs
from integrations.http import CallResult
from integrations.outcomes import AwaitCallback, Done, Fail, Poll, Retry
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from tests.workflows.lanes.test_recovery import Hand, expire
from workflows.lanes.outcome import judge, lost
from workflows.lanes.runner import Runner
from workflows.models import AmbiguousCall, Callback, LaneRun, Record, Run, Step, StepQueue, Workflow
from workflows.operations.ambiguous import decide_call
from workflows.operations.control_run import cancel_run, pause_run, resume_run
from workflows.operations.retry import retry_record, retry_run
from workflows.states import LaneRunState


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def web(committed: None, settings: Any) -> Iterator[str]:
    """Weir's web pages on an address of their own, where vendors can post."""
    server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet)
    server.set_app(get_wsgi_application())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings.BASE_URL = f"http://127.0.0.1:{server.server_port}"
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    yield settings.BASE_URL
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def jobs(committed: None, tenant: Tenant, sandbox: Sandbox, connect: Callable[..., Any]) -> Sandbox:
    """The vendor of jobs, connected, and a workflow of its finder alone: a job that is asked for again and again."""
    connect("jobs", secret="key-jobs", mode="sandbox", windows=[], parallelism=20)
    _use(tenant, {"finders": ["jobs"], "verifier": None})
    return sandbox


@pytest.fixture
def calling_back(jobs: Sandbox, tenant: Tenant, web: str) -> Sandbox:
    """As `jobs`, with the verifier that posts its verdict back."""
    _use(tenant, {"finders": ["jobs"], "verifier": "jobs"})
    return jobs


def _use(tenant: Tenant, config: dict[str, Any]) -> None:
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        workflow.config = {**workflow.config, **config}
        workflow.save(update_fields=["config"])


def steps(run: Run, **conditions: Any) -> list[Step]:
    with tenant_scope(run.tenant_id):
        return list(Step.objects.filter(run_id=run.pk, **conditions).order_by("id"))


def entries(run: Run) -> list[StepQueue]:
    with tenant_scope(run.tenant_id):
        return list(StepQueue.objects.filter(run_id=run.pk))


def records(run: Run) -> list[Record]:
    with tenant_scope(run.tenant_id):
        return list(Record.objects.filter(run_id=run.pk).order_by("position"))


def usage(run: Run) -> tuple[int, int]:
    """(calls, credits in thousandths) in the ledger."""
    with tenant_scope(run.tenant_id):
        found = UsageEvent.objects.filter(run_id=run.pk, kind="attempt").aggregate(
            calls=Sum("quantity"), credits=Sum("credits")
        )
    return found["calls"] or 0, found["credits"] or 0


def until(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.03)
    raise AssertionError("not in time")


def agrees(run: Run, sandbox: Sandbox) -> None:
    """The ledger and the run say what the vendor's own journal says."""
    summary = sandbox.summary()["jobs"]
    assert usage(run) == (summary["calls"], round(summary["credits"] * 1000))
    assert again(run).credits_spent == round(summary["credits"] * 1000)


class TestPolling:
    def test_a_job_is_one_attempt_one_call_and_one_cost_however_often_it_is_asked_for(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "job_slow", count=1, seconds=1.5)
        run = wait(start(tenant, people(3)))
        assert [r.status for r in records(run)] == ["found"] * 3
        assert [(s.attempt, s.status, s.outcome, s.credits) for s in steps(run)] == [
            (1, "done", "hit", 1000)
        ] * 3
        assert jobs.summary()["jobs"]["polls"] >= 4
        assert any("asked for" in s.reason for s in steps(run))
        assert run.credits_reserved == 0
        agrees(run, jobs)

    def test_a_waiting_job_says_so_and_keeps_what_was_reserved_for_it(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "job_slow", count=1, seconds=2)
        run = start(tenant, people(1), credit_limit=1000)
        entry = until(lambda: next((e for e in entries(run) if e.reason == "poll"), None))
        assert entry.job["state"]["job"]
        assert "key-jobs" not in str(entry.job)
        assert entry.job_until is not None
        until(lambda: again(run).credits_reserved == 1000)
        run = wait(run)
        assert (run.found, run.credits_spent, run.credits_reserved) == (1, 1000, 0)

    def test_a_vendor_that_stumbles_over_a_poll_is_asked_again_in_the_same_attempt(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "job_slow", count=1, seconds=1)
        run = start(tenant, people(1))
        until(lambda: any(e.job for e in entries(run)))
        jobs.fault("jobs", "status_500", count=2)
        run = wait(run)
        assert [(s.attempt, s.status) for s in steps(run)] == [(1, "done")]
        agrees(run, jobs)

    def test_a_job_that_never_ends_is_a_timeout_with_a_name(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Jobs, "job_seconds", 1.0)
        jobs.fault("jobs", "job_never", count=1)
        run = wait(start(tenant, people(1)))
        assert [(r.status, (r.error or {}).get("code")) for r in records(run)] == [
            ("failed", "vendor_timeout")
        ]
        assert [(s.status, s.outcome, s.reason) for s in steps(run)] == [
            ("dead", "timeout", "The vendor's job did not end within 1 minute.")
        ]
        jobs.control("DELETE", "faults")
        assert retry_run(tenant_id=tenant.pk, run_id=run.pk, actor="system:tests") == 1
        assert wait(run).found == 1

    def test_a_job_that_fails_is_dead_and_can_be_begun_again(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "job_fails", count=1)
        run = wait(start(tenant, people(1)))
        assert [(s.attempt, s.status, s.reason) for s in steps(run)] == [
            (1, "dead", "the vendor's job failed")
        ]
        retry_run(tenant_id=tenant.pk, run_id=run.pk, actor="system:tests")
        run = wait(run)
        assert run.found == 1
        agrees(run, jobs)

    def test_a_paused_run_asks_for_nothing_and_goes_on_with_its_job(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "job_slow", count=1, seconds=0.6)
        run = start(tenant, people(1))
        until(lambda: any(e.job for e in entries(run)))
        with tenant_scope(tenant):
            pause_run(run_id=run.pk, actor="system:tests")
        time.sleep(1.5)
        polls = jobs.summary()["jobs"]["polls"]
        time.sleep(0.7)
        assert jobs.summary()["jobs"]["polls"] == polls
        with tenant_scope(tenant):
            resume_run(run_id=run.pk, actor="system:tests")
        assert wait(run).found == 1
        assert jobs.summary()["jobs"]["calls"] == 1

    def test_a_cancelled_job_is_asked_for_no_more_and_its_call_stays_counted(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "job_never", count=1)
        run = start(tenant, people(1))
        until(lambda: any(e.job and e.reason == "poll" for e in entries(run)))
        with tenant_scope(tenant):
            cancel_run(run_id=run.pk, actor="system:tests")
        run = wait(run)
        assert (run.cancelled, run.credits_reserved) == (1, 0)
        assert [(s.status, s.reason[:26]) for s in steps(run)] == [
            ("cancelled", "The vendor was at it; what")
        ]
        assert usage(run)[0] == 1
        with tenant_scope(tenant):  # a call was made: the record is not given back
            assert not UsageEvent.objects.filter(key__startswith="back:").exists()

    def test_the_next_holder_goes_on_asking_when_the_one_before_died_in_the_middle(
        self, tenant: Tenant, jobs: Sandbox
    ) -> None:
        run = start(tenant, people(1), credit_limit=5000)
        hand = Hand(tenant, "jobs")
        (work,) = hand.claim()
        hand.stamp([work])
        hand.settle([hand.answer(work, Poll(0.0, {"job": "made-up"}))])
        _due(tenant)
        (work,) = hand.claim()
        assert work.job is not None
        assert work.job.state == {"job": "made-up"}
        hand.stamp([work])
        assert again(run).credits_reserved == 1000
        expire(hand.lane)
        other = Hand(tenant, "jobs")
        (found,) = _stamped(other)
        settlement = lost(found, hand.holder, on_ambiguous="ask")
        other.settle([settlement])
        assert steps(run) == []
        (work,) = other.claim()
        assert (work.attempt, work.crashes, work.job.state) == (1, 1, {"job": "made-up"})  # type: ignore[union-attr]
        other.stamp([work])
        late = hand.settle(
            [hand.answer(found, Done({"email": "a@b.example", "email_status": "valid"}, 1000))]
        )
        assert late.late == 1
        other.settle([other.answer(work, Done({"email": "a@b.example", "email_status": "valid"}, 1000))])
        run = again(run)
        assert (run.status, run.credits_spent, run.credits_reserved) == ("completed", 1000, 0)
        assert [(s.status, s.credits) for s in steps(run)] == [("late", 0), ("done", 1000)]
        assert usage(run) == (1, 1000)

    def test_a_flush_that_is_written_again_leaves_a_job_as_it_is(self, tenant: Tenant, jobs: Sandbox) -> None:
        run = start(tenant, people(1))
        hand = Hand(tenant, "jobs")
        (work,) = hand.claim()
        hand.stamp([work])
        settlement = hand.answer(work, Poll(30.0, {"job": "made-up"}))
        hand.settle([settlement])
        hand.settle([settlement], retried=True)
        assert steps(run) == []
        assert [(e.job or {}).get("state") for e in entries(run)] == [{"job": "made-up"}]

    def test_a_state_that_holds_the_key_is_not_kept(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Jobs, "interpret", lambda *_: Poll(1.0, {"url": "https://x.example/?k=key-jobs"}))
        run = wait(start(tenant, people(1)))
        assert [s.status for s in steps(run)] == ["dead"]
        assert "key-jobs" not in str([(s.reason, s.answer) for s in steps(run)])


class TestCallingBack:
    def test_a_verdict_that_is_posted_settles_the_step_once(
        self, tenant: Tenant, calling_back: Sandbox, runner: Runner
    ) -> None:
        run = wait(start(tenant, people(3)))
        assert run.found == 3
        assert [(s.attempt, s.status, s.credits) for s in steps(run, operation="verify")] == [
            (1, "done", 1000)
        ] * 3
        agrees(run, calling_back)
        with tenant_scope(tenant):
            assert set(Callback.objects.values_list("state", "posts")) == {("read", 1)}
            assert not any(bytes(body) for body in Callback.objects.values_list("body", flat=True))

    def test_a_step_that_waits_for_a_post_says_so(
        self, tenant: Tenant, calling_back: Sandbox, runner: Runner
    ) -> None:
        calling_back.fault("jobs", "callback_late", seconds=1.5)
        run = start(tenant, people(1))
        entry = until(lambda: next((e for e in entries(run) if e.reason == "callback"), None))
        assert entry.not_before == entry.job_until
        assert wait(run).found == 1

    @pytest.mark.parametrize("fault", ["callback_early", "callback_twice", "callback_garbage"])
    def test_posts_that_come_early_twice_or_torn_have_one_effect(
        self, tenant: Tenant, calling_back: Sandbox, runner: Runner, fault: str
    ) -> None:
        calling_back.fault("jobs", fault, seconds=0.5)
        run = wait(start(tenant, people(2)))
        assert run.found == 2
        expected = {"callback_early": 2, "callback_twice": 6, "callback_garbage": 4}[fault]
        posts = until(
            lambda: (
                [p for job in calling_back.control("GET", "jobs") for p in job["posts"]][expected - 1 :]
                and [p for job in calling_back.control("GET", "jobs") for p in job["posts"]]
            )
        )
        assert posts == [202] * expected
        with tenant_scope(tenant):
            until(lambda: not Callback.objects.filter(state="new").exists())
        assert len(steps(run, operation="verify", status="done")) == 2
        agrees(run, calling_back)

    def test_a_post_that_never_comes_is_a_timeout_and_one_that_comes_later_is_shown_with_its_cost(
        self, tenant: Tenant, calling_back: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Jobs, "job_seconds", 2.0)
        calling_back.fault("jobs", "callback_late", seconds=4)
        run = wait(start(tenant, people(1)))
        assert [(s.status, s.outcome) for s in steps(run, operation="verify")] == [("dead", "timeout")]
        assert [(r.error or {}).get("code") for r in records(run)] == ["vendor_timeout"]
        late = until(lambda: steps(run, status="late"))
        assert [(s.outcome, s.credits, (s.answer or {}).get("email_status")) for s in late] == [
            ("hit", 1000, "valid")
        ]
        agrees(run, calling_back)

    def test_a_post_for_a_cancelled_run_is_shown_with_its_cost(
        self, tenant: Tenant, calling_back: Sandbox, runner: Runner
    ) -> None:
        calling_back.fault("jobs", "callback_late", seconds=2)
        run = start(tenant, people(1))
        until(lambda: any(e.reason == "callback" for e in entries(run)))
        with tenant_scope(tenant):
            cancel_run(run_id=run.pk, actor="system:tests")
        assert wait(run).cancelled == 1
        assert [(s.outcome, s.credits) for s in until(lambda: steps(run, status="late"))] == [("hit", 1000)]
        agrees(run, calling_back)

    def test_a_call_whose_answer_was_lost_is_settled_by_what_is_posted(
        self, tenant: Tenant, calling_back: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = Retry("timeout", "no answer in time", uncertain=True)
        right = Jobs.interpret

        def interpret(self: Jobs, operation: str, response: Any) -> Any:
            return broken if operation == "verify" else right(self, operation, response)

        monkeypatch.setattr(Jobs, "interpret", interpret)
        run = wait(start(tenant, people(1)))
        assert run.found == 1
        assert [(s.attempt, s.status) for s in steps(run, operation="verify")] == [
            (1, "ambiguous"),
            (1, "done"),
        ]
        agrees(run, calling_back)


class TestNotKnown:
    """The vendor of jobs charges for each job: a call that may have been made is never made again blindly."""

    def test_a_lost_call_is_looked_up_and_its_job_taken_up(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "drop_after_charge", count=1)
        run = wait(start(tenant, people(1)))
        assert run.found == 1
        assert [(s.attempt, s.status) for s in steps(run)] == [(1, "ambiguous"), (1, "done")]
        assert jobs.summary()["jobs"]["calls"] == 1
        agrees(run, jobs)

    def test_a_call_that_the_vendor_knows_nothing_of_is_made_again(
        self, tenant: Tenant, jobs: Sandbox, runner: Runner
    ) -> None:
        jobs.fault("jobs", "reset", count=1)
        run = wait(start(tenant, people(1)))
        assert run.found == 1
        assert [(s.attempt, s.status) for s in steps(run)] == [(1, "ambiguous"), (2, "done")]
        assert jobs.summary()["jobs"]["hits"] == 1

    def test_a_vendor_that_cannot_be_asked_leaves_it_to_a_person(
        self, tenant: Tenant, jobs: Sandbox, monkeypatch: pytest.MonkeyPatch, runner: Runner
    ) -> None:
        monkeypatch.setattr(Jobs, "can_look_up", frozenset())
        jobs.fault("jobs", "drop_after_charge", count=1)
        run = wait(start(tenant, people(1)))
        assert [r.status for r in records(run)] == ["failed"]
        assert [(s.status, "do harm" in s.reason) for s in steps(run)] == [("ambiguous", True)]
        assert jobs.summary()["jobs"]["calls"] == 1
        agrees(run, jobs)
        (call,) = doubts(tenant)
        assert (call.status, call.may_cost, call.released_at) == ("open", 1000, None)
        with tenant_scope(tenant):
            decide_call(call_id=call.pk, decision="repeat", actor="system:tests")
        run = wait(run)
        assert (run.found, doubts(tenant)[0].status) == (1, "repeated")
        agrees(run, jobs)

    def test_a_retry_of_all_leaves_what_may_have_been_done_and_a_person_decides_on_each(
        self, tenant: Tenant, jobs: Sandbox, monkeypatch: pytest.MonkeyPatch, runner: Runner
    ) -> None:
        monkeypatch.setattr(Jobs, "can_look_up", frozenset())
        jobs.fault("jobs", "drop_after_charge", count=1)
        run = wait(start(tenant, people(1)))
        assert retry_run(tenant_id=tenant.pk, run_id=run.pk, actor="system:tests") == 0
        with tenant_scope(tenant):
            retry_record(run_id=run.pk, record_id=records(run)[0].pk, actor="system:tests")
        assert wait(run).found == 1
        assert jobs.summary()["jobs"]["calls"] == 2

    def test_a_retry_looks_first_what_became_of_the_earlier_call(
        self, tenant: Tenant, jobs: Sandbox, monkeypatch: pytest.MonkeyPatch, runner: Runner
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "can_look_up", frozenset())
            jobs.fault("jobs", "drop_after_charge", count=1)
            run = wait(start(tenant, people(1)))
        assert retry_run(tenant_id=tenant.pk, run_id=run.pk, actor="system:tests") == 1
        assert wait(run).found == 1
        assert jobs.summary()["jobs"]["calls"] == 1
        agrees(run, jobs)
        (call,) = doubts(tenant)
        assert call.released_at is not None, "the look told what the call cost"
        began = [step.started_at for step in steps(run) if step.started_at]
        assert [moment > run.created_at for moment in began] == [True] * 2

    def test_a_retry_that_finds_that_the_vendor_was_never_asked_gives_back_what_the_call_was_booked_at(
        self, tenant: Tenant, jobs: Sandbox, monkeypatch: pytest.MonkeyPatch, runner: Runner
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "can_look_up", frozenset())
            jobs.fault("jobs", "reset", count=1)
            run = wait(start(tenant, people(1)))
        assert run.credits_spent == 1000
        assert retry_run(tenant_id=tenant.pk, run_id=run.pk, actor="system:tests") == 1
        assert wait(run).found == 1
        assert jobs.summary()["jobs"]["hits"] == 1
        agrees(run, jobs)
        assert [record.credits for record in records(run)] == [1000]
        assert doubts(tenant)[0].released_at is not None

    def test_a_look_that_another_holder_has_made_too_gives_back_once(
        self, tenant: Tenant, jobs: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start(tenant, people(1))
        frozen = Hand(tenant, "jobs")
        (work,) = frozen.claim()
        frozen.stamp([work])
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "can_look_up", frozenset())
            frozen.settle([lost(work, frozen.holder, on_ambiguous="ask")])
        assert again(run).credits_spent == 1000
        assert retry_run(tenant_id=tenant.pk, run_id=run.pk, actor="system:tests") == 1
        (look,) = frozen.claim()
        frozen.stamp([look])
        expire(frozen.lane)
        heir = Hand(tenant, "jobs")
        (over,) = _stamped(heir)
        heir.settle([lost(over, frozen.holder, on_ambiguous="ask")])
        (again_looked,) = heir.claim()
        heir.stamp([again_looked])
        found = Done({"email": "a@b.example", "email_status": "valid"}, 1000)
        heir.settle([heir.answer(again_looked, found)])
        assert frozen.settle([frozen.answer(look, found)]).late == 1
        assert again(run).credits_spent == usage(run)[1] == 1000

    def test_a_call_that_could_not_be_looked_up_in_time_is_booked_and_listed(
        self, tenant: Tenant, jobs: Sandbox
    ) -> None:
        run = start(tenant, people(1))
        hand = Hand(tenant, "jobs")
        (work,) = hand.claim()
        hand.stamp([work])
        hand.settle([lost(work, hand.holder, on_ambiguous="repeat")])
        with ops_scope("test"):
            StepQueue.objects.filter(tenant=tenant).update(job_until="2020-01-01T00:00Z")
        (work,) = hand.claim()
        hand.stamp([work])
        hand.settle([hand.answer(work, Retry("timeout", "no answer in time"))])
        run = again(run)
        assert (run.credits_spent, run.credits_reserved) == (1000, 0)
        assert [(call.status, call.may_cost) for call in doubts(tenant)] == [("open", 1000)]

    def test_the_connections_policy_repeats_nothing_that_would_do_harm(
        self, tenant: Tenant, jobs: Sandbox
    ) -> None:
        start(tenant, people(1))
        hand = Hand(tenant, "jobs")
        (work,) = hand.claim()
        hand.stamp([work])
        settlement = lost(work, hand.holder, on_ambiguous="repeat")
        assert settlement.job is not None
        assert (settlement.job.kind, settlement.next_attempt) == ("look_up", 1)


def test_an_answer_by_post_says_nothing_about_the_key(tenant: Tenant, jobs: Sandbox) -> None:
    start(tenant, people(1))
    hand = Hand(tenant, "jobs")
    (work,) = hand.claim()
    hand.stamp([work])
    waiting = judge(work, hand.holder, CallResult(AwaitCallback("j1", 60), 202, 5), 0.0, 0.0)
    assert waiting.settlement.goes_on
    refused = judge(work, hand.holder, CallResult(Fail("auth_failed", "no"), 401, 5), 0.0, 0.0)
    assert refused.pause == "auth_failed"
    assert not waiting.pause


def doubts(tenant: Tenant) -> list[AmbiguousCall]:
    with tenant_scope(tenant):
        return list(AmbiguousCall.objects.order_by("id"))


def _due(tenant: Tenant) -> None:
    with ops_scope("test"):
        StepQueue.objects.filter(tenant=tenant).update(not_before=None, reason="")
        LaneRun.objects.filter(tenant=tenant).update(state=LaneRunState.ACTIVE)


def _stamped(hand: Hand) -> list[Any]:
    from workflows.lanes import claim

    ids = [entry.id for entry in hand.foreign]
    assert all(isinstance(entry, uuid.UUID) for entry in ids)
    return claim.stamped_by_others(hand.lane.tenant_id, hand.lane.pk, ids)
