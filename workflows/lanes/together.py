"""Several steps asked in one call, where the vendor has an endpoint for it and the lane's owner wants it used.

It is used where it helps: when more steps are due than calls may be in flight. Each step counts in the lane's windows as
if it were asked alone, and has its own settlement. Pure; times are seconds of one monotonic clock.
"""

from collections.abc import Iterable
from math import ceil

from integrations.connectors.base import Bulk, Connector
from workflows.lanes import doubt
from workflows.lanes.pace import Pacer, WindowLimit
from workflows.lanes.work import Work


class Together:
    """The bulk endpoints of one lane's vendor, with the limits that are theirs alone."""

    def __init__(self, connector: Connector, now: float, *, quiet_s: float | None) -> None:
        """`quiet_s`: for how long certainly no call was started. Nobody writes bulk calls down for the next holder, so
        that what went before counts as full."""
        self._bulk = connector.bulk
        self._pacers: dict[str, Pacer] = {}
        self._rests_until: dict[str, float] = {}
        for operation, bulk in connector.bulk.items():
            pacer = Pacer(WindowLimit(window.rate, window.period) for window in bulk.windows)
            pacer.restore({}, now, 0.0, quiet_s=quiet_s)
            self._pacers[operation] = pacer

    def of(self, work: Work) -> Bulk | None:
        """The endpoint that this step may be asked at. One that was asked before is asked alone: it may be what broke
        the call that it was in."""
        bulk = self._bulk.get(work.operation)
        if bulk is None or work.attempt > 1 or work.crashes or work.job is not None or doubt.booked(work):
            return None
        return bulk

    def most(self) -> int:
        """The most steps that one call may have."""
        return max((bulk.most for bulk in self._bulk.values()), default=1)

    def company(
        self, first: Work, stamped: Iterable[Work], now: float, *, slots: int, room: int
    ) -> list[Work]:
        """Who is asked in the call of `first`, of those that are stamped: nobody where all that is due finds a slot.

        `slots`: calls that may still be started; `room`: steps that may be, by the lane's windows.
        """
        bulk = self.of(first)
        if bulk is None or not self._open(first.operation, now) or not _covered(first, bulk):
            return []
        asked, due = {first.fingerprint}, 1
        fitting: list[Work] = []
        for work in stamped:
            if due >= room:
                break
            due += 1
            if work.operation != first.operation or self.of(work) is None or not _covered(work, bulk):
                continue
            if work.fingerprint not in asked:
                asked.add(work.fingerprint)
                fitting.append(work)
        size = min(ceil(due / max(1, slots)), bulk.most)
        return fitting[: size - 1]

    def started(self, now: float, operation: str) -> None:
        """A call for several starts; `sent` must follow."""
        self._pacers[operation].started(now)

    def sent(self, at: float, operation: str) -> None:
        self._pacers[operation].sent(at)

    def rest(self, operation: str, until: float) -> bool:
        """The vendor refused a call for several as one too many; whether that concerns no other calls."""
        if not self._bulk[operation].windows:
            return False
        self._rests_until[operation] = max(until, self._rests_until.get(operation, until))
        return True

    def _open(self, operation: str, now: float) -> bool:
        return now >= self._rests_until.get(operation, now) and self._pacers[operation].next_start(now) <= now


def _covered(work: Work, bulk: Bulk) -> bool:
    """Whether its stamp lasts for as long as such a call may."""
    return work.span >= bulk.timeout
