"""From a vendor's answer to a settlement: an exhaustive reading of the closed set of outcomes. Pure but for the dice."""

import random
import time
import uuid
from dataclasses import dataclass

from integrations.connectors import registry
from integrations.http import BROKE_OFF, CallResult
from integrations.outcomes import Done, Fail, Miss, Outcome, Retry
from tenants.ids import uuid7
from workflows.catalog import TEMPLATES, Final, Taken
from workflows.lanes import doubt, jobs
from workflows.lanes.decide import over_the_cap
from workflows.lanes.ending import dead, go_on
from workflows.lanes.lease import moment
from workflows.lanes.work import Settlement, Work

BACKOFF_BASE_S, BACKOFF_MAX_S = 2.0, 300.0
# A vendor's day may be used up; whoever knows better resumes the lane.
COOLDOWN_DEFAULT_S, COOLDOWN_MAX_S = 5.0, 86_400.0
CRASHES_ALONE, CRASHES_DEAD = 2, 3
LOST = "The worker stopped before the answer came back; whether the vendor was asked is not known."
PAUSING = ("auth_failed", "no_credits")
# However often it may be put back without costing an attempt: after this long it is dead.
STEP_DEADLINE_S = 24 * 3600.0
OUTAGE = "outage"
# What a gateway says in the vendor's place (520 to 527: Cloudflare's); the vendor may have done the work behind it.
BY_A_GATEWAY = frozenset({502, 504, *range(520, 528)})


@dataclass(frozen=True, slots=True)
class Verdict:
    """A settlement, and what the lane has to do about it."""

    settlement: Settlement
    cooldown_s: float = 0.0
    pause: str = ""  # auth_failed or no_credits: the key itself is the trouble


def vendor_well(result: CallResult) -> bool | None:
    """Whether this call shows the vendor at work (True) or failing (False); None where it says neither."""
    match result.outcome:
        case Retry(kind=kind, reason=reason):
            return None if kind == "rate_limited" or reason == BROKE_OFF else False
        case _:
            return True if result.http_status is not None else None


def judge(
    work: Work,
    holder: uuid.UUID | None,
    result: CallResult,
    started: float,
    finished: float,
    *,
    spare_s: float | None = None,
    on_ambiguous: str = "repeat",
) -> Verdict:
    """What follows from a call that came back; `started` and `finished` are Unix times, for the history alone.

    `on_ambiguous` is the connection's policy for calls that were sent and got no readable answer.

    `spare_s`: the call was a probe of a resting lane, which rests again for this many seconds. A failure of it costs
    the step no attempt (unless the call may have been paid and its repeat would be too), and the next probe is another
    step's, so that one that always fails keeps no lane at rest.
    """
    settlement = Settlement(
        work=work,
        attempt_id=uuid7(),
        holder=holder,
        outcome=result.outcome.name,
        status="done",
        http_status=result.http_status,
        latency_ms=result.latency_ms,
        started_at=moment(_begun_at(work) or started),
        finished_at=moment(finished),
    )
    outcome: Outcome = result.outcome
    held = jobs.carry_on(settlement, outcome)
    if held is not None:
        return _on_the_lane(held, outcome)
    jobs.told(settlement)
    match outcome:
        case Done(answer=answer, credits=credits, free=free):
            settlement.answer, settlement.credits = answer, credits
            doubt.settle_doubts(settlement, was_free=free)
            return Verdict(go_on(settlement))
        case Miss(credits=credits):
            settlement.credits = credits
            doubt.settle_doubts(settlement, was_free=False)
            return Verdict(go_on(settlement))
        case Retry(kind="rate_limited", reason=reason, after=after):
            cooldown = min(after or COOLDOWN_DEFAULT_S, COOLDOWN_MAX_S)
            if _too_old(settlement, reason):
                return Verdict(settlement, cooldown_s=cooldown)
            _back(settlement, reason, after=0.0, why="cooldown", attempt=work.attempt)
            return Verdict(settlement, cooldown_s=cooldown)
        case Retry(reason=reason, uncertain=True) if not registry.get(work.provider).repeat_is_harmless:
            settlement.reason = f"{reason}; the vendor may have been asked"
            return Verdict(jobs.unknown(settlement))
        case Retry(reason=reason, after=after, uncertain=uncertain):
            if uncertain and (ended := _unanswered(settlement, reason, on_ambiguous)):
                return Verdict(ended)
            return Verdict(_again(settlement, reason, after, spare_s=spare_s))
        case Fail(kind="auth_failed" | "no_credits" as kind, reason=reason):
            _back(settlement, reason, after=0.0, why="paused", attempt=work.attempt)
            settlement.again_afresh = True
            return Verdict(settlement, pause=kind)
        case Fail(kind="invalid" | "suppressed", reason=reason):
            settlement.reason = reason
            return Verdict(go_on(settlement))
        case Fail(reason=reason):
            return Verdict(dead(settlement, reason))
        case _:
            raise AssertionError(outcome)  # jobs.carry_on has it


