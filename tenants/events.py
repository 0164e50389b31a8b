"""Events that a tenant may have told to servers of its own: any app emits them by name, `integrations` delivers them.

    from tenants.events import emit

    with tenant_scope(tenant):            # or inside any operation: a scope and its transaction are open
        ...                               # the change itself
        emit("plan.changed", {"from": "free", "to": "pro"}, key=f"plan.changed:{subscription_id}:{version}")

The event is written in the open transaction: it is delivered if and only if that commits, later and by somebody else.
Nothing is called and nobody waits. Where the tenant listens to nothing, it costs one look at an empty index.
"""

import json
from typing import Any

from tenants import signals
from tenants.scope import require_tenant_id

EVENTS = {
    "run.completed": "A run has ended: every record is in a final state.",
    "run.failed": "A run could not proceed, and ended.",
    "record.completed": "A record that was looked up has come to its end. Only for endpoints that ask for it by name.",
    "lane.paused": "A lane stands still: its vendor refuses the key, its credits are used up, or somebody paused it.",
    "quota.warning": "The month's records come to 80 % or to 100 % of what the plan includes.",
    "plan.changed": "The tenant's plan is another one.",
}
"""Every event there is, and what it tells. CONTRACT: names are never changed."""
LONGEST_KEY = 200


def emit(name: str, data: dict[str, Any], *, key: str = "") -> None:
    """Have an event told to the open tenant's endpoints that listen to it, once the open transaction commits.

    `data` is the body's "data": JSON as it is to be read by integrators, well under 20 kB, without secrets. Events with
    the same `key` (up to 200 characters; empty: none) are one event for this tenant, whenever they are emitted: name
    what happened, and a repetition does nothing. Raises ScopeError outside a tenant's scope, ValueError for a name that
    is not in EVENTS, for a longer key, and for what is not JSON.
    """
    require_tenant_id()
    if name not in EVENTS:
        raise ValueError(f"no such event: {name}")
    if len(key) > LONGEST_KEY:
        raise ValueError("the key of an event is too long")
    try:
        json.dumps(data, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"the data of an event must be JSON: {error}") from None
    signals.tenant_event.send(sender=None, name=name, data=data, key=key)
