"""When a delivery that failed is tried again, and when an endpoint that fails is left alone. Pure."""

import random
from datetime import timedelta
from typing import Final

TRIES: Final = 10
DELAYS_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""From the end of an attempt to the next: 75 hours and a half in all (the example of the Standard Webhooks text)."""
JITTER: Final = 0.2
MOST_AFTER_S: Final = 86_400.0
"""However long a receiver asks us to wait."""

RESTS_AFTER: Final = 5
"""Failures in a row after which an endpoint is given rests: its deliveries wait and use up no attempts."""
LONGEST_REST_S: Final = 300.0

WARN_AFTER: Final = timedelta(days=1)
DISABLE_AFTER: Final = timedelta(days=5)
LEAST_FAILURES: Final = 10
"""Fewer than these say little about an endpoint that is seldom called."""


def next_delay(tries: int, retry_after: float | None = None, *, chance: float | None = None) -> float | None:
    """Seconds to the next attempt after `tries` that failed; None when that was the last one.

    `retry_after` is what the receiver asked for, in seconds; `chance` is a number from 0 to 1 in place of a random one.
    """
    if tries >= TRIES:
        return None
    share = random.random() if chance is None else chance
    delay = DELAYS_S[tries - 1] * (1 - JITTER + 2 * JITTER * share)
    return max(delay, min(retry_after or 0.0, MOST_AFTER_S))


def rest(failures: int) -> float:
    """Seconds for which an endpoint with so many failures in a row is left alone."""
    beyond = failures - RESTS_AFTER
    return 0.0 if beyond < 0 else min(LONGEST_REST_S, 5.0 * 2.0 ** min(beyond, 10))
