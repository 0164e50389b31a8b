"""Plans and what they limit, the ledger of what is metered, and what is held of Stripe."""

from billing.models.plans import Plan, PlanOverride
from billing.models.stripe import BillingNotice, MeterBatch, StripeEvent, Subscription
from billing.models.usage import ClosedLedger, QuotaNotice, UsageCounter, UsageEvent

__all__ = [
    "BillingNotice",
    "ClosedLedger",
    "MeterBatch",
    "Plan",
    "PlanOverride",
    "QuotaNotice",
    "StripeEvent",
    "Subscription",
    "UsageCounter",
    "UsageEvent",
]
