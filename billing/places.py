"""The plan's lanes and seats: counted where connections are made and people are invited, and refused where none is left."""

import uuid

from django.db import connections

from billing.errors import NoLaneLeft, NoSeatLeft
from billing.limits import limits_of
from tenants.scope import APP_ALIAS


def hold_lanes(tenant_id: uuid.UUID) -> None:
    """Have whoever makes a connection of the tenant at the same time wait until this transaction ends."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('lanes:' || %s, 0))", [str(tenant_id)])


def require_lane(tenant_id: uuid.UUID, taken: int) -> None:
    """Refuse one more live connection beside those that there are. Raises NoLaneLeft."""
    limits = limits_of(tenant_id)
    if limits.lanes is not None and taken >= limits.lanes:
        raise NoLaneLeft(
            f"Plan {limits.plan_name} has {_many(limits.lanes, 'lane')} for live connections, and {_taken(taken)}. "
            "Remove a connection, or choose a larger plan. Sandbox connections take none."
        )


def require_seat(tenant_id: uuid.UUID, taken: int) -> None:
    """Refuse one more member or open invitation beside those that there are. Raises NoSeatLeft."""
    limits = limits_of(tenant_id)
    if limits.seats is not None and taken >= limits.seats:
        raise NoSeatLeft(
            f"Plan {limits.plan_name} has {_many(limits.seats, 'seat')}, and {_taken(taken)} by members and open "
            "invitations. Revoke an invitation, remove a member, or choose a larger plan."
        )


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _taken(number: int) -> str:
    return f"{number:,} {'is' if number == 1 else 'are'} taken"
