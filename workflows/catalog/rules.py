"""What the templates share: the checking of configurations, and the policy for vendors that failed."""

from collections.abc import Mapping, Sequence
from typing import Any

from workflows.catalog.base import ANSWERED, Fault, Final, Taken

EMAIL_STATUSES = (
    "valid",
    "catch_all",
    "unknown",
    "invalid",
    "abuse",
    "do_not_mail",
    "spamtrap",
    "unverified",
)


def vendor_failed(last: Taken, config: Mapping[str, Any]) -> Final | None:
    """How a record ends after a step that brought no answer; None where the waterfall goes on."""
    if last.outcome in ANSWERED:
        return None
    if last.outcome == "suppressed":
        return Final(
            "skipped", error={"code": "suppressed", "message": "This person asked not to be looked up."}
        )
    if config["on_outage"] == "skip":
        return None
    message = (
        f"{last.provider} did not give a usable answer after all attempts. Retry the record when it is well."
    )
    return Final("failed", error={"code": f"vendor_{last.outcome}", "message": message})


def out_of_service(vendors: Sequence[str]) -> dict[str, str]:
    """The error of a record that ended without these vendors' answers, in a workflow that does not wait."""
    names = " and ".join(vendors)
    return {
        "code": "vendor_out_of_service",
        "message": f"{names} did not answer or was out of service. Retry the record to ask again.",
    }


def clean_settings(schema: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Check a configuration against a schema of settings; returns it with the defaults filled in."""
    faults = [
        Fault(key, "unknown_setting", f"There is no setting “{key}”. Known: {', '.join(schema)}.")
        for key in given
        if key not in schema
    ]
    config: dict[str, Any] = {}
    for key, rule in schema.items():
        value = given.get(key, rule["default"])
        message = None if value is None and rule.get("null") else _CHECKS[rule["type"]](rule, value)
        if message:
            faults.append(Fault(key, "invalid_setting", message))
        config[key] = list(value) if isinstance(value, list | tuple) else value
    return config, faults


def _check_list(rule: Mapping[str, Any], value: Any) -> str | None:
    allowed = ", ".join(rule["of"])
    if not isinstance(value, list | tuple) or not value:
        return f"Give a list of at least one out of: {allowed}."
    if any(item not in rule["of"] for item in value if isinstance(item, str)) or not all(
        isinstance(item, str) for item in value
    ):
        return f"Only these are known: {allowed}."
    return "Each can be named once." if len(set(value)) != len(value) else None


def _check_choice(rule: Mapping[str, Any], value: Any) -> str | None:
    known = isinstance(value, str) and value in rule["of"]
    return None if known else f"Choose one out of: {', '.join(rule['of'])}."


def _check_integer(rule: Mapping[str, Any], value: Any) -> str | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and rule["min"] <= value <= rule["max"]
    return None if fits else f"Give a whole number from {rule['min']} to {rule['max']}."


def _check_credits(rule: Mapping[str, Any], value: Any) -> str | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1_000_000
    return None if fits else "Give a number of credits from 0 to 1,000,000, or null."


_CHECKS = {"list": _check_list, "choice": _check_choice, "integer": _check_integer, "credits": _check_credits}
