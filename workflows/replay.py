"""Where a record goes on that failed: its workflow is played again over the answers it has. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from workflows.catalog import Ask, Final, Taken
from workflows.lanes.decide import decide

# What a vendor has answered, as against failed to.
_KEPT = ("hit", "miss", "invalid", "cached")
Answers = dict[tuple[str, str, str], Taken]


def answers_of(steps: Iterable[Any], calls: Iterable[Any] = ()) -> Answers:
    """The answers among a record's attempts, which come in time order: of two to one question the later one counts.

    A verifier's answer belongs to the address that it judged; a finder is asked once. Of its `calls` in doubt those
    whose loss was accepted stand for answers without a find: they are not asked again.
    """
    kept: Answers = {
        (call.operation, call.provider, call.email.casefold()): Taken(call.operation, call.provider, "miss")
        for call in calls
        if call.status == "accepted"
    }
    for step in steps:
        if step.status == "done" and step.outcome in _KEPT:
            answer = step.answer or {}
            key = (step.operation, step.provider, _address(step.operation, answer))
            kept[key] = Taken(step.operation, step.provider, step.outcome, answer, step.credits)
    return kept


def replay(
    template: str,
    config: Mapping[str, Any],
    record: Mapping[str, str],
    answers: Answers,
    doubts: Iterable[Taken] = (),
) -> tuple[Ask | Final, list[Taken]]:
    """The first question that has no answer yet, or the record's end, and the steps that lie behind it, with what calls
    in doubt are booked at."""
    taken: list[Taken] = list(doubts)
    while True:
        plan, skipped = decide(template, config, record, taken)
        taken = [*taken, *skipped]
        if isinstance(plan, Final):
            return plan, taken
        known = answers.get((plan.operation, plan.provider, _address(plan.operation, plan.query)))
        if known is None or known in taken:
            return plan, taken
        taken.append(known)


def questions(
    template: str, config: Mapping[str, Any], record: Mapping[str, str], answers: Answers
) -> list[Ask]:
    """What would be asked of vendors if they answered as they did, to the first question that has no answer."""
    asked: list[Ask] = []
    taken: list[Taken] = []
    while True:
        plan, skipped = decide(template, config, record, taken)
        if isinstance(plan, Final):
            return asked
        asked.append(plan)
        known = answers.get((plan.operation, plan.provider, _address(plan.operation, plan.query)))
        if known is None or known in taken:
            return asked
        taken = [*taken, *skipped, known]


def _address(operation: str, values: Mapping[str, Any]) -> str:
    return str(values.get("email") or "").casefold() if operation == "verify" else ""
