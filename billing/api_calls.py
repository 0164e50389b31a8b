"""How many API requests a tenant made in a month: counted in Redis (by billing.rates), shown, and never billed."""

import hashlib
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

KEPT_S = 400 * 24 * 3600
_PATIENCE_S = 0.5
# After a failure nobody asks for this long: a Redis that is away must not slow every request down.
_REST_S = 5.0
_log = structlog.stdlib.get_logger("weir.api_calls")


@dataclass
class _Rest:
    """Until when (monotonic) Redis is left alone."""

    until: float = 0.0
    times: int = 0


class _Thread(threading.local):
    """The connection that a thread asks over; with it the pool that it is of, and how often Redis had been away by then:
    what one thread finds dead is dead for all."""

    kept: tuple[tuple[Any, int], Any] | None = None


_rest_after_failure = _Rest()
_thread = _Thread()


def calls_in(tenant_id: uuid.UUID, period: date, *, livemode: bool) -> int | None:
    """The requests counted in the month of `period`; None when nobody can tell right now."""
    if resting():
        return None
    try:
        return int(_client().get(month_key(tenant_id, period, livemode=livemode)) or 0)
    except redis.RedisError as error:
        rest(error)
        return None


def month_key(tenant_id: uuid.UUID, day: date, *, livemode: bool) -> str:
    """Where the requests of the day's month are counted."""
    return f"weir:api_calls:{tenant_id}:{day:%Y-%m}:{'live' if livemode else 'test'}"


def ask(script: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
    """What a Lua script answers, in one round trip. Raises RedisError.

    Over a connection that this thread keeps: every request to the API asks once, and fetching one from the client's pool
    takes as long as asking.
    """
    pool = _client().connection_pool
    kept, _thread.kept = _thread.kept, None  # not kept where this ends half-way: an answer might still come
    made_in = pool, _rest_after_failure.times
    if kept is not None and kept[0] != made_in:
        kept = None
    connection = kept[1] if kept else pool.connection_class(**pool.connection_kwargs)
    words = (len(keys), *keys, *arguments)
    try:
        answer = _said(connection, script, words)
    except redis.TimeoutError:
        raise
    except redis.ConnectionError:
        if kept is None:
            raise
        # So looks a kept connection to a Redis that has been started anew.
        answer = _said(connection, script, words)
    _thread.kept = made_in, connection
    return answer


def _said(connection: Any, script: str, words: Sequence[str | int]) -> Any:
    try:
        connection.send_command("EVALSHA", _digest(script), *words)
        return connection.read_response()
    except redis.exceptions.NoScriptError:
        connection.send_command("EVAL", script, *words)
        return connection.read_response()


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


@cache
def _client() -> "redis.Redis":
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_PATIENCE_S,
        socket_connect_timeout=_PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
    )


def resting() -> bool:
    """Whether Redis was found away a moment ago, and is not asked."""
    return time.monotonic() < _rest_after_failure.until


def rest(error: Exception) -> None:
    """Leave Redis alone for a while, and say so: until then requests are served uncounted."""
    _rest_after_failure.until = time.monotonic() + _REST_S
    _rest_after_failure.times += 1
    _log.warning("requests_not_counted", error=type(error).__name__, seconds=_REST_S)
