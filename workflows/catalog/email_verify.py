"""email-verify: one verifier judges each address."""

from collections.abc import Mapping, Sequence
from typing import Any

from workflows import contacts
from workflows.catalog.base import Ask, Fault, Final, Taken
from workflows.catalog.email_waterfall import VERIFIERS
from workflows.catalog.rules import EMAIL_STATUSES, clean_settings, out_of_service, vendor_failed


class EmailVerify:
    slug = "email-verify"
    title = "Email verify"
    description = "Checks e-mail addresses that you have already."
    fields = ("email",)
    config_schema: dict[str, Any] = {
        "verifier": {"type": "choice", "of": VERIFIERS, "default": "zerobounce"},
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
        return [("verify", config["verifier"])]

    def clean_record(self, raw: Mapping[str, Any]) -> tuple[dict[str, str], list[Fault]]:
        values, faults = contacts.clean_verify_contact(raw)
        return values, [Fault(fault.field, fault.code, fault.message) for fault in faults]

    def advance(
        self, config: Mapping[str, Any], record: Mapping[str, str], taken: Sequence[Taken]
    ) -> Ask | Final:
        if not taken:
            return Ask("verify", config["verifier"], {"email": record["email"]})
        last = taken[-1]
        if stop := vendor_failed(last, config):
            return stop
        if last.came_to_nothing:
            return Final("failed", error=out_of_service([last.provider]))
        status = last.answer.get("email_status") or "unknown"
        output = {
            "email": record["email"],
            "email_status": status,
            "found_by": None,
            "verified_by": last.provider,
        }
        return Final("found" if status in config["accept"] else "not_found", output)

    def give_up(self, taken: Sequence[Taken]) -> dict[str, Any] | None:
        return None
