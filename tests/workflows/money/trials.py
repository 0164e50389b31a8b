"""A world in which calls cost what chance says, workers die, and limits change, with up to 64 calls in flight.

Each trial is a round of flushes of three lanes at once, from three threads, as three workers would make them. The
vendors' own books are kept beside ours, with what calls cost that nobody ever heard of.
"""

import random
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections

from integrations.connectors import registry
from integrations.http import CallResult
from integrations.outcomes import Done, Fail, Miss, Retry
from tenants.models import Tenant
from tenants.operations.tenant_settings import change_tenant
from tenants.scope import APP_ALIAS, ops_scope, tenant_scope
from tests.factories import ACTOR
from workflows.lanes import claim, lease, settle, sweep
from workflows.lanes.decide import decide
from workflows.lanes.doubt import AMBIGUOUS, worst_of
from workflows.lanes.outcome import cached, in_doubt, judge, lost
from workflows.lanes.work import Batch, RunInLane, Settlement, Work
from workflows.models import Lane, LaneRun, LaneState, Run, StepQueue
from workflows.operations.accept_run import accept_run, find_workflow
from workflows.operations.ambiguous import decide_calls
from workflows.operations.change_run import change_run

IN_FLIGHT = 64
WORST = {"prospeo": 1_700, "findymail": 1_000, "zerobounce": 800}
POLICIES = ("repeat", "ask", "accept")
RECORD_CAP = 4  # credits
# What a record's calls cost or may have cost. A late answer of a vendor that charges a question once, and was asked
# again, tells nothing: the repeat's does.
_COSTS = """
    SELECT s.record_id, s.credits FROM step s WHERE s.status <> 'late' OR NOT EXISTS (
        SELECT 1 FROM ambiguous_call a WHERE a.queue_id = s.queue_id AND a.attempt = s.attempt
        AND a.repeat_is_free AND a.status = 'repeated')
    UNION ALL SELECT record_id, may_cost FROM ambiguous_call WHERE released_at IS NULL
"""

__all__ = ["IN_FLIGHT", "WORST", "World", "decide"]


@dataclass
class Call:
    """A call on its way: the vendor charges as it arrives; whether its answer comes back is chance."""

    work: Work
    result: CallResult | None  # None: it never got there, or its answer never came back
    sent: bool = True


@dataclass
class LaneHands:
    """One lane in the hands of a worker that may die."""

    lane: Lane
    holder: uuid.UUID = field(default_factory=uuid.uuid4)
    calls: list[Call] = field(default_factory=list)
    ghosts: list[tuple[uuid.UUID, Call]] = field(
        default_factory=list
    )  # of dead workers: answered late or never


