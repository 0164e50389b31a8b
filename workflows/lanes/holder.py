"""One leased lane in the hands of a runner: what is in flight, when the next call may start, what is told of it.

What waits and whose turn it is: turns.py. No I/O: the runner does it. All times are seconds of one monotonic clock,
passed in.
"""

import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil, inf

from integrations.connectors import registry
from integrations.connectors.base import Connector, Quota
from tenants.secret import Secret
from workflows.lanes.book import dump
from workflows.lanes.breaker import CLOSED, OPEN, Breaker
from workflows.lanes.lease import LEASE_S, SAFE_SHARE, WRITTEN_AT, Foreign, LaneFacts, Report
from workflows.lanes.outcome import CRASHES_ALONE
from workflows.lanes.pace import LONG_WINDOW_S, SLOWEST_PACE, Pacer, WindowLimit
from workflows.lanes.together import Together
from workflows.lanes.turns import CLAIM_MOST, Turns
from workflows.lanes.work import STAMP_MAX_AGE_S, RunInLane, RunSeen, Work

HORIZON_S, HORIZON_MOST_S = 0.25, 1.5
STAMP_AHEAD = 8  # times the calls in flight: what a crash leaves ambiguous stays bounded
IDLE_RELEASE_S = 3.0
REASON_STAYS_S = 2.0
LOOK_AGAIN_S = 1.0
RECOVER_EVERY_S, RECOVER_STEP = 5.0, 0.1
TROUBLE = ("auth_failed", "no_credits")  # pauses that are the vendor's doing, not a person's


