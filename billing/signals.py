"""What this app announces."""

from django.dispatch import Signal

# Sent in the tenant's scope when its plan is another, by whomever it was changed: in the transaction that changed it, or
# right after that where operators did: tenant_id, was, now (slugs), actor, reason.
plan_changed = Signal()
