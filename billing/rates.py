"""How many requests a key and a tenant make: one atomic Redis script per request counts, limits and keeps the month.

Each limit is a window that slides in slots: what was counted in a slot is free again once the whole slot is out of the
window. So in no window more is let through than the limit, and what is refused counts in neither limit.
"""

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import redis
import structlog
from django.utils import timezone
from prometheus_client import Counter

from billing import api_calls
from billing.limits import limits_of

UNCHECKED = Counter(
    "weir_requests_without_rate_limit",
    "API requests served while Redis could not say whether they are too many.",
)
_log = structlog.stdlib.get_logger("weir.rates")

# KEYS: the API key's window, the tenant's window, the month's count. ARGV: the two limits, seconds to keep the count.
# Answers: which limit was hit (0 none, 1 the key's, 2 the tenant's), then for each of them what remains, and in how many
# milliseconds the next request and the whole limit are free.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function look(key, slots, width)
  local slot = math.floor(now / width)
  local kept = redis.call('HMGET', key, 'n', 'from', 'to')
  local n, from, to = tonumber(kept[1] or 0), tonumber(kept[2] or slot), tonumber(kept[3] or slot)
  while from <= to and n > 0 do
    local count = tonumber(redis.call('HGET', key, from) or 0)
    if count > 0 and from >= slot - slots then break end
    if count > 0 then redis.call('HDEL', key, from) end
    n, from = n - count, from + 1
  end
  if n <= 0 then n, from, to = 0, slot, slot end
  return {key = key, slots = slots, width = width, slot = slot, n = n, from = from, to = math.max(to, slot)}
end

local function free_in(seen, slot)
  if seen.n == 0 then return 0 end
  return (slot + seen.slots + 1) * seen.width - now
end

local function keep(seen, spent)
  if spent then
    redis.call('HINCRBY', seen.key, seen.slot, 1)
    seen.n, seen.from = seen.n + 1, math.min(seen.from, seen.slot)
  end
  redis.call('HSET', seen.key, 'n', seen.n, 'from', seen.from, 'to', seen.to)
  redis.call('PEXPIRE', seen.key, (seen.slots + 1) * seen.width)
end

local by_key, by_tenant = look(KEYS[1], 10, 100), look(KEYS[2], 60, 1000)
local limits = {tonumber(ARGV[1]), tonumber(ARGV[2])}
local hit = 0
if by_tenant.n >= limits[2] then hit = 2 elseif by_key.n >= limits[1] then hit = 1 end
keep(by_key, hit == 0)
keep(by_tenant, hit == 0)
if redis.call('INCR', KEYS[3]) == 1 then redis.call('EXPIRE', KEYS[3], ARGV[3]) end
return {
  hit,
  limits[1] - by_key.n, free_in(by_key, by_key.from), free_in(by_key, by_key.to),
  limits[2] - by_tenant.n, free_in(by_tenant, by_tenant.from), free_in(by_tenant, by_tenant.to)
}
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit, and how a caller stands with it."""

    name: str
    """`key`: requests a second of one API key. `tenant`: requests a minute of all keys of the tenant."""
    quota: int
    window_s: int
    remaining: int
    next_free_s: int
    """Until another request is let through, where none remains."""
    all_free_s: int
    """Until the whole quota is there again, if nothing is asked meanwhile."""

    def __str__(self) -> str:
        whose = "with one API key" if self.name == "key" else "with all API keys of the tenant together"
        window = "second" if self.window_s == 1 else "minute"
        return f"{self.quota:,} requests in any {window} {whose}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is let through: `hit` is the limit that it is over, None when it is over none."""

    policies: tuple[Policy, ...]
    hit: Policy | None = None

    def headers(self) -> dict[str, str]:
        """What the answer says of the limits. The X- fields are about the tenant's minute, or the limit that was hit."""
        shown = self.hit or self.policies[-1]
        return {
            "X-RateLimit-Limit": str(shown.quota),
            "X-RateLimit-Remaining": str(shown.remaining),
            "X-RateLimit-Reset": str(math.ceil(time.time()) + shown.all_free_s),
            "RateLimit-Policy": ", ".join(f'"{p.name}";q={p.quota};w={p.window_s}' for p in self.policies),
            "RateLimit": ", ".join(f'"{p.name}";r={p.remaining};t={p.all_free_s}' for p in self.policies),
        }


def spend(tenant_id: uuid.UUID, key_id: uuid.UUID, *, livemode: bool) -> Verdict | None:
    """Count one request of this key, in one round trip to Redis. None while Redis is away: serve it, nobody can tell.

    Needs no scope: the tenant's limits are remembered, or read in a scope of its own.
    """
    if api_calls.resting():
        UNCHECKED.inc()
        return None
    limits = limits_of(tenant_id)
    keys = [
        f"weir:rate:{tenant_id}:key:{key_id}",
        f"weir:rate:{tenant_id}:minute",
        api_calls.month_key(tenant_id, timezone.now().date(), livemode=livemode),
    ]
    quotas = (limits.requests_per_second, limits.requests_per_minute)
    try:
        hit, *counts = api_calls.ask(_SCRIPT, keys, [*quotas, api_calls.KEPT_S])
    except redis.RedisError as error:
        api_calls.rest(error)
        UNCHECKED.inc()
        return None
    policies = (_policy("key", quotas[0], 1, counts[:3]), _policy("tenant", quotas[1], 60, counts[3:]))
    return Verdict(policies, policies[hit - 1] if hit else None)


def _policy(name: str, quota: int, window_s: int, counts: list[int]) -> Policy:
    remaining, next_free, all_free = counts
    return Policy(
        name,
        quota,
        window_s,
        max(0, remaining),
        max(1, math.ceil(next_free / 1000)),
        max(0, math.ceil(all_free / 1000)),
    )


def headers_of(request: object) -> Mapping[str, str]:
    """The fields for the answer to a request that was counted; none for any other."""
    verdict: Verdict | None = getattr(request, "rate_verdict", None)
    return verdict.headers() if verdict else {}
