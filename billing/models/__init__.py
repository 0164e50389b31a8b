"""Plans and what they limit, and the ledger of what is metered."""

from billing.models.plans import Plan, PlanOverride
from billing.models.usage import ClosedLedger, UsageEvent

__all__ = ["ClosedLedger", "Plan", "PlanOverride", "UsageEvent"]
