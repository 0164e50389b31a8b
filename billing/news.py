"""Whoever changes a plan, people and servers are told: by mail, and by the event `plan.changed`."""

from typing import Any

from billing import signals
from billing.models import BillingNotice
from billing.operations import notices
from tenants.events import emit
from tenants.ids import uuid7


def connect() -> None:
    """Join the signal; called once at start-up."""
    signals.plan_changed.connect(_tell, dispatch_uid="weir_tell_of_plan")


def _tell(*, was: str, now: str, reason: str, **kwargs: Any) -> None:
    change = str(uuid7())
    notices.note(kind=BillingNotice.Kind.PLAN_CHANGED, about=change, was=was, now=now, reason=reason)
    emit("plan.changed", {"from": was, "to": now, "reason": reason}, key=f"plan.changed:{change}")
