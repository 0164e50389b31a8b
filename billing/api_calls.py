"""How many API requests a tenant made in a month: counted in Redis, shown, and never billed."""

import time
import uuid
from dataclasses import dataclass
from datetime import date
from functools import cache

import redis
import structlog
from django.conf import settings
from django.utils import timezone
from redis.backoff import NoBackoff
from redis.retry import Retry

_KEPT_S = 400 * 24 * 3600
_PATIENCE_S = 0.5
# After a failure nobody asks for this long: a Redis that is away must not slow every request down.
_REST_S = 5.0
_log = structlog.stdlib.get_logger("weir.api_calls")


@dataclass
class _Rest:
    """Until when (monotonic) Redis is left alone."""

    until: float = 0.0


_rest_after_failure = _Rest()


def count_call(tenant_id: uuid.UUID, *, livemode: bool) -> None:
    """Count one request in this month. A Redis that is away loses the count and nothing else."""
    if _resting():
        return
    key = _key(tenant_id, timezone.now().date(), livemode)
    try:
        with _client().pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, _KEPT_S)
            pipe.execute()
    except redis.RedisError as error:
        _rest(error)


def calls_in(tenant_id: uuid.UUID, period: date, *, livemode: bool) -> int | None:
    """The requests counted in the month of `period`; None when nobody can tell right now."""
    if _resting():
        return None
    try:
        return int(_client().get(_key(tenant_id, period, livemode)) or 0)
    except redis.RedisError as error:
        _rest(error)
        return None


def _key(tenant_id: uuid.UUID, day: date, livemode: bool) -> str:
    return f"weir:api_calls:{tenant_id}:{day:%Y-%m}:{'live' if livemode else 'test'}"


@cache
def _client() -> "redis.Redis":
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_PATIENCE_S,
        socket_connect_timeout=_PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
    )


def _resting() -> bool:
    return time.monotonic() < _rest_after_failure.until


def _rest(error: Exception) -> None:
    _rest_after_failure.until = time.monotonic() + _REST_S
    _log.warning("api_calls_not_counted", error=type(error).__name__)
