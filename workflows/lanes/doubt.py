"""Calls whose outcome is not known: what they count for, and what follows from them. Pure.

A call in doubt counts as spent at the most that it may have cost. The record's steps carry it along as an entry of its
own (`ambiguous`), so that the cap per record counts it; templates never see it.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from integrations.connectors import registry
from integrations.connectors.base import Connector
from workflows.catalog import Taken
from workflows.lanes.work import Settlement, Work

AMBIGUOUS = "ambiguous"


def worst_of(work: Work, connector: Connector) -> int:
    """The most that the next call of this step can cost beside what is booked already, in thousandths.

    A vendor that gives a repeat for nothing charges a question once: a lost call of it has been booked.
    """
    if connector.repeat_is_free and booked(work):
        return 0
    return connector.worst_credits(work.operation)


def booked(work: Work) -> int:
    """What calls in doubt about this very question are booked at."""
    return sum(step["credits"] for step in _same(work))


def doubt(settlement: Settlement) -> None:
    """Note on a settlement that its call may have been made and charged."""
    work = settlement.work
    settlement.status, settlement.in_doubt, settlement.booked = AMBIGUOUS, True, work.reserved
    if settlement.booked:
        work.taken = [*work.taken, entry(settlement.attempt_id, work, settlement.booked)]


def entry(attempt_id: uuid.UUID, work: Work, credits: int) -> dict[str, Any]:
    """A call in doubt among a record's steps."""
    month = work.month.isoformat() if work.month else ""
    answer = {"attempt": str(attempt_id), "of": work.fingerprint, "month": month}
    return {
        "operation": work.operation, "provider": work.provider, "outcome": AMBIGUOUS, "answer": answer,
        "credits": credits,
    }  # fmt: skip


def carried(call: Any) -> Taken:
    """A call in doubt from the list, as a step of its record."""
    answer = {"attempt": str(call.pk), "of": call.fingerprint, "month": call.month.isoformat()}
    return Taken(call.operation, call.provider, AMBIGUOUS, answer, call.may_cost)


def settle_doubts(settlement: Settlement, *, was_free: bool) -> None:
    """The answer has come, from a vendor that charges a question once, or to a look at what became of the lost call: it
    says what the lost calls cost.

    An answer that was free for being a repeat shows that an earlier call was charged: that stays booked.
    """
    work = settlement.work
    looked_up = work.job is not None and work.job.counted
    if not looked_up and (was_free or not registry.get(work.provider).repeat_is_free):
        return
    settled = _same(work)
    if settled:
        settlement.released = sum(step["credits"] for step in settled)
        for step in settled:
            if said := step["answer"].get("month"):
                month = date.fromisoformat(said)
                settlement.released_in[month] = settlement.released_in.get(month, 0) + step["credits"]
        settlement.settles = [uuid.UUID(step["answer"]["attempt"]) for step in settled]
        work.taken = [step for step in work.taken if step not in settled]


def known(taken: Sequence[Taken]) -> list[Taken]:
    """The steps without the calls in doubt."""
    return [step for step in taken if step.outcome != AMBIGUOUS]


def fits(config: Mapping[str, Any], taken: Sequence[Taken], worst: int) -> bool:
    """Whether a call that may cost `worst` (thousandths) keeps the record within its cap."""
    cap = config.get("max_credits_per_record")
    return cap is None or sum(step.credits for step in taken) + worst <= round(cap * 1000)


def _same(work: Work) -> list[dict[str, Any]]:
    return [
        step
        for step in work.taken
        if step["outcome"] == AMBIGUOUS and step["answer"].get("of") == work.fingerprint
    ]