class LaneHolder:
    """The state of one leased lane."""

    def __init__(
        self,
        facts: LaneFacts,
        secret: Secret | None,
        base_url: str,
        foreign: Sequence[Foreign],
        *,
        quiet_s: float | None,
        leased_at: float,
        now: float,
    ) -> None:
        """`leased_at`: before the lease was asked for, which is when it began at the earliest; `now`: since it is ours,
        so that what the database says of the past is not taken for older than it is."""
        self.facts, self.secret, self.base_url = facts, secret, base_url
        self.opening = False  # its key is being opened anew
        self.connector: Connector = registry.get(facts.provider)
        self.pacer = Pacer(WindowLimit.from_json(window) for window in facts.windows)
        clock_offset = facts.database_now - now
        # What is written for the next holder must not look older than it is: by the other end of the time that asking
        # took, and by the last look, as clocks drift.
        self.clock_ahead = facts.database_now - leased_at
        self.held_until = leased_at + LEASE_S * SAFE_SHARE
        self.turns = Turns(clock_offset)
        self.stamping: dict[uuid.UUID, Work] = {}
        self.stamped: deque[Work] = deque()
        self.in_flight: dict[uuid.UUID, Work] = {}
        self.riding = 0  # of these, the steps that are asked in another one's call
        self.together = Together(self.connector, now, quiet_s=quiet_s)
        self.horizon_s = HORIZON_S  # how far ahead starts are stamped: past the flush after the next
        self.settling: set[uuid.UUID] = set()
        self.foreign = {entry.id: now + entry.remaining_s for entry in foreign}
        self.foreign_holders = {entry.id: entry.holder for entry in foreign}
        self.cooldown_until = now + facts.cooldown_s
        self.last_429 = 0.0
        self.latency = 0.5  # seconds, moving average
        self.measured = False
        self.idle_since = now
        self.answered_ok = False
        self.spent = 0  # thousandths, since its balance was to be asked for
        self._waited = ("", now)
        self.pausing = False
        self.resumed_at = 0.0
        self.breaker = Breaker()
        self.breaker.restore(failures=facts.failures, trips=facts.trips, rest_s=facts.rest_s, now=now)
        self.probe: uuid.UUID | None = None
        self.pacer.pace = max(SLOWEST_PACE, min(1.0, facts.pace))
        self.pacer.restore(facts.starts, now, clock_offset, quiet_s=quiet_s)

    # --- what it knows -------------------------------------------------------------------------------------------------

    def refresh(
        self,
        facts: LaneFacts,
        runs: Iterable[RunInLane | RunSeen],
        now: float,
        *,
        asked_at: float | None = None,
        whole: bool = True,
    ) -> bool:
        """Take over changed settings and the runs that are active now; whether that may let something start or end.

        `asked_at`: before the database was asked for these. `whole`: they are all that are active."""
        if asked_at is not None:
            self.clock_ahead = facts.database_now - asked_at
        if facts.windows != self.facts.windows:
            self.pacer.relimit(WindowLimit.from_json(window) for window in facts.windows)
        if self.facts.paused and not facts.paused:
            # Whoever lets it go on knows that the vendor is ready.
            self.resumed_at = self.cooldown_until = now
            self.pacer.forget_told()
        stamping = {work.run.id for work in self.stamping.values()}
        changed = self.turns.refresh(runs, now, stamping=stamping, whole=whole) or (
            facts.windows,
            facts.parallelism,
            facts.paused,
        ) != (
            self.facts.windows,
            self.facts.parallelism,
            self.facts.paused,
        )
        self.facts = facts
        return changed

    def take_key(self, secret: Secret | None, base_url: str, key_hash: str, now: float) -> None:
        """Call with this key from now on; that another was refused says nothing of it."""
        self.secret, self.base_url = secret, base_url
        self.facts = replace(self.facts, key_hash=key_hash)
        self.resumed_at = now

    def known(self, runs: Iterable[RunInLane]) -> list[uuid.UUID]:
        """Every queue entry of these runs that this lane must not claim again; of those whose run is not at hand, all."""
        read = {run.id: run for run in runs}
        buffered = (work.id for run in read.values() for work in run.buffer)
        started = (*self.stamping.values(), *self.stamped, *self.in_flight.values())
        return [*buffered, *(w.id for w in started if w.run.id in read), *self.settling, *self.foreign]

    def claim_plan(self, now: float) -> list[tuple[RunInLane, int]]:
        """Which runs to read from, and how many steps of each; empty when enough is at hand."""
        room = self.stamp_room(now, buffered=CLAIM_MOST)
        return self.turns.claim_plan(now, room=room, paused=self.facts.paused, out=self.is_out(now))

    # --- when the vendor is out of service ------------------------------------------------------------------------------

    def is_out(self, now: float) -> bool:
        """Whether records that do not wait for vendors pass this one over: it rests, or its key is the trouble."""
        if self.facts.paused:
            return self.facts.pause_reason in TROUBLE
        state = self.breaker.state(now)
        return state == OPEN or (state != CLOSED and self.probe is not None)

    def take_to_pass_over(self, now: float) -> list[Work]:
        """The claimed steps of runs that do not wait, while the vendor is out of service."""
        return self.turns.take_to_pass_over() if self.is_out(now) else []

    def _may_probe(self) -> bool:
        """Half-open: one call at a time, those of earlier holders included."""
        return self.probe is None and not self.foreign

    # --- what to stamp and send ----------------------------------------------------------------------------------------

    def stamp_room(self, now: float, *, buffered: int | None = None) -> int:
        """How many starts the next flush may stamp: about what can be sent before the flush after it."""
        if self.facts.paused or now < self.cooldown_until - self.horizon_s or now >= self.held_until:
            return 0
        closed = self.breaker.state(now) == CLOSED
        if not closed and (
            now < self.breaker.until - self.horizon_s
            or not self._may_probe()
            or self.stamped
            or self.stamping
        ):
            return 0
        most = self.turns.buffered() if buffered is None else buffered
        if not most:
            return 0
        limit = self.parallelism
        ending = ceil(limit * self.horizon_s / max(self.latency, 0.001) * 1.2)
        each = self.together.most() if self.facts.bulk else 1
        room = min(
            max(STAMP_AHEAD * limit, each), (max(0, limit - self.busy) + ending) * each, self._capacity(now)
        )
        room -= len(self.stamped) + len(self.stamping)
        if not closed:
            room = min(room, 1)
        return max(0, min(room, most))

    def _capacity(self, now: float) -> int:
        if not self.pacer.grouped and not self.facts.bulk:
            return self.pacer.capacity(now, self.horizon_s)
        heads = self.turns.next_operations() or {""}
        room = max(self.pacer.capacity(now, self.horizon_s, operation) for operation in heads)
        if self.facts.bulk:  # what is free may go at once
            room = max(room, *(self.pacer.free(now, operation, self.together.most()) for operation in heads))
        return room

    def suspect_in_hand(self) -> bool:
        """Whether a step is under way that was in hand when workers died twice: it runs alone."""
        return self.turns.met_suspects and any(
            work.crashes >= CRASHES_ALONE
            for work in (*self.in_flight.values(), *self.stamped, *self.stamping.values())
        )

    def take_for_stamping(self, now: float, *, suspect_elsewhere: bool = False) -> list[Work]:
        """The next steps in the order in which runs have their turn.

        One suspect at a time in a whole process, or the next crash would be held against innocent ones of other lanes;
        while another lane has one in hand, runs whose next step is a suspect wait.
        """
        room = 0 if self.suspect_in_hand() else self.stamp_room(now)
        busy = bool(self.in_flight or self.stamped or self.stamping)
        chosen = self.turns.take(room, now, busy=busy, suspect_elsewhere=suspect_elsewhere)
        self.stamping.update((work.id, work) for work in chosen)
        return chosen

    def send_at(self, now: float) -> float | None:
        """When the next stamped step may be sent, `now` for at once; None when something else has to happen first."""
        if not self.stamped or self.facts.paused or now >= self.held_until or self.secret is None:
            return None
        if self.busy >= self.parallelism:
            return None
        if self.breaker.state(now) != CLOSED and not self._may_probe():
            return None
        at = max(
            self.cooldown_until, self.breaker.until, self.pacer.next_start(now, self.stamped[0].operation)
        )
        return None if at == inf else max(at, now)

    def take_to_send(self, now: float) -> list[Work]:
        """The next stamped step, in flight from now on, with those that are asked in the same call."""
        first = self.stamped.popleft()
        works = [first]
        if self.facts.bulk and self.stamped and self.breaker.state(now) == CLOSED:
            slots = self.parallelism - self.busy
            room = self.pacer.free(now, first.operation, len(self.stamped) + 1)
            others = self.together.company(first, self.stamped, now, slots=slots, room=room)
            if others:
                gone = {work.id for work in others}
                self.stamped = deque(work for work in self.stamped if work.id not in gone)
                works += others
        self.in_flight.update((work.id, work) for work in works)
        self.riding += len(works) - 1
        return works

    def call_over(self, works: Sequence[Work]) -> None:
        """The call of these steps has ended; they wait to be settled."""
        for work in works:
            del self.in_flight[work.id]
            self.settling.add(work.id)
        self.riding -= len(works) - 1

    def call_seconds(self, work: Work) -> float:
        """How long the call of this step may take, with others if they may be asked together."""
        bulk = self.together.of(work) if self.facts.bulk else None
        return self.timeout_of(work) if bulk is None else max(self.connector.timeout, bulk.timeout)

    def timeout_of(self, work: Work) -> float:
        """How long the call of this step alone may take: as the vendor needs, or less where its workflow says so."""
        return min(self.connector.timeout, work.run.config.get("timeout_s") or self.connector.timeout)

    @property
    def busy(self) -> int:
        """The calls in flight, those included that earlier holders may have."""
        return len(self.in_flight) - self.riding + len(self.foreign)

    @property
    def parallelism(self) -> int:
        """How many calls may be in flight now: fewer after a vendor's 429, as some limit nothing else."""
        limit = self.facts.parallelism
        return limit if self.pacer.pace >= 1.0 else max(1, int(limit * self.pacer.pace))

    def look_again_at(self, now: float) -> float:
        """When something may be due in this lane though nobody tells it."""
        due = [now + LOOK_AGAIN_S]
        rests_until = max(self.cooldown_until, self.breaker.until)
        if rests_until > now:
            due += [rests_until, rests_until - self.horizon_s]
        if self.stamped:
            due.append(self.stamped[0].send_by)
        elif not self.stamping and self.turns.any_waiting():
            due.append(self.pacer.next_start(now) - self.horizon_s)
        due += self.foreign.values()
        return min((at for at in due if at > now), default=now + LOOK_AGAIN_S)

    def overdue(self, now: float) -> list[Work]:
        """Stamped steps that cannot be sent soon enough: they go back, their stamp would outlive its meaning."""
        if not self.stamped:
            return []
        rests_until = max(self.cooldown_until, self.breaker.until)
        stuck = self.facts.paused or now >= self.held_until or rests_until > now + STAMP_MAX_AGE_S
        back = [work for work in self.stamped if stuck or now > work.send_by]
        gone = [work for work in self.stamped if work.run.id not in self.turns.runs and work not in back]
        for work in (*back, *gone):
            self.stamped.remove(work)
        return [*back, *gone]

    def cool_down(self, now: float, seconds: float) -> None:
        """The vendor said stop: nobody starts until then, and then at half the pace."""
        self.cooldown_until = max(self.cooldown_until, now + seconds)
        if now - self.last_429 > 1.0:  # calls that were in flight together count as one warning
            self.pacer.pace = max(SLOWEST_PACE, self.pacer.pace / 2)
        self.last_429 = now

    def told(self, quotas: Sequence[Quota], number: int, now: float) -> None:
        """What the answer to the lane's start `number` says is left: the pace follows it before a 429 comes."""
        rest = self.pacer.told(quotas, number, now)
        self.cooldown_until = max(self.cooldown_until, now + rest)

    def recover_pace(self, now: float) -> None:
        if self.pacer.pace < 1.0 and now - max(self.last_429, self.cooldown_until) > RECOVER_EVERY_S:
            self.pacer.pace = min(1.0, self.pacer.pace + RECOVER_STEP)
            self.last_429 = now

    def observed(self, latency_s: float) -> None:
        self.latency += (0.2 if self.measured else 1.0) * (latency_s - self.latency)
        self.measured = True

    # --- what to tell --------------------------------------------------------------------------------------------------

    def note_wait(self, now: float) -> None:
        """Remember why work waits; asked at each turn of the lane, so that no reason is missed between two reports."""
        if reason := self._waits_now(now):
            self._waited = (reason, now)

    def wait_reason(self, now: float) -> str:
        """Why work of this lane waits, of late; empty when nothing waits or it goes as fast as it comes."""
        self.note_wait(now)
        reason, at = self._waited
        return reason if now - at < REASON_STAYS_S and (self.has_work() or reason == "paused") else ""

    def _waits_now(self, now: float) -> str:
        if self.facts.paused:
            return "paused"
        if now < self.cooldown_until:
            return "cooldown"
        if self.breaker.state(now) != CLOSED:
            return "breaker" if self.stamped or self.turns.any_waiting() else ""
        if not self.stamped and not self.turns.any_waiting():
            return ""
        if self.busy >= self.parallelism:
            return "parallelism"
        operation = self.stamped[0].operation if self.stamped else ""
        return "rate" if self.pacer.next_start(now, operation) > now else ""

    def starts(self, now: float) -> str | None:
        """The start history of long windows as JSON, with what is stamped counted as started; None without any."""
        if not any(limit.period >= LONG_WINDOW_S for limit in self.pacer.limits):
            return None
        return self._starts(now)

    def _starts(self, now: float, *, last: bool = False) -> str:
        """What is stamped may leave for as long as the lane is held: whoever takes it over sees no more than that."""
        coming = len(self.stamping) + len(self.stamped)
        by = now if last else self.held_until
        told = self.pacer.history(now, self.clock_ahead, coming=coming, by=by, last=last)
        return dump({**told, WRITTEN_AT: now}) or "{}"

    def report(self, now: float, *, last: bool = False) -> Report:
        """What pages and the next holder are told; `last` when nothing will be started here any more."""
        first = min((limit.period for limit in self.pacer.limits), default=1.0)
        return Report(
            lane_id=self.facts.id,
            in_flight=self.busy,
            started_last_period=self.pacer.started_since(now - first),
            wait_reason=self.wait_reason(now),
            cooldown_s=max(0.0, self.cooldown_until - now),
            pace=self.pacer.pace,
            starts=self._starts(now, last=last),
            failures=self.breaker.failures,
            trips=self.breaker.trips,
            rest_s=max(0.0, self.breaker.until - now),
            latency_s=self.latency if self.measured else None,
        )

    def idle_for(self, now: float) -> float:
        """For how many seconds there has been nothing to do."""
        if self.has_work() or self.turns.poked or self.turns.claiming:
            self.idle_since = now
        return now - self.idle_since

    def has_work(self) -> bool:
        return bool(
            self.in_flight
            or self.stamped
            or self.stamping
            or self.settling
            or self.foreign
            or self.turns.any_waiting()
        )
