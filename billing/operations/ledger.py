"""What is kept of the ledger of a tenant that goes."""

import uuid
from typing import Any


def keep_totals(cursor: Any, closed_tenant: uuid.UUID, event_ids: list[uuid.UUID]) -> None:
    """Add these ledger entries to the totals of a tenant that is being erased, under its random id.

    With an ops cursor, in the transaction that erases the entries: what the ledger says per month stays the same.
    """
    cursor.execute(
        """INSERT INTO billing_closedledger AS l (closed_tenant_id, period, kind, provider, livemode, entries, quantity,
                                                  credits)
           SELECT %s, period, kind, provider, livemode, count(*), sum(quantity), sum(credits)
           FROM billing_usageevent WHERE id = ANY(%s) GROUP BY period, kind, provider, livemode
           ON CONFLICT (closed_tenant_id, period, kind, provider, livemode) DO UPDATE SET
               entries = l.entries + excluded.entries, quantity = l.quantity + excluded.quantity,
               credits = l.credits + excluded.credits""",
        [closed_tenant, event_ids],
    )