def _on_the_lane(held: Settlement, outcome: Outcome) -> Verdict:
    """What an answer that leaves the attempt going on means for the lane."""
    match outcome:
        case Retry(kind="rate_limited", after=after):
            return Verdict(held, cooldown_s=min(after or COOLDOWN_DEFAULT_S, COOLDOWN_MAX_S))
        case Fail(kind="auth_failed" | "no_credits" as kind, reason=reason):
            held.reason = reason
            return Verdict(held, pause=kind)
        case _:
            return Verdict(held)


def posted(work: Work) -> Settlement:
    """A step whose vendor has posted something, or whose time to do so is over: no call."""
    connector = registry.get(work.provider)
    token = work.job.token if work.job is not None else ""
    for post in work.posted:
        outcome = connector.interpret_callback(work.operation, token, post.body)
        if outcome is None:
            continue
        if isinstance(outcome, Fail) and outcome.kind in PAUSING:
            outcome = Fail("error", outcome.reason)  # what is posted says nothing about the key
        now = time.time()
        settlement = judge(work, None, CallResult(outcome, None, 0), now, now).settlement
        settlement.latency_ms = None
        break
    else:
        settlement = jobs.wait_on(
            Settlement(work, uuid7(), None, "timeout", "failed", started_at=moment(_began(work)))
        )
    settlement.read = [post.id for post in work.posted]
    return settlement


def _began(work: Work) -> float:
    return _begun_at(work) or time.time()


def _begun_at(work: Work) -> float:
    """When the call was made that began the job under way; 0 where there is none, or it was made in an earlier try."""
    return work.job.started if work.job is not None else 0.0


def cached(work: Work) -> Settlement:
    """A step whose question has been answered already, in this run or recently enough: no call, no cost."""
    settlement = Settlement(
        work=work,
        attempt_id=uuid7(),
        holder=None,
        outcome="cached",
        status="done",
        answer=work.cached_answer,
        reason="Answered before; not asked again.",
        called=False,
    )
    return go_on(settlement)


def passed_over(work: Work) -> Settlement:
    """A step whose vendor is out of service, in a run that does not wait for vendors: no call, no cost."""
    settlement = Settlement(
        work=work,
        attempt_id=uuid7(),
        holder=None,
        outcome="skipped",
        status="done",
        answer={"why": OUTAGE},
        reason="The vendor was out of service; the workflow does not wait.",
        called=False,
    )
    return go_on(settlement)


def lost(work: Work, holder: uuid.UUID, *, on_ambiguous: str) -> Settlement:
    """A stamped step whose answer never came back: the call may have been made and charged. Never repeated silently."""
    if work.posted and work.job is None:  # it was asked, and has answered
        work.job = jobs.awaited(work)
        settlement = posted(work)
        settlement.holder = holder
        return settlement
    work.crashes += 1
    settlement = Settlement(
        work=work,
        attempt_id=uuid7(),
        holder=holder,
        outcome="timeout",
        status="ambiguous",
        reason=LOST,
        called=True,
    )
    if work.crashes >= CRASHES_DEAD:
        doubt.doubt(settlement)
        return dead(settlement, "Workers stopped three times while this step was in their hands.")
    if work.job is not None:
        return jobs.resume(settlement)
    if not registry.get(work.provider).repeat_is_harmless:
        return jobs.unknown(settlement)
    doubt.doubt(settlement)
    if ended := _by_policy(settlement, LOST, on_ambiguous):
        return ended
    settlement.again_after, settlement.next_attempt = 0.0, work.attempt + 1
    return settlement


