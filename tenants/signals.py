"""What this app announces to higher ones, and what it does after a migrate."""

from typing import Any

from django.db import connections
from django.dispatch import Signal

from tenants import upkeep
from tenants.roles import OWNER

# Sent inside the creating transaction, in the new tenant's scope: tenant, actor.
tenant_created = Signal()
# Sent inside the transaction that changes a tenant's settings, in its scope, with the tenant's row locked against every
# flush of the engine: tenant, actor, changes ({name: [from, to]}).
tenant_changed = Signal()
# Sent inside the transaction that is about to invite somebody, in the tenant's scope, with the tenant held: taken (members
# and other open invitations). A receiver that raises is heard: nobody is invited.
seat_to_be_taken = Signal()
# Sent in the tenant's scope after operators gave it another plan in the console: tenant_id, was, now (slugs), actor.
plan_set = Signal()
# Sent inside the transaction that shuts a tenant for good, in its scope: tenant, actor.
tenant_closing = Signal()
# Sent by tenants.events.emit, inside the transaction of what it tells about, in the tenant's scope: name, data, key.
tenant_event = Signal()


def apply_policies(using: str, **kwargs: Any) -> None:
    """Re-derive policies and grants; only the owner can, so a migrate with another login leaves them alone."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT current_user")
        if cursor.fetchone()[0] == OWNER:
            upkeep.apply(cursor)
