"""Two runs about the same people, as a state machine: hypothesis does to them whatever people, vendors, crashes and the
clock can do, in any order, through the engine's own functions against the real database. Vendors are simulated, and
nobody sleeps.
"""

import time
import uuid
from collections import Counter
from typing import Any, ClassVar

from django.db import connections
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from integrations.connectors import registry
from integrations.http import CallResult
from integrations.models import Suppression
from integrations.outcomes import Done, Fail, Miss, Outcome, Retry
from integrations.suppressions import add_suppressions, remove_suppressions, suppressed_of
from tenants.errors import WeirError
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope
from tests.factories import ACTOR
from tests.workflows.lanes.helpers import people, start
from workflows.lanes import claim, lease, settle, sweep
from workflows.lanes.doubt import worst_of
from workflows.lanes.driver import _without_a_call
from workflows.lanes.outcome import judge, lost, suppressed
from workflows.lanes.work import Batch, Flushed, Settlement, Work
from workflows.models import Lane, Record, Run, StepQueue
from workflows.operations.change_run import RunChanges, change_run
from workflows.operations.control_run import cancel_run, pause_run, resume_run
from workflows.operations.retry import retry_run

PROVIDERS = ("prospeo", "findymail", "zerobounce")
ANSWERS = ("hit", "bad", "miss", "error", "unsure", "slow", "limited", "refused", "invalid", "broken")
MANY = 100
CALL = 1_000  # the most that a call costs
LIMIT = st.integers(0, 9) | st.none()
FOUND_AT = "found.example"

TRUTH = """
    SELECT r.pending, r.finished_at IS NOT NULL, r.status, r.credits_spent, r.credits_reserved, r.credit_limit,
           (SELECT count(*) FROM record c WHERE c.run_id = r.id AND c.finished_at IS NULL),
           (SELECT coalesce(sum(credits), 0) FROM step s WHERE s.run_id = r.id),
           (SELECT coalesce(sum(credits), 0) FROM step s WHERE s.run_id = r.id AND s.status = 'late'),
           (SELECT coalesce(sum(credits), 0) FROM billing_usageevent u WHERE u.run_id = r.id AND u.kind = 'attempt'),
           (SELECT coalesce(sum(credits), 0) FROM billing_usageevent u WHERE u.run_id = r.id AND u.key LIKE 'attempt:%%'),
           (SELECT coalesce(sum(reserved), 0) FROM step_queue q WHERE q.run_id = r.id),
           (SELECT count(*) FROM record c WHERE c.run_id = r.id AND c.finished_at IS NULL
                AND (SELECT count(*) FROM step_queue q WHERE q.record_id = c.id) <> 1),
           (SELECT count(*) FROM step_queue q JOIN record c ON c.id = q.record_id
                WHERE q.run_id = r.id AND c.finished_at IS NOT NULL),
           (SELECT count(*) FROM (SELECT queue_id, attempt FROM step s WHERE s.run_id = r.id
                AND s.status NOT IN ('late', 'cancelled', 'failed') GROUP BY 1, 2 HAVING count(*) > 1) twice),
           (SELECT coalesce(sum(quantity), 0) FROM billing_usageevent u WHERE u.run_id = r.id AND u.kind = 'record'),
           (SELECT count(*) FROM record c WHERE c.run_id = r.id AND (
                (c.status <> 'cancelled' AND coalesce(c.error->>'code', '') <> 'suppressed') OR EXISTS (
                SELECT 1 FROM step s WHERE s.record_id = c.id AND s.status <> 'cancelled'
                AND s.outcome NOT IN ('rate_limited', 'auth_failed', 'no_credits', 'suppressed')))),
           (SELECT jsonb_object_agg(status, n) FROM (
                SELECT status, count(*) n FROM record c WHERE c.run_id = r.id GROUP BY 1) per),
           jsonb_build_object('queued', queued, 'running', running, 'found', found, 'not_found', not_found,
                'failed', failed, 'cancelled', cancelled, 'skipped', skipped)
    FROM run r WHERE r.id = %s
"""