class World:
    def __init__(self, tenant: Tenant, seed: int) -> None:
        self.tenant, self.chance = tenant, random.Random(seed)
        self.charged: dict[str, int] = {}  # Prospeo's, by question
        self.truth = 0  # what the vendors charged in all, in thousandths
        self.seen: Counter[str] = Counter()
        self.people = 0
        self.limit: int | None = None
        self.allowed_month: int | None = None
        self.allowed_runs: dict[uuid.UUID, int] = {}
        with tenant_scope(tenant):
            self.lanes = [LaneHands(lane) for lane in Lane.objects.order_by("provider")]
        for hands in self.lanes:
            self._lease(hands)
        self.pool = ThreadPoolExecutor(len(self.lanes))

    # --- a trial -------------------------------------------------------------------------------------------------------

    def trial(self) -> None:
        """One round: work comes, limits move, workers die, and every lane flushes what it has."""
        dice = self.chance
        with tenant_scope(self.tenant):
            waiting = StepQueue.objects.count()
        if waiting < 2 * IN_FLIGHT:
            self._new_run()
        if dice.random() < 0.15:
            self._move_the_month()
        if dice.random() < 0.15:
            self._move_a_run()
        if self.seen["trials"] % 20 == 15:
            self._die(max(self.lanes, key=lambda hands: len(hands.calls)))
        if dice.random() < 0.05:
            decided = decide_calls(
                tenant_id=self.tenant.pk, decision=dice.choice(("repeat", "accept")), actor=ACTOR
            )
            self.seen["decided"] += decided.calls
        if dice.random() < 0.2:
            self._hurry()
            sweep.sweep()
        room = IN_FLIGHT - sum(len(hands.calls) for hands in self.lanes)
        plans = [self._plan(hands, max(0, room // 2)) for hands in self.lanes]
        for hands, (batch, flushed) in zip(
            self.lanes, self.pool.map(self._flush, self.lanes, plans), strict=True
        ):
            for work, _, _ in batch.stamps:
                if work.id in flushed.stamped:
                    hands.calls.append(self._send(work))
            self.seen["parked"] += len(flushed.parked)
            self.seen["late"] += flushed.late
        self.seen["trials"] += 1

    def _plan(self, hands: LaneHands, room: int) -> Batch:
        dice, batch = self.chance, Batch()
        done = [call for call in hands.calls if dice.random() < 0.5]
        hands.calls = [call for call in hands.calls if call not in done]
        for call in done:
            if not call.sent and dice.random() < 0.5:
                batch.unstamps.append(call.work)  # it was never sent, and its holder knows
            else:
                batch.settlements.append(self._judged(hands.holder, call))
        for holder, call in [ghost for ghost in hands.ghosts if dice.random() < 0.3]:
            hands.ghosts.remove((holder, call))
            if call.result is not None:
                batch.settlements.append(self._judged(holder, call))
        for work in self._claim(hands, dice.randint(0, room)):
            if work.cached_outcome:
                batch.settlements.append(in_doubt(work) if work.cached_outcome == AMBIGUOUS else cached(work))
            else:
                batch.stamps.append((work, 60.0, worst_of(work, registry.get(work.provider))))
        return batch

    def _flush(self, hands: LaneHands, batch: Batch) -> tuple[Batch, Any]:
        while True:  # as the runner does
            try:
                flushed = settle.flush(batch, hands.holder)
                break
            except DatabaseError:
                self.seen["written again"] += 1
                batch.retried = True
        if self.seen["trials"] % 50 == 7:
            settle.flush(Batch(batch.settlements, [], batch.unstamps, retried=True), hands.holder)
        return batch, flushed

    def _judged(self, holder: uuid.UUID, call: Call) -> Settlement:
        result = call.result or CallResult(Retry("timeout", "no answer in time", uncertain=True), None, 9)
        policy = self.chance.choice(POLICIES)
        return judge(call.work, holder, result, 1.0, 2.0, on_ambiguous=policy).settlement

    def _send(self, work: Work) -> Call:
        """What the vendor makes of a call; it charges for the answer, whether that comes back or not."""
        dice, worst = self.chance, WORST[work.provider]
        self.seen["sent"] += 1
        if dice.random() < 0.03:
            return Call(work, None, sent=False)
        kind = dice.random()
        address = {"email": f"{work.fingerprint[:8]}@firm.example"}
        outcome: Any
        if kind < 0.06:
            outcome = Retry("error", "vendor fault with status 500", uncertain=True)
            return Call(work, CallResult(outcome, 500, 5))
        if kind < 0.1:
            return Call(work, CallResult(Retry("rate_limited", "slow down"), 429, 5))
        if kind < 0.12:
            return Call(work, CallResult(Fail("invalid", "no"), 400, 5))
        if work.provider == "prospeo":
            if int(work.fingerprint[:2], 16) < 100:
                outcome = Miss()
            elif work.fingerprint in self.charged:
                outcome = Done({**address, "email_status": "valid"}, 0, free=True)
            else:
                cost = self.charged[work.fingerprint] = dice.randint(1, worst)
                outcome = Done({**address, "email_status": "valid"}, cost)
                self.truth += cost
        else:
            cost = dice.choice((0, worst, dice.randint(0, worst)))
            status = dice.choice(("valid", "invalid", "catch_all"))
            email = work.query.get("email") or address["email"]
            outcome = Miss(cost) if kind < 0.4 else Done({"email": email, "email_status": status}, cost)
            self.truth += cost
        return Call(work, None if dice.random() < 0.05 else CallResult(outcome, 200, 5))

    # --- what happens ----------------------------------------------------------------------------------------------------

    def _new_run(self) -> None:
        dice = self.chance
        count = dice.randint(20, 80)
        first = dice.choice(
            (self.people, max(0, self.people - count // 2))
        )  # some of them were asked about before
        self.people = first + count
        limit = dice.choice((None, dice.randint(0, 60_000)))
        with tenant_scope(self.tenant):
            workflow = find_workflow("email-waterfall")
            workflow.config = {
                **workflow.config, "max_credits_per_record": dice.choice((None, RECORD_CAP)),
                "reuse_days": dice.choice((0, 30)), "on_outage": dice.choice(("wait", "skip")),
            }  # fmt: skip
            workflow.save()
            run = accept_run(
                workflow=workflow, actor=ACTOR, source="api", livemode=True, credit_limit=limit,
                records=[
                    {"first_name": f"P{n}", "last_name": "Trial", "domain": f"firm{n}.example"}
                    for n in range(first, first + count)
                ],
            )  # fmt: skip
        if limit is not None:
            self.allowed_runs[run.pk] = limit

    def _move_the_month(self) -> None:
        dice, used = self.chance, sum(self.used())
        self.limit = dice.choice((None, used + dice.randint(0, 80_000), used, dice.randint(0, used + 1)))
        with tenant_scope(self.tenant):
            change_tenant(actor=ACTOR, changes={"monthly_credit_limit": self.limit})
        self.allowed_month = None if self.limit is None else max(self.limit, sum(self.used()))

    def _move_a_run(self) -> None:
        dice = self.chance
        with tenant_scope(self.tenant):
            runs = list(Run.objects.filter(finished_at=None).order_by("id"))
        if not runs:
            return
        run = dice.choice(runs)
        used = run.credits_spent + run.credits_reserved
        limit = dice.choice((None, used + dice.randint(0, 40_000), dice.randint(0, used + 1)))
        change_run(tenant_id=self.tenant.pk, run_id=run.pk, actor=ACTOR, changes={"credit_limit": limit})
        if limit is None:
            self.allowed_runs.pop(run.pk, None)
        else:
            self.allowed_runs[run.pk] = max(limit, used)

    def _die(self, hands: LaneHands) -> None:
        """The worker is gone; another takes over what it had stamped, and may hear of its answers too late."""
        self.seen["crashes"] += 1
        with ops_scope("trials"):
            LaneState.objects.filter(lane_id=hands.lane.pk).update(lease_until="2020-01-01T00:00Z")
        dead, hands.holder = hands.holder, uuid.uuid4()
        hands.ghosts += [(dead, call) for call in hands.calls]
        hands.calls = []
        foreign = self._lease(hands)
        works = claim.stamped_by_others(self.tenant.pk, hands.lane.pk, [entry.id for entry in foreign])
        policy = self.chance.choice(POLICIES)
        settlements = [lost(work, dead, on_ambiguous=policy) for work in works]
        if settlements:
            settle.flush(Batch(settlements=settlements), hands.holder)
        self.seen["in doubt"] += len(settlements)

    def _hurry(self) -> None:
        """Whatever waits for its next attempt only, may go on."""
        with tenant_scope(self.tenant):
            StepQueue.objects.filter(reason__in=("backoff", "cooldown", "breaker", "paused")).update(
                not_before=None, reason=""
            )

    def _lease(self, hands: LaneHands) -> list[lease.Foreign]:
        taken = lease.acquire(hands.lane.pk, hands.holder)
        assert taken is not None
        with ops_scope("trials"):
            LaneState.objects.filter(lane_id=hands.lane.pk).update(lease_until="2090-01-01T00:00Z")
        return taken[1]

    def _claim(self, hands: LaneHands, count: int) -> list[Work]:
        if not count:
            return []
        _, runs = lease.look([hands.lane.pk])
        wanted: list[tuple[RunInLane, int]] = [(run, count) for run in runs[hands.lane.pk]]
        self.chance.shuffle(wanted)
        known = [call.work.id for call in hands.calls]
        found = claim.claim(self.tenant.pk, hands.lane.pk, hands.lane.provider, wanted[:4], known)
        return [work for _, works, _ in found for work in works][:count]

    # --- what must be true -----------------------------------------------------------------------------------------------

    def used(self) -> tuple[int, int]:
        """(spent, reserved) of all runs."""
        [row] = self._ask(
            "SELECT coalesce(sum(credits_spent), 0), coalesce(sum(credits_reserved), 0) FROM run"
        )
        return int(row[0]), int(row[1])

    def check(self) -> None:
        """After every trial: no limit is passed, and the books never say less than the vendors charged."""
        spent, reserved = self.used()
        assert spent + reserved >= self.truth, "the vendors charged more than the books know of"
        if self.limit is not None:
            [(month, held)] = self._ask("SELECT spent, reserved FROM credit_month")
            assert (month, held) == (spent, reserved), (month, held, spent, reserved, dict(self.seen))
            assert self.allowed_month is not None
            assert month + held <= self.allowed_month, f"month: {month} + {held} of {self.allowed_month}"
            self.allowed_month = max(self.limit, month + held)
        rows = self._ask(
            "SELECT id, credits_spent + credits_reserved, credit_limit FROM run WHERE credit_limit IS NOT NULL"
        )
        for run_id, used, limit in rows:
            assert used <= self.allowed_runs[run_id], f"run: {used} of {self.allowed_runs[run_id]}"
            self.allowed_runs[run_id] = max(limit, used)

    def check_books(self) -> None:
        """Now and then: runs, ledger, records and queue say the same, and no record is past its cap."""
        differing = self._ask(
            """SELECT r.id FROM run r LEFT JOIN
               (SELECT run_id, sum(credits) AS credits FROM billing_usageevent GROUP BY 1) e
               ON e.run_id = r.id
               LEFT JOIN (SELECT run_id, sum(reserved) AS reserved FROM step_queue WHERE sent_at IS NOT NULL GROUP BY 1) q
               ON q.run_id = r.id
               WHERE r.credits_spent <> coalesce(e.credits, 0) OR r.credits_reserved <> coalesce(q.reserved, 0)"""
        )
        assert differing == [], differing[:5]
        over = self._ask(
            f"""SELECT c.record_id, sum(c.credits) FROM ({_COSTS}) c
                JOIN record r ON r.id = c.record_id JOIN run ON run.id = r.run_id
                WHERE run.config->>'max_credits_per_record' IS NOT NULL
                GROUP BY 1 HAVING sum(c.credits) > %s""",
            [RECORD_CAP * 1000],
        )
        assert over == [], over[:5]
        wrong = self._ask(
            f"""SELECT r.id, r.credits, coalesce(sum(c.credits), 0) FROM record r
                LEFT JOIN ({_COSTS}) c ON c.record_id = r.id
                WHERE r.finished_at IS NOT NULL GROUP BY 1, 2 HAVING r.credits <> coalesce(sum(c.credits), 0)"""
        )
        assert wrong == [], wrong[:5]

    def drain(self, rounds: int = 500) -> None:
        """Every limit is lifted, and everything parked goes on to its end."""
        with tenant_scope(self.tenant):
            change_tenant(actor=ACTOR, changes={"monthly_credit_limit": None})
            runs = list(Run.objects.filter(finished_at=None).values_list("pk", flat=True))
        self.limit = None
        for run_id in runs:
            change_run(tenant_id=self.tenant.pk, run_id=run_id, actor=ACTOR, changes={"credit_limit": None})
            self.allowed_runs.pop(run_id, None)
        self._new_run = lambda: None  # type: ignore[method-assign]
        self._move_the_month = self._move_a_run = lambda: None  # type: ignore[method-assign]
        for _ in range(rounds):
            if not self._left():
                return
            self.trial()
            self._hurry()
            sweep.sweep()
        left = self._ask(
            """SELECT q.id, q.name, q.attempt, q.reason, q.not_before, q.sent_at, lr.state, r.status
               FROM step_queue q LEFT JOIN lane_run lr ON lr.lane_id = q.lane_id AND lr.run_id = q.run_id
               LEFT JOIN run r ON r.id = q.run_id LIMIT 5"""
        )
        raise AssertionError(f"still parked or under way: {left}")

    def _left(self) -> int:
        with tenant_scope(self.tenant):
            return int(StepQueue.objects.count() + LaneRun.objects.filter(state="budget").count())

    def close(self) -> None:
        everyone = threading.Barrier(len(self.lanes))  # so that each thread gets one of the calls

        def done(_: LaneHands) -> None:
            everyone.wait(10)
            connections.close_all()

        list(self.pool.map(done, self.lanes))
        self.pool.shutdown()

    def _ask(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with tenant_scope(self.tenant), connections[APP_ALIAS].cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()
