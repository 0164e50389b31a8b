"""What a subscription's state gives: pure, so that every order of events is tried without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.stripe_answers import State

PAYING = ("trialing", "active")
OVERDUE = ("past_due", "unpaid")
LIVE = (*PAYING, *OVERDUE, "paused", "incomplete")
"""States in which a subscription is still there."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`plan`: the slug, empty for nothing. `grace_until`: when an overdue one ends; None where nothing is overdue."""

    plan: str = ""
    grace_until: datetime | None = None


def chosen(states: Sequence[State], position: Mapping[str, int], plan_of: Mapping[str, str]) -> State | None:
    """The one subscription that counts: one that is paid before one that is overdue, then the highest plan, then the
    newest. Where none is left, the one that ended last."""

    def rank(state: State) -> tuple[int, int, datetime, str]:
        if state.status not in LIVE:
            return 0, 0, state.ended_at or state.created, state.id
        standing = 3 if state.status in PAYING else 2 if state.status in OVERDUE else 1
        return standing, position.get(plan_named(state, plan_of), 0), state.created, state.id

    return max(states, key=rank, default=None)


def plan_named(state: State, plan_of: Mapping[str, str]) -> str:
    """The plan of a subscription's price, by the price's id or by what its metadata says; empty for none of ours."""
    base = state.base
    if base is None:
        return ""
    return plan_of.get(base.price_id) or (base.plan if base.plan in plan_of.values() else "")


def grant(
    *, status: str, plan: str, overdue_since: datetime | None, now: datetime, grace: timedelta
) -> Grant:
    """What a subscription of this plan gives now. What is overdue gives it until the grace is over, and is not deleted."""
    if status in PAYING:
        return Grant(plan)
    if status in OVERDUE:
        until = (overdue_since or now) + grace
        return Grant(plan if now < until else "", until)
    return Grant()
