"""When does a lane rest because its vendor fails? Pure: times are seconds of one monotonic clock, the dice are passed in.

Closed: calls go as the limits allow. After FAILURES failures in a row it is open: nothing starts until the rest is
over. Then half-open: one probe at a time; an answer closes it, a failure opens it for a longer rest. Only what was sent
since the last change counts: answers of calls from before say nothing about the vendor now.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

FAILURES = 8
REST_S, REST_MAX_S = 10.0, 300.0

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclass(slots=True)
class Breaker:
    """`failures` in a row while closed, `trips` since it was last closed, `until` the end of the rest."""

    failures: int = 0
    trips: int = 0
    until: float = 0.0
    changed_at: float = 0.0
    dice: Callable[[float, float], float] = random.uniform

    def state(self, now: float) -> str:
        if not self.trips:
            return CLOSED
        return OPEN if now < self.until else HALF_OPEN

    def failed(self, sent: float, now: float) -> bool:
        """A call sent then came to nothing through the vendor's fault; True where a rest begins by it."""
        if sent < self.changed_at or self.state(now) == OPEN:
            return False
        self.failures += 1
        if not self.trips and self.failures < FAILURES:
            return False
        ceiling = min(REST_MAX_S, REST_S * 2.0**self.trips)
        self.until = now + REST_S + self.dice(0.0, ceiling - REST_S)
        self.trips = min(self.trips + 1, 30)
        self.changed_at = self.until
        return True

    def answered(self, sent: float, now: float) -> bool:
        """A call sent then was answered, whatever the answer; True where this closes the breaker."""
        if sent < self.changed_at or self.state(now) == OPEN:
            return False
        closes = self.trips > 0
        self.failures = self.trips = 0
        if closes:
            self.until, self.changed_at = 0.0, now
        return closes

    def restore(self, *, failures: int, trips: int, rest_s: float, now: float) -> None:
        """As an earlier holder left it, `rest_s` seconds before the end of its rest."""
        self.failures, self.trips = failures, trips
        if trips:
            self.until = self.changed_at = now + max(0.0, rest_s)
