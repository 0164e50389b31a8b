"""Workflows, limits and reasons in words. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any

from integrations.connectors import registry
from tenants.web import figures, statuses
from workflows.states import WaitReason

# Said after "waiting for" (a vendor's name in front where it has one).
_WAITS = {
    WaitReason.RATE: "rate",
    WaitReason.PARALLELISM: "calls in flight to end",
    WaitReason.PAUSED: "paused lane",
    WaitReason.COOLDOWN: "cool-down",
    WaitReason.BACKOFF: "next attempt",
    WaitReason.BREAKER: "recovery",
    WaitReason.BUDGET: "credit limit",
    WaitReason.TURN: "turn",
    WaitReason.DUPLICATE: "answer to an equal question",
    WaitReason.CALLBACK: "callback",
    WaitReason.POLL: "result",
}
_EXPLAINED = {
    WaitReason.RATE: "The lane starts calls exactly as fast as the limit of your key allows.",
    WaitReason.PARALLELISM: "As many calls as the key allows are in flight; the next starts when one ends.",
    WaitReason.PAUSED: "Somebody paused the lane, or its key was refused or ran out of credits. Resume it under Vendors.",
    WaitReason.COOLDOWN: "The vendor asked for a rest; the lane starts again by itself when it is over.",
    WaitReason.BACKOFF: "An attempt failed; the next one starts after a short rest.",
    WaitReason.BREAKER: "The vendor failed several times in a row; single calls test whether it is back.",
    WaitReason.BUDGET: "The run's credit limit or the tenant's monthly one is reached. Raise it and the run goes on where "
    "it stopped.",
    WaitReason.TURN: "Other runs use the same key; this one gets its share in turn.",
    WaitReason.DUPLICATE: "The same person was asked for already; both records get that answer, and it is paid once.",
    WaitReason.CALLBACK: "The vendor took the question and will call back with the answer.",
    WaitReason.POLL: "The vendor took the question; Weir fetches the answer when it is ready.",
}


def vendor_title(provider: str) -> str:
    """The vendor's name as it writes it."""
    connector = registry.CONNECTORS.get(provider)
    return connector.title if connector else provider.capitalize()


def wait_words(reason: str, provider: str = "") -> str:
    """What something waits for: “ZeroBounce's rate”, “its turn”."""
    what = _WAITS.get(WaitReason(reason), reason) if reason in WaitReason.values else reason
    return f"{vendor_title(provider)}'s {what}" if provider else f"its {what}"


def wait_explained(reason: str) -> str:
    """One sentence on why, and what ends it."""
    return _EXPLAINED[WaitReason(reason)] if reason in WaitReason.values else ""


def limits(windows: Sequence[Mapping[str, Any]], parallelism: int) -> str:
    """“5 per second, 300 per minute; 30 at once.”"""
    by_group: dict[str, list[str]] = {}
    for window in windows:
        by_group.setdefault(window.get("group", ""), []).append(
            figures.every(window["rate"], window["period"])
        )
    parts = [
        f"{'finding ' if group == 'find' else 'verifying ' if group == 'verify' else ''}{', '.join(rates)}"
        for group, rates in by_group.items()
    ]
    return f"{'; '.join(parts) or 'No rate limit'}; {parallelism:,} at once"


def workflow_sentences(template: str, config: Mapping[str, Any]) -> list[str]:
    """What a workflow does, sentence by sentence, in the order in which it does it."""
    verifier = vendor_title(config["verifier"]) if config.get("verifier") else None
    if template == "email-verify":
        sentences = [f"{verifier} checks each address."]
    else:
        finders = [vendor_title(finder) for finder in config["finders"]]
        first, rest = finders[0], finders[1:]
        asks = f"Asks {first} first" + (f", then {figures.listed(rest)}" if rest else "")
        sentences = [f"{asks}, and stops at the first good answer."]
        sentences.append(f"{verifier} verifies each address." if verifier else "Addresses are not verified.")
    accepted = figures.listed([statuses.shown(status).word.lower() for status in config["accept"]], "or")
    sentences.append(f"An address counts as found when it is {accepted}.")
    if config.get("max_credits_per_record") is not None:
        sentences.append(f"Spends at most {config['max_credits_per_record']:g} credits on a record.")
    if config.get("reuse_days"):
        sentences.append(
            f"Answers of the last {figures.counted(config['reuse_days'], 'day')} are used again."
        )
    waits = config["on_outage"] == "wait"
    sentences.append(
        "When a vendor is down, records wait for it."
        if waits
        else "When a vendor is down, the next one is asked."
    )
    sentences.append(f"A call that fails is tried up to {figures.counted(config['max_attempts'], 'time')}.")
    if (rest := config.get("backoff_s", 2)) != 2:
        sentences.append(
            f"The second attempt comes within {figures.counted(rest, 'second')}, later ones take longer."
        )
    if config.get("timeout_s", 60) < 60:
        sentences.append(f"A vendor is given {config['timeout_s']} seconds to answer.")
    return sentences


def operation_word(operation: str) -> str:
    return {"find": "Finds", "verify": "Verifies"}.get(operation, operation)
