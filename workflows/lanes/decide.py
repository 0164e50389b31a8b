"""From an answer to what follows: asks the template, skips vendors that cannot be asked, holds the record's cap. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from integrations.connectors import registry
from workflows.catalog import TEMPLATES, Ask, Final, Taken
from workflows.lanes.doubt import fits, known


def decide(
    template: str, config: Mapping[str, Any], record: Mapping[str, str], taken: Sequence[Taken]
) -> tuple[Ask | Final, list[Taken]]:
    """What comes next for a record, and the vendors that were skipped on the way (too little input for them)."""
    skipped: list[Taken] = []
    seen = known(taken)
    while True:
        plan = TEMPLATES[template].advance(config, record, [*seen, *skipped])
        if isinstance(plan, Final):
            return plan, skipped
        connector = registry.get(plan.provider)
        if not connector.can_ask(plan.operation, plan.query):
            skipped.append(Taken(plan.operation, plan.provider, "skipped"))
            continue
        if not fits(config, taken, connector.worst_credits(plan.operation)):
            return over_the_cap(template, config, plan.provider, [*seen, *skipped]), skipped
        return plan, skipped


def over_the_cap(template: str, config: Mapping[str, Any], provider: str, taken: Sequence[Taken]) -> Final:
    """The end of a record that may not spend what asking this vendor could cost."""
    cap, title = config["max_credits_per_record"], registry.get(provider).title
    message = f"Asking {title} could cost more than the {cap:g} credits allowed for a record."
    best = TEMPLATES[template].give_up(known(taken))
    return Final("not_found", best, {"code": "record_credit_limit", "message": message})


def fingerprint(plan: Ask) -> str:
    """The identity of a question: the same person asked of the same vendor has the same one."""
    return registry.get(plan.provider).fingerprint(plan.operation, plan.query)
