"""Makes a leased lane's calls, and does what their answers mean for the lane."""

import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from django.db import Error as DatabaseError

from integrations.http import CallResult
from integrations.transport import NotSent
from tenants.failpoints import reach
from tenants.secret import Secret
from workflows.lanes import lease
from workflows.lanes.breaker import CLOSED
from workflows.lanes.desk import Desk
from workflows.lanes.holder import LaneHolder
from workflows.lanes.jobs import exchange_of
from workflows.lanes.outcome import Verdict, judge, vendor_well
from workflows.lanes.work import Work
from workflows.operations.note_lane import note_breaker, pause_for_trouble, tell_admins

log = structlog.get_logger(__name__)

KEY_TROUBLE_S = 5.0


class LeaseLapsed(NotSent):
    """The lane may be somebody else's by now: the call is not sent."""


class Caller:
    """The calls of one lane. `wake` has the lane looked at; `look_again` after a pause was set."""

    def __init__(
        self,
        lane: LaneHolder,
        desk: Desk,
        *,
        wake: Callable[[], None],
        look_again: Callable[[list[uuid.UUID]], Coroutine[Any, Any, None]],
    ) -> None:
        self.lane, self.desk = lane, desk
        self._wake, self._look_again = wake, look_again
        self.wake_when_sent = False

    def send(self, now: float) -> None:
        """Start the call of the next stamped step."""
        lane = self.lane
        works = lane.take_to_send(now)
        if lane.breaker.state(now) != CLOSED:
            lane.probe = works[0].id
        number = lane.pacer.started(now, works[0].operation, len(works))
        if len(works) > 1:
            lane.together.started(now, works[0].operation)
        assert lane.secret is not None
        task = self.desk.loop.create_task(self._call(works, now, number, lane.secret))
        self.desk.calls.add(task)
        task.add_done_callback(self.desk.calls.discard)

    async def _call(self, works: Sequence[Work], planned: float, number: int, secret: Secret) -> None:
        lane, first = self.lane, works[0]
        started = time.time()
        unsent, lapsed = True, False

        def leaves(at: float) -> None:
            """It counts from now on."""
            nonlocal unsent
            unsent = False
            lane.pacer.sent(at, first.operation, len(works))
            if len(works) > 1:
                lane.together.sent(at, first.operation)

        def sent(at: float) -> None:
            """The bytes are about to go. A worker that was frozen in between sends nothing under a lapsed lease."""
            nonlocal lapsed
            if unsent:
                leaves(at)
                if self.wake_when_sent:
                    self._wake()
            if at >= lane.held_until:
                lapsed = True
                raise LeaseLapsed("the lane may be another worker's by now")
            reach("call.sending")

        reach("call.starting")
        try:
            results = await self._ask(works, secret, sent)
        finally:
            if unsent:
                leaves(time.monotonic())
        if lapsed:
            self._put_back(works)
            return
        reach("call.answered")
        now = time.monotonic()
        lane.observed(now - planned)
        if results[0].quotas:
            lane.told(results[0].quotas, number, now)
        was_probe = lane.probe == first.id
        self._weigh(first, _well(results), planned, now)
        spare_s = max(0.0, lane.breaker.until - now) if was_probe else None
        lane.call_over(works)
        for work, result in zip(works, results, strict=True):
            verdict = judge(
                work,
                self.desk.holder,
                result,
                started,
                time.time(),
                spare_s=spare_s,
                on_ambiguous=lane.facts.on_ambiguous,
            )
            self._act_on(verdict, planned, now, shared=len(works) > 1)
            lane.spent += verdict.settlement.credits
            self.desk.settle(verdict.settlement)
        self._wake()

    def _put_back(self, works: Sequence[Work]) -> None:
        """Not sent after all: as if the call had never been about to start."""
        lane = self.lane
        if lane.probe == works[0].id:
            lane.probe = None
        lane.call_over(works)
        self.desk.unstamp(list(works))
        self._wake()

    async def _ask(
        self, works: Sequence[Work], secret: Secret, sent: Callable[[float], None]
    ) -> Sequence[CallResult]:
        """The vendor's answer to each."""
        lane, first = self.lane, works[0]
        if len(works) > 1:
            return await self.desk.client.call_bulk(
                lane.connector,
                first.operation,
                [work.query for work in works],
                secret=secret,
                base_url=lane.base_url,
                on_sent=sent,
            )
        result = await self.desk.client.call(
            lane.connector,
            first.operation,
            first.query,
            secret=secret,
            base_url=lane.base_url,
            timeout=lane.timeout_of(first),
            on_sent=sent,
            exchange=exchange_of(first, lane.connector),
        )
        return (result,)

    def _weigh(self, work: Work, well: bool | None, sent: float, now: float) -> None:
        """Let the breaker know how a call went; a change is written at once, so that the next holder knows it."""
        lane = self.lane
        if lane.probe == work.id:
            lane.probe = None
        resting = lane.breaker.trips > 0
        if well is False and lane.breaker.failed(sent, now):
            lane.turns.poke(every_run=True)  # those that do not wait for vendors are read to their end
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

    def _act_on(self, verdict: Verdict, sent: float, now: float, *, shared: bool) -> None:
        if verdict.cooldown_s:
            operation = verdict.settlement.work.operation
            if not (shared and self.lane.together.rest(operation, now + verdict.cooldown_s)):
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
            fresh = await self.desk.database(
                pause_for_trouble, facts.id, facts.tenant_id, outcome, reason, facts.key_hash
            )
        except DatabaseError:
            self.lane.pausing = False
            return  # the next refused key says it again
        await self._look_again([facts.id])
        self.lane.pausing = False
        if fresh:
            await self.desk.aside(tell_admins, facts.id, facts.tenant_id)


def _well(results: Sequence[CallResult]) -> bool | None:
    """Whether a call shows the vendor at work: it is, where it answered one of several."""
    told = [vendor_well(result) for result in results]
    return True if True in told else False if False in told else None