def _unanswered(settlement: Settlement, reason: str, on_ambiguous: str) -> Settlement | None:
    """As `_by_policy`, for a call that was sent. An error that the vendor told is an answer: it did not do the work."""
    status = settlement.http_status
    if status is not None and status >= 400 and status not in BY_A_GATEWAY:
        return None
    doubt.doubt(settlement)
    return _by_policy(settlement, reason, on_ambiguous)


def _by_policy(settlement: Settlement, reason: str, on_ambiguous: str) -> Settlement | None:
    """What becomes of a call in doubt whose repeat would cost; None where the step is to be asked again."""
    work = settlement.work
    connector = registry.get(work.provider)
    settlement.reason = reason
    if connector.repeat_is_free:
        return None
    if on_ambiguous not in ("ask", "repeat"):
        return go_on(settlement, outcome="miss")
    taken = [*map(Taken.from_json, work.taken)]
    if on_ambiguous == "ask":
        message = (
            f"{connector.title} may have been asked and paid, and no answer came. Ask again, which may be paid "
            "twice, or accept the loss."
        )
        best = TEMPLATES[work.run.template].give_up(doubt.known(taken))
        settlement.final = Final("failed", best, {"code": doubt.AMBIGUOUS, "message": message})
        settlement.counts_as = doubt.AMBIGUOUS
        return settlement
    if not doubt.fits(work.run.config, taken, connector.worst_credits(work.operation)):
        settlement.final = over_the_cap(work.run.template, work.run.config, work.provider, taken)
        return settlement
    return None


def in_doubt(work: Work) -> Settlement:
    """A step whose question somebody else asked and got no answer to: it waits for the same decision, at no cost."""
    settlement = Settlement(
        work=work, attempt_id=uuid7(), holder=None, outcome="timeout", status=doubt.AMBIGUOUS, called=False,
        in_doubt=True,
    )  # fmt: skip
    _by_policy(settlement, "The same question was asked for another record, and no answer came.", "ask")
    if settlement.final is None:  # the vendor charges a question once
        return dead(settlement, settlement.reason)
    return settlement


def suppressed(work: Work) -> Settlement:
    """A step about somebody who is not to be looked up: no call, no cost, and the record's end."""
    settlement = Settlement(
        work=work,
        attempt_id=uuid7(),
        holder=None,
        outcome="suppressed",
        status="done",
        reason="On the suppression list: not looked up.",
        called=False,
    )
    return go_on(settlement)


def _too_old(settlement: Settlement, reason: str) -> bool:
    """End a step that has been tried for too long; whether it was."""
    if settlement.work.tried_s < STEP_DEADLINE_S:
        return False
    dead(settlement, f"{reason} (not answered within {STEP_DEADLINE_S / 3600:.0f} hours)")
    return True


def _again(settlement: Settlement, reason: str, after: float | None, *, spare_s: float | None) -> Settlement:
    work = settlement.work
    if _too_old(settlement, reason):
        return settlement
    probing = spare_s is not None and work.run.config.get("on_outage") != "skip"
    # A probe that may have been paid uses up its attempt: else its question would be paid for with every rest.
    free = probing and not (settlement.in_doubt and not registry.get(work.provider).repeat_is_free)
    most = work.run.config.get("max_attempts") or 3
    if work.attempt >= most and not free:
        return dead(settlement, f"{reason} (attempt {work.attempt} of {most})")
    if probing and spare_s is not None:
        delay, why = spare_s + random.uniform(1.0, BACKOFF_BASE_S * 2), "breaker"
    else:
        first = work.run.config.get("backoff_s") or BACKOFF_BASE_S
        ceiling = min(first * 2 ** (work.attempt - 1), BACKOFF_MAX_S)
        delay, why = max(after or 0.0, random.uniform(0, ceiling)), "backoff"  # full jitter
    _back(settlement, reason, after=delay, why=why, attempt=work.attempt + (not free))
    if settlement.in_doubt and not free:
        settlement.reason = f"{reason}; the vendor may have been asked"
    return settlement


def _back(settlement: Settlement, reason: str, *, after: float, why: str, attempt: int) -> None:
    """Back into the queue: at once (`after` 0, the lane itself waits) or not before `after` seconds from now."""
    settlement.status = doubt.AMBIGUOUS if settlement.in_doubt else "failed"
    settlement.reason = reason
    settlement.again_after, settlement.next_attempt = after, attempt
    settlement.again_reason = why if after > 0 else ""
