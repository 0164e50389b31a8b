"""What a tenant may do now: its plan, and what was agreed beside it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from tenants import rls
from tenants.errors import ScopeError
from tenants.remembered import Remembered
from tenants.scope import APP_ALIAS, open_tenant_id, ops_reason

CACHE_SECONDS = 1.5
"""For so long at most does a process believe what it read: limits that change count everywhere within 2 s."""


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


_READ = """
    SELECT t.id, p.slug::text, p.name::text, coalesce(o.requests_per_second, p.requests_per_second)::int,
           coalesce(o.requests_per_minute, p.requests_per_minute)::int,
           coalesce(o.monthly_records, p.monthly_records)::bigint, coalesce(o.overage_allowed, p.overage_allowed),
           coalesce(o.lanes, p.lanes)::int, coalesce(o.seats, p.seats)::int, o.expires_at
    FROM public.tenants_tenant t
    CROSS JOIN LATERAL (SELECT * FROM public.billing_plan plan WHERE plan.slug IN (t.plan, 'free')
                        ORDER BY plan.slug = t.plan DESC LIMIT 1) p
    LEFT JOIN public.billing_planoverride o ON o.tenant_id = t.id AND o.expires_at > now()
    WHERE t.id = """


def register() -> None:
    """Let the lookup role tell what tenants may do before any of them is entered; called before policies are applied.

    Requests are limited before their tenant's scope is opened, and those of many tenants are read for at once.
    """
    rls.LOOKUP_READS |= {"billing_plan": "", "billing_planoverride": ""}
    rls.FUNCTIONS["limits(wanted uuid[])"] = f"""
        RETURNS TABLE (tenant_id uuid, slug text, plan_name text, per_second integer, per_minute integer,
                       records bigint, overage boolean, most_lanes integer, most_seats integer,
                       until timestamp with time zone)
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            #variable_conflict use_column
            BEGIN{rls.OUTSIDE_TENANTS}
                RETURN QUERY {_READ} ANY (wanted);
            END
        $$"""


def limits_of(tenant_id: uuid.UUID, *, fresh: bool = False) -> Limits:
    """What the tenant may do now, remembered by this process for CACHE_SECONDS; `fresh` asks the database.

    Needs no scope, and takes part in the tenant's own where that is open. Raises ScopeError in another's, or an ops
    scope, when the database is to be asked.
    """
    if fresh:
        _KNOWN.forget(tenant_id)
    return _KNOWN.get(tenant_id)


def forget(tenant_id: uuid.UUID | None = None) -> None:
    """Ask the database next time: for this tenant, or for all of them. Other processes do so within CACHE_SECONDS."""
    _KNOWN.forget(tenant_id)


def _read(tenant_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Limits]:
    """The limits of these tenants; inside a scope, of its own tenant alone, which is to be the first."""
    wanted: list[uuid.UUID] | uuid.UUID = list(tenant_ids)
    statement = "SELECT * FROM lookup.limits(%s::uuid[])"
    if open_tenant_id() is not None or ops_reason() is not None:
        if open_tenant_id() != tenant_ids[0]:
            raise ScopeError("The limits of a tenant were asked for in the scope of something else.")
        wanted, statement = tenant_ids[0], f"{_READ} %s"
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(statement, [wanted])
        return {row[0]: Limits(*row[1:]) for row in cursor.fetchall()}


_KNOWN = Remembered(_read, seconds=CACHE_SECONDS, nothing=NOTHING)