class RunModel(RuleBasedStateMachine):
    """A run of a few records, two of which may be the same person, and another one about the first of them."""

    tenant: ClassVar[Tenant]
    lanes: ClassVar[dict[str, Lane]]
    examples: ClassVar[int] = 0

    @initialize(
        size=st.integers(1, 4), twins=st.booleans(), limit=LIMIT, others=st.integers(0, 2), their_limit=LIMIT
    )
    def accept(
        self, size: int, twins: bool, limit: int | None, others: int = 0, their_limit: int | None = None
    ) -> None:
        RunModel.examples += 1
        self.tag = f"Model{RunModel.examples}x{uuid.uuid4().hex[:8]}"
        self.people = [{**person, "last_name": self.tag} for person in people(size)]
        with tenant_scope(self.tenant):
            Suppression.objects.all().delete()
        records = [*self.people, *([dict(self.people[0])] if twins else [])]
        self.runs = [start(self.tenant, records, credit_limit=_thousands(limit))]
        if others:
            theirs = self.people[:others]
            self.runs.append(start(self.tenant, theirs, credit_limit=_thousands(their_limit)))
        self.holders: dict[str, uuid.UUID] = {}
        self.foreign: dict[str, dict[uuid.UUID, uuid.UUID]] = {}
        self.in_hand: list[tuple[Work, uuid.UUID]] = []  # stamped by a holder that lives
        self.ghosts: list[tuple[Work, uuid.UUID]] = []  # stamped by one that is gone, or froze
        self.late_credits: Counter[uuid.UUID] = Counter()
        self.delivered: set[uuid.UUID] = set()
        for provider in PROVIDERS:
            self._lease(provider)
        self.take("prospeo", 3)  # or short stories would seldom come to an answer

    # --- the engine ----------------------------------------------------------------------------------------------------

    def _lease(self, provider: str) -> None:
        """As after a kill: the lease and all deadlines of the holder before are over."""
        lane = self.lanes[provider]
        with ops_scope("test"), connections[OPS_ALIAS].cursor() as cursor:
            cursor.execute(
                "UPDATE lane_state SET lease_until = now() - interval '1 h' WHERE lane_id = %s", [lane.pk]
            )
            cursor.execute(
                "UPDATE step_queue SET deadline_at = now() - interval '1 h' WHERE lane_id = %s AND sent_at IS NOT NULL",
                [lane.pk],
            )
        holder = uuid.uuid4()
        taken = lease.acquire(lane.pk, holder)
        assert taken is not None
        self.holders[provider] = holder
        self.foreign[provider] = {entry.id: entry.holder for entry in taken[1]}

    @rule(provider=st.sampled_from(("prospeo", *PROVIDERS)), count=st.integers(1, 3), torn=st.booleans())
    def take(self, provider: str, count: int, torn: bool = False) -> None:
        """Claim and stamp: what is answered already is settled, the rest is in flight. `torn`: the commit went through and
        the word of it did not, so it is written again."""
        lane, holder = self.lanes[provider], self.holders[provider]
        _, runs = lease.look([lane.pk])
        works = [
            work
            for _, found, _ in claim.claim(
                self.tenant.pk, lane.pk, lane.provider, [(run, count) for run in runs[lane.pk]], []
            )
            for work in found
        ]
        done = [_without_a_call(work) for work in works if work.cached_outcome]
        asked = [work for work in works if not work.cached_outcome]
        connector = registry.get(provider)
        batch = Batch(settlements=done, stamps=[(work, 30.0, worst_of(work, connector)) for work in asked])
        flushed = self._write(batch, holder, torn=torn)
        self.in_hand += [(work, holder) for work in asked if work.id in flushed.stamped]
        held_back = [suppressed(work) for work in asked if work.id in flushed.suppressed]
        settle.flush(Batch(settlements=held_back), holder)

    @rule(provider=st.sampled_from(PROVIDERS))
    def recover(self, provider: str) -> None:
        """Settle what holders before left behind."""
        left, self.foreign[provider] = self.foreign[provider], {}
        works = claim.stamped_by_others(self.tenant.pk, self.lanes[provider].pk, list(left))
        settlements = [lost(work, left[work.id], on_ambiguous="ask") for work in works]
        settle.flush(Batch(settlements=settlements), self.holders[provider])

    @precondition(lambda self: self.in_hand)
    @rule(which=st.integers(0, MANY), answer=st.sampled_from(ANSWERS), torn=st.booleans())
    def answer(self, which: int, answer: str, torn: bool) -> None:
        """A call comes back."""
        work, holder = self.in_hand.pop(which % len(self.in_hand))
        self._write(Batch(settlements=[self._judged(work, holder, answer)]), holder, torn=torn)

    @rule()
    def go_on(self) -> None:
        """The engine's ordinary day: what waits is asked and found."""
        for provider in PROVIDERS:
            self.take(provider, 3)
            while self.in_hand:
                self.answer(0, "hit", False)

    @precondition(lambda self: self.in_hand)
    @rule(which=st.integers(0, MANY), torn=st.booleans())
    def put_back(self, which: int, torn: bool = False) -> None:
        work, holder = self.in_hand.pop(which % len(self.in_hand))
        self._write(Batch(unstamps=[work]), holder, torn=torn)

    @rule(provider=st.sampled_from(PROVIDERS))
    def crash(self, provider: str) -> None:
        holder = self.holders[provider]
        self.ghosts += [pair for pair in self.in_hand if pair[1] == holder]
        self.in_hand = [pair for pair in self.in_hand if pair[1] != holder]
        self._lease(provider)

    @precondition(lambda self: self.ghosts)
    @rule(which=st.integers(0, MANY), answer=st.sampled_from(ANSWERS))
    def wake_up(self, which: int, answer: str) -> None:
        """A holder that was frozen brings an answer after all."""
        work, holder = self.ghosts.pop(which % len(self.ghosts))
        settlement = self._judged(work, holder, answer)
        if settle.flush(Batch(settlements=[settlement]), holder).late:
            self.late_credits[work.run.id] += settlement.credits

    @rule()
    def time_passes(self) -> None:
        with ops_scope("test"), connections[OPS_ALIAS].cursor() as cursor:
            cursor.execute(
                "UPDATE step_queue SET not_before = now() - interval '1 s' WHERE not_before < now() + interval '9 days'"
            )
        sweep.sweep()

    def _write(self, batch: Batch, holder: uuid.UUID, *, torn: bool) -> Flushed:
        flushed = settle.flush(batch, holder)
        if not torn:
            return flushed
        batch.retried = True
        again = settle.flush(batch, holder)
        assert again.stamped >= flushed.stamped, "what is stamped is sent, or nobody would come for it"
        return again

    def _judged(self, work: Work, holder: uuid.UUID, answer: str) -> Settlement:
        result = CallResult(outcome_of(work, answer), 200, 5)
        return judge(work, holder, result, time.time(), time.time()).settlement

    # --- people --------------------------------------------------------------------------------------------------------

    @rule(
        what=st.sampled_from(("pause", "resume", "resume", "retry", "retry", "limit", "no limit")),
        which=st.integers(0, 1),
    )
    def person(self, what: str, which: int = 0) -> None:
        run = self.runs[which % len(self.runs)]
        try:
            with tenant_scope(self.tenant):
                if what == "pause":
                    pause_run(run_id=run.pk, actor=ACTOR)
                elif what == "resume":
                    resume_run(run_id=run.pk, actor=ACTOR)
            if what == "retry":
                retry_run(tenant_id=self.tenant.pk, run_id=run.pk, actor=ACTOR)
            elif "limit" in what:
                now = self._truth(run)
                raised = None if what == "no limit" else (now[3] + now[4]) + 2_000
                changes: RunChanges = {"credit_limit": raised}
                change_run(tenant_id=self.tenant.pk, run_id=run.pk, actor=ACTOR, changes=changes)
        except WeirError:
            assert self._truth(run)[1] or self._truth(run)[2] in ("cancelled", "failed")

    @rule(sure=st.integers(0, 9), which=st.integers(0, 1))
    def cancel(self, sure: int, which: int = 0) -> None:
        run = self.runs[which % len(self.runs)]
        if sure == 0:  # seldom, or no run would come far
            try:
                with tenant_scope(self.tenant):
                    cancel_run(run_id=run.pk, actor=ACTOR)
            except WeirError:
                assert self._truth(run)[1] or self._truth(run)[2] == "cancelled"

    @rule(whom=st.integers(0, 3), what=st.sampled_from(("person", "domain", "address", "off", "off", "off")))
    def suppress(self, whom: int, what: str) -> None:
        """Somebody comes onto the list, or all are taken off it."""
        asked = [work.record_input for work, _ in self.in_hand]  # in the last moment, if there is one
        person = (asked or self.people)[whom % len(asked or self.people)]
        lines = {
            "person": f"{person['first_name']} {person['last_name']}, {person['domain']}",
            "domain": person["domain"],
            "address": FOUND_AT,  # the domain of every address that is found
        }
        with tenant_scope(self.tenant):
            if what != "off":
                add_suppressions(lines=[lines[what]], actor=ACTOR)
            elif values := list(Suppression.objects.values_list("value", flat=True)):
                remove_suppressions(values=values, actor=ACTOR)

    # --- what always holds ---------------------------------------------------------------------------------------------

    def _truth(self, run: Run) -> tuple[Any, ...]:
        with tenant_scope(self.tenant), connections[APP_ALIAS].cursor() as cursor:
            cursor.execute(TRUTH, [run.pk])
            row: tuple[Any, ...] = cursor.fetchone()
        return row

    @invariant()
    def holds(self) -> None:
        for run in getattr(self, "runs", []):
            self._holds(run)
        if hasattr(self, "runs"):
            self._nobody_on_the_list_was_delivered()

    def _holds(self, run: Run) -> None:
        (
            pending, finished, status, spent, reserved, limit, under_way, in_history, late, in_ledger, of_answers, held,
            astray, superfluous, twice, billed, asked, per_status, counts,
        ) = self._truth(run)  # fmt: skip
        assert pending == under_way, "the run counts what is under way"
        assert astray == 0, (
            "each record that is under way is in the queue once: nothing is lost, nothing asked twice"
        )
        assert superfluous == 0, "and a record that has ended is not"
        assert twice == 0, "an attempt ends once; what a vendor put off goes on as the same attempt"
        assert finished == (pending == 0), "a run ends with its last record"
        assert spent == in_ledger, "each credit that the ledger has is on the run, calls in doubt included"
        assert in_history == of_answers, "and what answers told is in the history"
        assert reserved == held, "what is reserved is what is in flight"
        assert limit is None or spent + reserved <= limit + late, (
            "never above the limit but for answers given up on"
        )
        assert late <= self.late_credits[run.pk]
        assert billed == asked, (
            "a record is billed once, and given back only where no vendor took a question about it"
        )
        told = _parsed(counts)
        assert {name: count for name, count in told.items() if count} == _parsed(per_status), status

    def _nobody_on_the_list_was_delivered(self) -> None:
        """Of what was found since the last look."""
        with tenant_scope(self.tenant), connections[APP_ALIAS].cursor() as cursor:
            found = Record.objects.filter(run_id__in=[run.pk for run in self.runs], status="found")
            new = list(found.exclude(pk__in=self.delivered))
            told = [{**record.input, "email": (record.output or {}).get("email")} for record in new]
            assert not any(suppressed_of(cursor, self.tenant.pk, told, subdomains=False))
        self.delivered |= {record.pk for record in new}

    def teardown(self) -> None:
        """Left alone, with vendors that answer, every record comes to its end, but where its run is paused or waits at a
        limit that has no room; whoever resumes the one and raises the other lets it end."""
        if not hasattr(self, "runs"):
            return
        self._play_to_the_end(but=("paused",))
        for which in range(len(self.runs)):
            self.person("resume", which)
        self._play_to_the_end()
        for which in range(len(self.runs)):
            self.person("no limit", which)
        self._play_to_the_end(room=True)
        self.holds()
        while self.ghosts:
            self.wake_up(0, "hit")
        self.holds()

    def _play_to_the_end(self, *, but: tuple[str, ...] = (), room: bool = False) -> None:
        """Until every run has ended, but those in these states and, unless there must be `room`, those without any."""
        before, idle = None, 0
        while left := [truth for truth in map(self._truth, self.runs) if not truth[1]]:
            self.time_passes()
            for provider in PROVIDERS:
                self.recover(provider)
                self.take(provider, 9)
            while self.in_hand:
                self.answer(0, "miss", False)
            with tenant_scope(self.tenant):
                now = list(StepQueue.objects.order_by("id").values_list("id", "attempt", "reason"))
            before, idle = now, idle + 1 if now == before else 0
            if idle > 1:
                break
        for truth in left:
            status, spent, reserved, limit = truth[2:6]
            without = limit is not None and limit - spent - reserved < CALL
            assert status in but or (without and not room), (
                f"not ended, and nothing stands in its way: {truth}"
            )


def outcome_of(work: Work, answer: str) -> Outcome:
    verify = work.operation == "verify"
    email = work.query.get("email") or f"{work.record_id.hex}@{FOUND_AT}"
    match answer:
        case "hit" | "bad":
            status = "valid" if answer == "hit" else "invalid"
            return Done(
                {"email": email, "email_status": status, **({"sub_status": ""} if verify else {})}, 1_000
            )
        case "miss":
            return Done({"email": email, "email_status": "unknown"}) if verify else Miss()
        case "error" | "unsure":
            return Retry("error", "vendor fault", uncertain=answer == "unsure")
        case "slow":
            return Retry("timeout", "no answer in time", uncertain=True)
        case "limited":
            return Retry("rate_limited", "slow down", after=3.0)
        case "refused":
            return Fail("auth_failed", "the key was refused")
        case "invalid":
            return Fail("invalid", "the vendor refused the input")
        case _:
            return Fail("error", "nobody knows")


def _parsed(value: Any) -> Any:
    return claim.load(value) or {}


def _thousands(limit: int | None) -> int | None:
    return None if limit is None else limit * 1_000
