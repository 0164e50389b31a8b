"""How each status looks: an icon, a word and a colour, never colour alone."""

from typing import NamedTuple


class Shown(NamedTuple):
    word: str
    tone: str
    icon: str


_SHOWN = {
    # runs and records
    "queued": Shown("Queued", "grey", "clock"),
    "running": Shown("Running", "blue", "play"),
    "paused": Shown("Paused", "amber", "pause"),
    "completed": Shown("Completed", "green", "check"),
    "failed": Shown("Failed", "red", "alert"),
    "cancelled": Shown("Cancelled", "grey", "x"),
    "found": Shown("Found", "green", "check"),
    "not_found": Shown("Not found", "grey", "minus"),
    "done": Shown("Done", "green", "check"),
    "skipped": Shown("Skipped", "grey", "skip"),
    # steps
    "waiting": Shown("Waiting", "grey", "clock"),
    "dead": Shown("Gave up", "red", "alert"),
    "ambiguous": Shown("Outcome unknown", "amber", "alert"),
    "late": Shown("Came late", "amber", "clock"),
    "hit": Shown("Hit", "green", "check"),
    "miss": Shown("Miss", "grey", "minus"),
    "cached": Shown("Known already", "blue", "check"),
    "invalid": Shown("Not accepted", "amber", "alert"),
    "error": Shown("Vendor error", "red", "alert"),
    "timeout": Shown("No answer in time", "amber", "clock"),
    "rate_limited": Shown("Rate limited", "amber", "clock"),
    "suppressed": Shown("Suppressed", "grey", "skip"),
    # webhooks
    "delivered": Shown("Delivered", "green", "check"),
    "exhausted": Shown("Gave up", "red", "alert"),
    "held": Shown("Held back", "amber", "pause"),
    "failing": Shown("Failing", "amber", "alert"),
    # tenants
    "closing": Shown("Being deleted", "red", "x"),
    # connections
    "ok": Shown("Working", "green", "check"),
    "auth_failed": Shown("Key refused", "red", "alert"),
    "no_credits": Shown("Out of credits", "red", "alert"),
    "degraded": Shown("Degraded", "amber", "alert"),
    "reauth_needed": Shown("Sign in again", "red", "alert"),
    "open": Shown("Resting", "amber", "pause"),
    "half_open": Shown("Testing", "amber", "clock"),
    "missing": Shown("Not connected", "grey", "minus"),
    # workflows, keys
    "enabled": Shown("On", "green", "check"),
    "disabled": Shown("Off", "grey", "minus"),
    "sandbox": Shown("Sandbox", "amber", "sandbox"),
    "live": Shown("Live", "green", "check"),
    "expired": Shown("Expired", "grey", "clock"),
    # e-mail addresses
    "valid": Shown("Valid", "green", "check"),
    "catch_all": Shown("Catch-all", "amber", "info"),
    "unknown": Shown("Unknown", "amber", "info"),
    "abuse": Shown("Complains often", "red", "alert"),
    "do_not_mail": Shown("Do not mail", "red", "alert"),
    "spamtrap": Shown("Spam trap", "red", "alert"),
    "unverified": Shown("Not verified", "grey", "info"),
}


def shown(status: str) -> Shown:
    """The looks of a status; one that has none of its own is shown by its name."""
    return _SHOWN.get(status) or Shown(status.replace("_", " ").capitalize() or "Unknown", "grey", "info")
