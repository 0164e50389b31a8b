"""The cache that counts: what happens to a count while Redis goes away and comes back."""

import time

import pytest
import redis
from django.core.cache import cache

from config.cache import SteadyRedisCache


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    cache.clear()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is left alone, as after a failure; `back` ends it."""
    monkeypatch.setattr(SteadyRedisCache, "_rest_until", time.monotonic() + 60)


def back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SteadyRedisCache, "_rest_until", 0.0)


def test_a_key_that_was_added_while_redis_was_away_is_counted_on_when_it_is_back(
    away: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.add("posts:1", 0, 120)
    assert cache.incr("posts:1") == 1
    back(monkeypatch)
    assert [cache.incr("posts:1") for _ in range(2)] == [2, 3]


def test_a_key_that_redis_had_from_another_process_and_lost_is_counted_here(
    redis_client: redis.Redis,
) -> None:
    redis_client.set(cache.make_key("posts:2"), 5)
    assert not cache.add("posts:2", 0, 120)
    redis_client.flushdb()
    assert cache.incr("posts:2") == 1


def test_a_key_that_is_nowhere_is_still_none() -> None:
    with pytest.raises(ValueError, match="not found"):
        cache.incr("posts:never")
