"""While Stripe does not answer, nobody waits for it: a call without an answer holds a thread for up to half a minute, and a
worker has four for everything there is to do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from django.utils import timezone

IN_A_ROW = 2
PAUSE = timedelta(seconds=20)
_log = structlog.stdlib.get_logger("weir.stripe")


class Silence:
    """What one process has heard. After IN_A_ROW calls without an answer it is silent for PAUSE; then one call may try,
    and everybody else goes on as if it were silent until that one was answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unanswered = 0
        self._until: datetime | None = None

    def __bool__(self) -> bool:
        now = timezone.now()
        with self._lock:
            return self._lasts(now)

    def may_call(self) -> bool:
        """Whether a call is to be made; true for one of many where the pause has just ended."""
        now = timezone.now()
        with self._lock:
            if self._lasts(now):
                return False
            if self._until is not None:
                self._until = now + PAUSE
            return True

    @contextmanager
    def broken_by_all_but(self, no_answer: type[Exception]) -> Iterator[None]:
        """Around a call: whatever comes of it is an answer, but for this one error."""
        try:
            yield
        except no_answer:
            self._unanswered_once_more()
            raise
        except BaseException:
            self.answered()
            raise
        self.answered()

    def _unanswered_once_more(self) -> None:
        now = timezone.now()
        with self._lock:
            self._unanswered += 1
            begins = self._unanswered == IN_A_ROW
            if self._unanswered >= IN_A_ROW:
                self._until = now + PAUSE
        if begins:
            _log.warning("stripe_silent")

    def answered(self) -> None:
        with self._lock:
            self._unanswered, self._until = 0, None

    def _lasts(self, now: datetime) -> bool:
        # A clock that was put back ends it, too.
        return self._until is not None and self._until - PAUSE <= now < self._until
