"""Drives one leased lane: claims, sends what is stamped as the limits allow, takes over what others left behind."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

import structlog
from django.db import Error as DatabaseError

from tenants.failpoints import reach
from workflows.lanes import claim, lease
from workflows.lanes.breaker import CLOSED
from workflows.lanes.desk import Desk
from workflows.lanes.doubt import AMBIGUOUS
from workflows.lanes.holder import IDLE_RELEASE_S, LaneHolder
from workflows.lanes.jobs import exchange_of
from workflows.lanes.outcome import Verdict, cached, in_doubt, judge, lost, passed_over, posted, vendor_well
from workflows.lanes.work import Settlement, Work
from workflows.operations.note_lane import note_breaker, pause_for_trouble, tell_admins

log = structlog.get_logger(__name__)

RETRY_DATABASE_S = 0.5
KEY_TROUBLE_S = 5.0


class LeaseLapsed(Exception):
    """The lane may be somebody else's by now: the call is not sent."""


class LaneDriver:
    """The loop of one lane. `let_go` is called once when the lane has been idle; `look_again` after a pause was set."""

    def __init__(
        self,
        lane: LaneHolder,
        desk: Desk,
        *,
        let_go: Callable[[LaneHolder], Coroutine[Any, Any, None]],
        look_again: Callable[[list[uuid.UUID]], Coroutine[Any, Any, None]],
    ) -> None:
        self.lane, self.desk = lane, desk
        self._let_go, self._look_again = let_go, look_again
        self._due: asyncio.Handle | None = None
        self._due_at = inf  # 0: in this turn of the loop
        self._stopped = False
        self._waits_for_sends = False
        self.broken: Exception | None = None

    def start(self) -> None:
        self.wake()

    def stop(self) -> None:
        """Send nothing more; calls in flight go on. What was stamped but not sent goes back."""
        self._end()
        self.desk.unstamp(list(self.lane.stamped))
        self.lane.stamped.clear()

    def _end(self) -> None:
        self._stopped = True
        if self._due is not None:
            self._due.cancel()

    def wake(self) -> None:
        """Look at the lane in this turn of the loop: something has changed."""
        if self._due_at > 0.0 and not self._stopped:
            if self._due is not None:
                self._due.cancel()
            self._due_at, self._due = 0.0, self.desk.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Do what is due; a lane that has nothing to do costs a timer and no thread or task."""
        try:
            self._do_what_is_due()
        except Exception as error:  # a bug: the runner sees it and ends its process
            self.broken = error
            raise

    def _do_what_is_due(self) -> None:
        lane, now = self.lane, time.monotonic()
        self.desk.unstamp(lane.overdue(now))
        self._recover_lost(now)
        self._pass_over(now)
        lane.recover_pace(now)
        if lane.claim_plan(now):
            self.desk.spawn(self._claim())
        if lane.stamp_room(now):
            self.desk.dirty.set()
        at = self._send_what_may(now)
        lane.note_wait(now)
        if (idle := lane.idle_for(now)) > IDLE_RELEASE_S:
            self._end()
            self.desk.spawn(self._let_go(lane))
            return
        due = min(at or inf, lane.look_again_at(now), now + IDLE_RELEASE_S - idle + 0.01)
        # The loop's timers count whole milliseconds: one too few would have it turn until the time has come.
        self._due_at, self._due = due, self.desk.loop.call_later(max(0.001, due - now + 0.0005), self._turn)

    # --- claiming ------------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        lane = self.lane
        now = time.monotonic()
        plan = lane.claim_plan(now)
        if not plan:
            return
        lane.turns.reading(plan, now)
        try:
            found = await self.desk.database(
                claim.claim, lane.facts.tenant_id, lane.facts.id, plan, lane.known()
            )
        except DatabaseError as error:
            log.warning("claim_failed", lane_id=str(lane.facts.id), error=type(error).__name__)
            await asyncio.sleep(RETRY_DATABASE_S)
            return
        finally:
            lane.turns.claiming = False
        for run, works, ended in found:
            for work in works:
                if work.needs_no_call:
                    lane.settling.add(work.id)
                    self.desk.settle(_without_a_call(work))
            # A poke during the claim means that it may have missed something: then this was not the end.
            lane.turns.claimed(run, works, now, ended=ended and not lane.turns.poked)
        self.wake()

    def _recover_lost(self, now: float) -> None:
        """Steps that another holder stamped and never settled, once their deadline is over."""
        lane = self.lane
        due = {
            entry: lane.foreign_holders[entry] for entry, deadline in lane.foreign.items() if deadline <= now
        }
        if due:
            for entry in due:
                del lane.foreign[entry]
            lane.settling.update(due)
            self.desk.spawn(self._settle_lost(due))

    async def _settle_lost(self, holders: dict[uuid.UUID, uuid.UUID]) -> None:
        lane = self.lane
        try:
            works = await self.desk.database(
                claim.stamped_by_others, lane.facts.tenant_id, lane.facts.id, list(holders)
            )
        except DatabaseError:
            await asyncio.sleep(RETRY_DATABASE_S)
            lane.settling.difference_update(holders)
            lane.foreign.update(dict.fromkeys(holders, 0.0))
            return
        lane.settling.difference_update(holders.keys() - {work.id for work in works})
        for work in works:
            self.desk.settle(lost(work, holders[work.id], on_ambiguous=lane.facts.on_ambiguous))

    def _pass_over(self, now: float) -> None:
        """Let records that do not wait for vendors go on while this one is out of service."""
        for work in self.lane.take_to_pass_over(now):
            self.lane.settling.add(work.id)
            self.desk.settle(passed_over(work))

    # --- calls ---------------------------------------------------------------------------------------------------------

    def _send_what_may(self, now: float) -> float | None:
        """Send every stamped step whose time has come; when the next one may go, None if something else comes first."""
        while (at := self.lane.send_at(now)) is not None and at <= now:
            self._send(now)
            now = time.monotonic()
        self._waits_for_sends = at is None and bool(self.lane.stamped)
        return at

    def _send(self, now: float) -> None:
        lane = self.lane
        work = lane.stamped.popleft()
        lane.in_flight[work.id] = work
        if lane.breaker.state(now) != CLOSED:
            lane.probe = work.id
        number = lane.pacer.started(now, work.operation)
        task = self.desk.loop.create_task(self._call(work, now, number))
        self.desk.calls.add(task)
        task.add_done_callback(self.desk.calls.discard)

    async def _call(self, work: Work, planned: float, number: int) -> None:
        lane = self.lane
        started = time.time()
        assert lane.secret is not None
        unsent = True

        def sent(at: float) -> None:
            """The bytes are about to go. A worker that was frozen in between sends nothing under a lapsed lease."""
            nonlocal unsent
            if unsent:
                unsent = False
                lane.pacer.sent(at, work.operation)
                if self._waits_for_sends:
                    self.wake()
            if at >= lane.held_until:
                raise LeaseLapsed
            reach("call.sending")

        reach("call.starting")
        try:
            result = await self.desk.client.call(
                lane.connector,
                work.operation,
                work.query,
                secret=lane.secret,
                base_url=lane.base_url,
                on_sent=sent,
                exchange=exchange_of(work, lane.connector),
            )
        finally:
            if unsent:
                lane.pacer.sent(time.monotonic(), work.operation)
        reach("call.answered")
        now = time.monotonic()
        lane.observed(now - planned)
        if result.quotas:
            lane.told(result.quotas, number, now)
        was_probe = lane.probe == work.id
        self._weigh(work, vendor_well(result), planned, now)
        spare_s = max(0.0, lane.breaker.until - now) if was_probe else None
        verdict = judge(
            work,
            self.desk.holder,
            result,
            started,
            time.time(),
            spare_s=spare_s,
            on_ambiguous=lane.facts.on_ambiguous,
        )
        del lane.in_flight[work.id]
        lane.settling.add(work.id)
        self._act_on(verdict, planned, now)
        lane.spent += verdict.settlement.credits
        self.desk.settle(verdict.settlement)
        self.wake()

    def _weigh(self, work: Work, well: bool | None, sent: float, now: float) -> None:
        """Let the breaker know how a call went; a change is written at once, so that the next holder knows it."""
        lane = self.lane
        if lane.probe == work.id:
            lane.probe = None
        resting = lane.breaker.trips > 0
        if well is False and lane.breaker.failed(sent, now):
            lane.turns.poke()
            log.warning("lane_rests", lane_id=str(lane.facts.id), rests_s=round(lane.breaker.until - now, 1))
            self.desk.spawn(self._tell_breaker(None if resting else "lane.rests", lane.breaker.until - now))
        elif well and lane.breaker.answered(sent, now):
            log.info("lane_recovered", lane_id=str(lane.facts.id))
            self.desk.spawn(self._tell_breaker("lane.recovered", 0.0))

    async def _tell_breaker(self, event: str | None, rests_s: float) -> None:
        facts, report = self.lane.facts, self.lane.report(time.monotonic())
        try:
            await self.desk.lease_database(lease.renew, self.desk.holder, [report])
            if event is not None:
                await self.desk.database(note_breaker, facts.tenant_id, facts.id, event, round(rests_s, 1))
        except DatabaseError as error:
            log.warning("breaker_not_told", lane_id=str(facts.id), error=type(error).__name__)

    def _act_on(self, verdict: Verdict, sent: float, now: float) -> None:
        if verdict.cooldown_s:
            self.lane.cool_down(now, verdict.cooldown_s)
        elif verdict.pause:
            # Calls in flight together fail together: one pause for all, and none for those of before a resume.
            if self.lane.pausing or sent < self.lane.resumed_at:
                return
            self.lane.pausing = True
            self.lane.cooldown_until = (
                now + KEY_TROUBLE_S
            )  # nothing more is sent while the pause is being written
            self.desk.spawn(self._pause(verdict.pause, verdict.settlement.reason))
        elif verdict.settlement.outcome in ("hit", "miss"):
            self.lane.answered_ok = True

    async def _pause(self, outcome: str, reason: str) -> None:
        facts = self.lane.facts
        try:
            fresh = await self.desk.database(pause_for_trouble, facts.id, facts.tenant_id, outcome, reason)
        except DatabaseError:
            self.lane.pausing = False
            return  # the next refused key says it again
        await self._look_again([facts.id])
        self.lane.pausing = False
        if fresh:
            await self.desk.aside(tell_admins, facts.id, facts.tenant_id)


def _without_a_call(work: Work) -> Settlement:
    if work.cached_outcome == AMBIGUOUS:
        return in_doubt(work)
    return cached(work) if work.cached_outcome else posted(work)
