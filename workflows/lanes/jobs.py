"""Long-running jobs of vendors, and calls whose outcome is not known: the attempt goes on without a call in flight.

Pure but for the dice and the monotonic clock. What is written is in job_rows.py.
"""

import random
import time
from dataclasses import replace

from integrations import exchanges
from integrations.connectors import registry
from integrations.connectors.base import Connector
from integrations.exchanges import Exchange
from integrations.outcomes import AwaitCallback, Fail, Miss, Outcome, Poll, Retry
from workflows import callback_tokens
from workflows.lanes import doubt
from workflows.lanes.ending import dead
from workflows.lanes.work import CALLBACK, LOOK_UP, POLL, Job, Settlement, Work

SOONEST_POLL_S = 0.1
ASK_AGAIN_S, ASK_AGAIN_MAX_S = 2.0, 60.0


def exchange_of(work: Work, connector: Connector) -> Exchange | None:
    """The request that this entry's next call makes; None for the plain question."""
    if work.job is not None and work.job.kind == POLL:
        return exchanges.polling(connector, work.operation, work.job.state)
    if work.job is not None and work.job.kind == LOOK_UP:
        return exchanges.looking_up(connector, work.operation, work.query)
    if work.operation in connector.calls_back:
        address = callback_tokens.address_for(work, connector.job_seconds)
        return exchanges.with_callback(connector, work.operation, work.query, address)
    return None


def carry_on(settlement: Settlement, outcome: Outcome) -> Settlement | None:
    """The settlement of an attempt that goes on after this answer; None where the answer ends it as any other would."""
    work, now = settlement.work, time.monotonic()
    job = work.job
    match outcome:
        case Poll(after=after, state=state):
            begun = _begun(work, POLL, now)
            return _wait(settlement, replace(begun, state=state), max(after, SOONEST_POLL_S), "poll", now)
        case AwaitCallback(token=token, timeout=timeout):
            begun = _begun(work, CALLBACK, now)
            ends_at = min(begun.ends_at, now + timeout)
            begun = replace(begun, token=token, lasts=min(begun.lasts, timeout), ends_at=ends_at)
            return _wait(settlement, begun, timeout, "callback", now)
        case _ if job is None or job.kind == CALLBACK:
            return None
        case Miss() if job.kind == LOOK_UP:
            return _ask_anew(settlement)
        case Retry(kind="rate_limited"):  # the lane itself waits
            return _wait(settlement, job, 0.0, "", now)
        case Retry(after=after):
            # Trouble with asking says nothing about the job: no attempt is used up.
            ceiling = min(ASK_AGAIN_S * 2**job.failures, ASK_AGAIN_MAX_S)
            delay = max(after or 0.0, random.uniform(0.1, ceiling))
            return _wait(settlement, replace(job, failures=job.failures + 1), delay, "backoff", now)
        case Fail(kind="auth_failed" | "no_credits"):
            return _put_back(settlement, job, 0.0, "")
    return None


def unknown(settlement: Settlement) -> Settlement:
    """A call that may have been made, and whose repetition would do harm: it is looked up where the vendor can tell,
    waited for where the vendor calls back, and else left to a person."""
    work, now = settlement.work, time.monotonic()
    connector = registry.get(work.provider)
    settlement.status = "ambiguous"
    if work.operation in connector.can_look_up:
        settlement.job = replace(_begun(work, LOOK_UP, now), counted=True)
        settlement.again_after, settlement.next_attempt = 0.0, work.attempt
        return settlement
    if work.operation in connector.calls_back:
        settlement.job = replace(_begun(work, CALLBACK, now), counted=True)
        settlement.again_after, settlement.next_attempt = connector.job_seconds, work.attempt
        settlement.again_reason = "callback"
        return settlement
    doubt.doubt(settlement)
    return dead(
        settlement,
        "Whether the vendor did it is not known, and doing it twice would do harm. Look there, then retry the record.",
        status="ambiguous",
    )


def awaited(work: Work) -> Job:
    """The job of a call that got no answer but whose result was posted."""
    return _begun(work, CALLBACK, time.monotonic())


def resume(settlement: Settlement) -> Settlement:
    """The worker that asked for a job's result is gone; asking again is harmless."""
    job = settlement.work.job
    assert job is not None
    return _put_back(settlement, job, 0.0, "")


def wait_on(settlement: Settlement) -> Settlement:
    """Nothing that was posted is the answer: wait on until the deadline."""
    job = settlement.work.job
    assert job is not None
    now = time.monotonic()
    return _wait(settlement, job, job.ends_at - now, "callback", now)


def told(settlement: Settlement) -> None:
    """Let the history say what it took: the whole job's time and how often its result was asked for."""
    job = settlement.work.job
    if job is None:
        return
    if job.asked and not settlement.reason:
        settlement.reason = f"The result was asked for {job.asked + 1} times."


def _begun(work: Work, kind: str, now: float) -> Job:
    """The job as it stands after a call: a new one, or the one under way asked once more."""
    if work.job is not None:
        asked = work.job.asked + (work.job.kind != CALLBACK)
        return replace(work.job, kind=kind, asked=asked, failures=0)
    lasts = registry.get(work.provider).job_seconds
    month = work.month.isoformat() if work.month else ""
    return Job(kind, started=time.time(), lasts=lasts, month=month, ends_at=now + lasts)


def _wait(settlement: Settlement, job: Job, after: float, why: str, now: float) -> Settlement:
    if now >= job.ends_at:
        return _too_late(settlement, job)
    return _put_back(settlement, job, min(after, job.ends_at - now), why)


def _too_late(settlement: Settlement, job: Job) -> Settlement:
    settlement.outcome = "timeout"
    minutes = max(1, round(registry.get(settlement.work.provider).job_seconds / 60))
    within = f"within {minutes} minute{'s' if minutes != 1 else ''}"
    if job.kind == LOOK_UP:
        doubt.doubt(settlement)
        reason = f"The vendor could not be asked {within} what became of the call. Look there, then retry the record."
        return dead(settlement, reason, status="ambiguous")
    if job.kind == CALLBACK:
        return dead(settlement, f"The vendor took the question and did not call back {within}.")
    return dead(settlement, f"The vendor's job did not end {within}.")


def _put_back(settlement: Settlement, job: Job | None, after: float, why: str) -> Settlement:
    settlement.job, settlement.goes_on, settlement.called = job, True, True
    settlement.again_after, settlement.next_attempt = after, settlement.work.attempt
    settlement.again_reason = why if after > 0 else ""
    return settlement


def _ask_anew(settlement: Settlement) -> Settlement | None:
    """The vendor knows nothing of the call: asking is safe."""
    work = settlement.work
    most = work.run.config.get("max_attempts") or 3
    if work.attempt >= most:
        settlement.outcome = "error"
        return dead(settlement, f"The call did not reach the vendor (attempt {work.attempt} of {most})")
    _put_back(settlement, None, 0.0, "")
    settlement.next_attempt = work.attempt + 1
    doubt.settle_doubts(settlement, was_free=False)
    if (
        settlement.settles
    ):  # what the earlier call was booked at is given back, and that is a fact for the history
        settlement.goes_on, settlement.outcome, settlement.status = False, "error", "failed"
        settlement.reason = "The vendor knows nothing of the earlier call."
    return settlement
