"""email-waterfall: each finder in order; a hit goes to the verifier; the first accepted address ends the record."""

from collections.abc import Mapping, Sequence
from typing import Any

from workflows import contacts
from workflows.catalog.base import Ask, Fault, Final, Taken
from workflows.catalog.rules import EMAIL_STATUSES, clean_settings, out_of_service, vendor_failed

FINDERS = ("prospeo", "findymail", "hunter")
VERIFIERS = ("zerobounce", "hunter")

# The better an unaccepted address is, the further left; the best one stays in the output of a record not found.
BEST_FIRST = ("valid", "catch_all", "unknown", "unverified", "do_not_mail", "abuse", "spamtrap", "invalid")


class EmailWaterfall:
    slug = "email-waterfall"
    title = "Email waterfall"
    description = "Finds work e-mail addresses: asks one finder after the other and verifies each address."
    fields = contacts.FIELDS
    config_schema: dict[str, Any] = {
        "finders": {"type": "list", "of": FINDERS, "default": ["prospeo", "findymail"]},
        "verifier": {"type": "choice", "of": VERIFIERS, "default": "zerobounce", "null": True},
        "accept": {"type": "list", "of": EMAIL_STATUSES, "default": ["valid"]},
        "max_credits_per_record": {"type": "credits", "default": None, "null": True},
        "reuse_days": {"type": "integer", "min": 0, "max": 365, "default": 0},
        "on_outage": {"type": "choice", "of": ("wait", "skip"), "default": "wait"},
        "max_attempts": {"type": "integer", "min": 1, "max": 10, "default": 3},
        "backoff_s": {"type": "integer", "min": 1, "max": 300, "default": 2},
        "timeout_s": {"type": "integer", "min": 5, "max": 60, "default": 60},
    }

    def default_config(self) -> dict[str, Any]:
        return clean_settings(self.config_schema, {})[0]

    def clean_config(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        return clean_settings(self.config_schema, config)

    def providers(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        pairs = [("find", finder) for finder in config["finders"]]
        return [*pairs, ("verify", config["verifier"])] if config["verifier"] else pairs

    def clean_record(self, raw: Mapping[str, Any]) -> tuple[dict[str, str], list[Fault]]:
        values, faults = contacts.clean_contact(raw)
        return values, [Fault(fault.field, fault.code, fault.message) for fault in faults]

    def advance(
        self, config: Mapping[str, Any], record: Mapping[str, str], taken: Sequence[Taken]
    ) -> Ask | Final:
        last = taken[-1] if taken else None
        if last and (stop := vendor_failed(last, config)):
            return stop
        if last and last.operation == "verify" and last.answer.get("email_status") in config["accept"]:
            return Final("found", _output(taken, last))
        if last and last.operation == "verify" and last.came_to_nothing:
            return _unjudged(config, taken, last)
        if last and last.operation == "find" and last.answer.get("email"):
            if not config["verifier"]:
                return Final("found", _output(taken, last))
            if not _judged(taken, last.answer["email"]):
                return Ask("verify", config["verifier"], {"email": last.answer["email"]})
        return self._next_finder(config, record, taken)

    def give_up(self, taken: Sequence[Taken]) -> dict[str, Any] | None:
        return _best(taken)

    def _next_finder(
        self, config: Mapping[str, Any], record: Mapping[str, str], taken: Sequence[Taken]
    ) -> Ask | Final:
        asked = {step.provider for step in taken if step.operation == "find"}
        query = {field: record[field] for field in contacts.FIELDS if record.get(field)}
        for finder in config["finders"]:
            if finder not in asked:
                return Ask("find", finder, query)
        out = [step.provider for step in taken if step.operation == "find" and step.came_to_nothing]
        if out and len(out) == len(asked):
            return Final("failed", error=out_of_service(out))
        return Final("not_found", _best(taken), out_of_service(out) if out else None)


def _unjudged(config: Mapping[str, Any], taken: Sequence[Taken], verifier: Taken) -> Final:
    """The verifier is out of service: another finder's address could not be judged either, so none is paid for."""
    found = next(step for step in reversed(taken) if step.operation == "find" and step.answer.get("email"))
    output = _output(taken, found) | {"email_status": "unverified"}
    if "unverified" in config["accept"]:
        return Final("found", output)
    judged = [_output(taken, s) for s in taken if s.operation == "verify" and s.answer.get("email")]
    best = min((output, *judged), key=lambda out: BEST_FIRST.index(out["email_status"]))
    return Final("failed", best, out_of_service([verifier.provider]))


def _judged(taken: Sequence[Taken], email: str) -> bool:
    """Whether an earlier finder brought the same address and the verifier was asked about it already. An answer that says
    nothing, not even the address, is about the one that was found last."""
    found, asked = None, set()
    for step in taken:
        if step.operation == "find":
            found = step.answer.get("email") or found
        elif step.operation == "verify":
            asked.add(step.answer.get("email") or found)
    return email in asked


def _finder_of(taken: Sequence[Taken], email: str) -> str | None:
    return next((s.provider for s in taken if s.operation == "find" and s.answer.get("email") == email), None)


def _output(taken: Sequence[Taken], step: Taken) -> dict[str, Any]:
    email = step.answer["email"]
    return {
        "email": email,
        "email_status": step.answer.get("email_status") or "unverified",
        "found_by": _finder_of(taken, email),
        "verified_by": step.provider if step.operation == "verify" else None,
    }


def _best(taken: Sequence[Taken]) -> dict[str, Any] | None:
    """The best address that was found but not accepted, or None."""
    judged = {step.answer.get("email") for step in taken if step.operation == "verify"}
    seen = [
        step
        for step in taken
        if step.answer.get("email") and (step.operation == "verify" or step.answer["email"] not in judged)
    ]
    if not seen:
        return None
    return min((_output(taken, step) for step in seen), key=lambda out: BEST_FIRST.index(out["email_status"]))
