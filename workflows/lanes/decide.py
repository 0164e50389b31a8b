"""From an answer to what follows: asks the template, skips vendors that cannot be asked, holds the record's cap. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from integrations.connectors import registry
from workflows.catalog import TEMPLATES, Ask, Final, Taken


def decide(
    template: str, config: Mapping[str, Any], record: Mapping[str, str], taken: Sequence[Taken]
) -> tuple[Ask | Final, list[Taken]]:
    """What comes next for a record, and the vendors that were skipped on the way (too little input for them)."""
    skipped: list[Taken] = []
    while True:
        plan = TEMPLATES[template].advance(config, record, [*taken, *skipped])
        if isinstance(plan, Final):
            return plan, skipped
        connector = registry.get(plan.provider)
        if not connector.can_ask(plan.operation, plan.query):
            skipped.append(Taken(plan.operation, plan.provider, "skipped"))
            continue
        cap = config.get("max_credits_per_record")
        spent = sum(step.credits for step in taken)
        if cap is not None and spent + connector.worst_credits(plan.operation) > round(cap * 1000):
            best = TEMPLATES[template].give_up([*taken, *skipped])
            message = (
                f"Asking {connector.title} could cost more than the {cap:g} credits allowed for a record."
            )
            return Final("not_found", best, {"code": "record_credit_limit", "message": message}), skipped
        return plan, skipped


def fingerprint(plan: Ask) -> str:
    """The identity of a question: the same person asked of the same vendor has the same one."""
    return registry.get(plan.provider).fingerprint(plan.operation, plan.query)
