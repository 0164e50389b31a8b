"""How callbacks to one host fared of late in this process. Endpoints keep it in their rows; a callback's host has none."""

import time
import uuid
from dataclasses import dataclass

from integrations.webhooks import schedule
from integrations.webhooks.post import Attempted

LONGEST_ASKED_REST_S = 3_600.0
FORGOTTEN_AFTER_S = 3_600.0
MOST = 10_000


@dataclass(slots=True)
class _Trouble:
    failures: int = 0
    last: float = 0.0
    rests_until: float = 0.0


class Lanes:
    """Lanes of callbacks that fail: each is tried one delivery at a time, and after some failures in a row given rests."""

    def __init__(self) -> None:
        self._troubles: dict[uuid.UUID, _Trouble] = {}

    def note(self, attempted: Attempted) -> None:
        """What an attempt says about its lane, where that is one of callbacks and was tried."""
        if not attempted.job.callback or attempted.untried:
            return
        if attempted.ok:
            self._troubles.pop(attempted.job.lane, None)
            return
        now = time.monotonic()
        # The newest stand last: the oldest are forgotten first.
        trouble = self._troubles.pop(attempted.job.lane, None) or _Trouble()
        self._troubles[attempted.job.lane] = trouble
        trouble.failures, trouble.last = trouble.failures + 1, now
        trouble.rests_until = now + rest_of(trouble.failures, attempted)
        self._forget(now)

    @property
    def failing(self) -> list[uuid.UUID]:
        """Those whose last attempt failed."""
        return list(self._troubles)

    @property
    def resting(self) -> list[uuid.UUID]:
        """Those that are left alone now."""
        now = time.monotonic()
        return [lane for lane, trouble in self._troubles.items() if trouble.rests_until > now]

    def _forget(self, now: float) -> None:
        for lane, trouble in list(self._troubles.items()):
            if now - trouble.last < FORGOTTEN_AFTER_S and len(self._troubles) <= MOST:
                return
            del self._troubles[lane]


def rest_of(failures: int, attempted: Attempted) -> float:
    """Seconds of rest after so many failures in a row, the last of them this one."""
    return max(schedule.rest(failures), min(attempted.retry_after or 0.0, LONGEST_ASKED_REST_S))
