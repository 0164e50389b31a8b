"""What a tenant may do now: its plan, and what was agreed beside it."""

import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from tenants.scope import APP_ALIAS, open_tenant_id, tenant_scope

CACHE_SECONDS = 1.5
"""For so long at most does a process believe what it read: limits that change count everywhere within 2 s."""
_MOST_CACHED = 10_000
_cache: dict[uuid.UUID, tuple[float, "Limits"]] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant may do. None: no limit."""

    plan: str
    """The slug of the plan whose limits these are: the tenant's own, or `free` where that is not a plan any more."""
    plan_name: str
    requests_per_second: int
    """In any second, of one API key."""
    requests_per_minute: int
    """In any minute, of all API keys of the tenant."""
    monthly_records: int
    """Included in a calendar month (UTC)."""
    overage_allowed: bool
    """Whether records beyond those are accepted and billed, or refused."""
    lanes: int | None
    """Live connections."""
    seats: int | None
    """Members and open invitations together."""
    overridden_until: datetime | None = None
    """Until when something was agreed with this tenant beside its plan."""


NOTHING = Limits("", "", 1, 60, 0, overage_allowed=False, lanes=0, seats=1)
"""Of a tenant that is not there, or where no plan is."""


def limits_of(tenant_id: uuid.UUID, *, fresh: bool = False) -> Limits:
    """What the tenant may do now, remembered by this process for CACHE_SECONDS; `fresh` asks the database.

    Needs no scope, and takes part in the tenant's own where that is open. Raises ScopeError in another's.
    """
    now = time.monotonic()
    known = _cache.get(tenant_id)
    if known and not fresh and now - known[0] < CACHE_SECONDS:
        return known[1]
    if open_tenant_id() == tenant_id:
        found = _read(tenant_id)
    else:
        with tenant_scope(tenant_id):
            found = _read(tenant_id)
    with _lock:
        if len(_cache) > _MOST_CACHED:
            _cache.clear()
        _cache[tenant_id] = (now, found)
    return found


def forget(tenant_id: uuid.UUID | None = None) -> None:
    """Ask the database next time: for this tenant, or for all of them. Other processes do so within CACHE_SECONDS."""
    with _lock:
        if tenant_id is None:
            _cache.clear()
        else:
            _cache.pop(tenant_id, None)


def _read(tenant_id: uuid.UUID) -> Limits:
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT p.slug, p.name, coalesce(o.requests_per_second, p.requests_per_second),
                      coalesce(o.requests_per_minute, p.requests_per_minute),
                      coalesce(o.monthly_records, p.monthly_records),
                      coalesce(o.overage_allowed, p.overage_allowed), coalesce(o.lanes, p.lanes),
                      coalesce(o.seats, p.seats), o.expires_at
               FROM tenants_tenant t
               CROSS JOIN LATERAL (SELECT * FROM billing_plan WHERE slug IN (t.plan, 'free')
                                   ORDER BY slug = t.plan DESC LIMIT 1) p
               LEFT JOIN billing_planoverride o ON o.tenant_id = t.id AND o.expires_at > now()
               WHERE t.id = %s""",
            [tenant_id],
        )
        row = cursor.fetchone()
    return Limits(*row) if row else NOTHING
