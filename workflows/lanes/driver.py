"""Drives one leased lane: claims, sends what is stamped as the limits allow, takes over what others left behind."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

import structlog
from django.db import Error as DatabaseError

from workflows.lanes import claim
from workflows.lanes.caller import Caller
from workflows.lanes.claim import Wanted
from workflows.lanes.claims import Claims
from workflows.lanes.desk import Desk
from workflows.lanes.doubt import AMBIGUOUS
from workflows.lanes.holder import IDLE_RELEASE_S, LaneHolder
from workflows.lanes.outcome import cached, in_doubt, lost, passed_over, posted, suppressed
from workflows.lanes.shield import TOLD_WITHHELD
from workflows.lanes.work import Settlement, Work

log = structlog.get_logger(__name__)

RETRY_DATABASE_S = 0.5


class LaneDriver:
    """The loop of one lane. `let_go` is called once when the lane has been idle; `look_again` after a pause was set."""

    def __init__(
        self,
        lane: LaneHolder,
        desk: Desk,
        claims: Claims,
        *,
        let_go: Callable[[LaneHolder], Coroutine[Any, Any, None]],
        look_again: Callable[[list[uuid.UUID]], Coroutine[Any, Any, None]],
    ) -> None:
        self.lane, self.desk = lane, desk
        self._claims = claims
        self._let_go = let_go
        self.caller = Caller(lane, desk, wake=self.wake, look_again=look_again)
        self._due: asyncio.Handle | None = None
        self._due_at = inf  # 0: in this turn of the loop
        self._stopped = False
        self.broken: Exception | None = None

    def start(self) -> None:
        self.wake()

    def stop(self) -> None:
        """Send nothing more; calls in flight go on. What was stamped but not sent goes back."""
        self._end()
        self._put_back(list(self.lane.stamped))
        self.lane.stamped.clear()

    def _put_back(self, works: list[Work]) -> None:
        """Until that is written, the lane is not at rest: its next holder would take these for calls in flight."""
        self.lane.settling.update(work.id for work in works)
        self.desk.unstamp(works)

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
        self._put_back(lane.overdue(now))
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
        known = lane.known(run for run, _ in plan)
        try:
            found = await self._claims.read(
                Wanted(lane.facts.tenant_id, lane.facts.id, lane.facts.provider, plan, known)
            )
        except DatabaseError as error:
            log.warning("claim_failed", lane_id=str(lane.facts.id), error=type(error).__name__)
            await asyncio.sleep(RETRY_DATABASE_S)
            found = []
        finally:
            lane.turns.claiming = False
        for run, works, ended in found:
            for work in works:
                if work.needs_no_call:
                    lane.settling.add(work.id)
                    self.desk.settle(_without_a_call(work))
            # A poke during the claim means that it may have missed something: then this was not the end.
            missed = lane.turns.poked and not lane.turns.many
            lane.turns.claimed(run, works, now, ended=ended and not missed)
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
            self.caller.send(now)
            now = time.monotonic()
        self.caller.wake_when_sent = at is None and bool(self.lane.stamped)
        return at


def _without_a_call(work: Work) -> Settlement:
    if work.cached_outcome == AMBIGUOUS:
        return in_doubt(work)
    if work.cached_outcome == TOLD_WITHHELD:
        return suppressed(work)
    return cached(work) if work.cached_outcome else posted(work)
