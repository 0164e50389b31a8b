"""The cache that counts sign-ins: Redis, with this process's own memory to fall back on."""

import time
from collections.abc import Callable
from typing import Any

import structlog
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

REST_SECONDS = 5
"""How long Redis is left alone after a failure, so that not every request waits for its timeout."""
MOST_ENTRIES = 100_000
_log = structlog.stdlib.get_logger("weir.cache")


class SteadyRedisCache(RedisCache):
    """Redis while it answers; while it does not, what this process knows.

    Limits on guesses are counted here, so losing Redis must neither open them nor stop everybody from signing in.
    Every write goes to the process's memory as well: what it has counted stays counted when Redis goes away. Without
    Redis each process counts for itself, so that the limits are as many times wider as there are web processes.
    Values that another process wrote are not seen meanwhile; nothing may rely on that here.
    """

    _rest_until = 0.0
    """On the monotonic clock; shared, as each thread has an instance of its own."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._own = LocMemCache("steady", {**params, "OPTIONS": {"MAX_ENTRIES": MOST_ENTRIES}})

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        done = self._ask(lambda: super(SteadyRedisCache, self).add(key, value, timeout, version))
        if done is None:
            return self._own.add(key, value, timeout, version)
        if done:
            self._own.set(key, value, timeout, version)
        else:
            self._own.add(key, value, timeout, version)
        return bool(done)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        found = self._ask(lambda: (super(SteadyRedisCache, self).get(key, default, version),))
        return self._own.get(key, default, version) if found is None else found[0]

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._own.set(key, value, timeout, version)
        self._ask(lambda: super(SteadyRedisCache, self).set(key, value, timeout, version))

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        own = self._own.touch(key, timeout, version)
        done = self._ask(lambda: super(SteadyRedisCache, self).touch(key, timeout, version))
        return own if done is None else bool(done)

    def delete(self, key: str, version: int | None = None) -> bool:
        own = self._own.delete(key, version)
        done = self._ask(lambda: super(SteadyRedisCache, self).delete(key, version))
        return own if done is None else bool(done)

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """As Django's: ValueError for a key that is not there. What was added while Redis was away, or lost by Redis
        since, is counted on here."""
        try:
            done = self._ask(lambda: super(SteadyRedisCache, self).incr(key, delta, version))
        except ValueError:
            return int(self._own.incr(key, delta, version))
        self._own.add(key, 0, version=version)
        own = self._own.incr(key, delta, version)
        return int(own if done is None else done)

    def clear(self) -> None:
        self._own.clear()
        self._ask(super().clear)

    def _ask(self, command: Callable[[], Any]) -> Any:
        """What Redis answers; None while it does not."""
        if time.monotonic() < self._rest_until:
            return None
        try:
            return command()
        except (RedisError, OSError) as error:
            SteadyRedisCache._rest_until = time.monotonic() + REST_SECONDS
            _log.warning("cache_without_redis", error=type(error).__name__)
            return None
