"""ZeroBounce's validate and getcredits."""

from datetime import UTC, datetime
from typing import Any

from integrations.sandbox.accounts import Account, Terms
from integrations.sandbox.limits import Window
from integrations.sandbox.people import Person, Verdict, plain, verdict_of
from integrations.sandbox.vendors.base import Ask, Incoming, Reply, Vendor, reply

CREDIT = 1000
BAD_OR_EMPTY = "Invalid API key or your account ran out of credits"
FREE_MAIL = ("gmail.com", "yahoo.com", "outlook.com", "hotmail.com")

SAME_WORD = {
    "invalid": (
        "mailbox_not_found",
        "does_not_accept_mail",
        "failed_syntax_check",
        "no_dns_entries",
        "possible_typo",
        "mailbox_quota_exceeded",
        "unroutable_ip_address",
    ),
    "unknown": (
        "mail_server_temporary_error",
        "antispam_system",
        "exception_occurred",
        "failed_smtp_connection",
        "forcible_disconnect",
        "greylisted",
        "mail_server_did_not_respond",
        "timeout_exceeded",
    ),
    "do_not_mail": (
        "disposable",
        "toxic",
        "global_suppression",
        "possible_trap",
        "role_based",
        "role_based_catch_all",
    ),
}
DOCUMENTED = {
    "valid": Verdict("valid"),
    "free_email": Verdict("valid"),
    "leading_period_removed": Verdict("valid", "leading_period_removed"),
    "invalid": Verdict("invalid", "mailbox_not_found"),
    "catch_all": Verdict("catch-all"),
    "unknown": Verdict("unknown", "mail_server_temporary_error"),
    "spamtrap": Verdict("spamtrap"),
    "abuse": Verdict("abuse"),
    "donotmail": Verdict("do_not_mail", "role_based"),
} | {word: Verdict(status, word) for status, group in SAME_WORD.items() for word in group}


class ZeroBounce(Vendor):
    """Breaking the volume rule shuts a key out for a minute, 200 calls with a bad key in an hour for an hour."""

    name = "zerobounce"
    terms = Terms(windows=(Window(80_000, 10, block=60),))
    median_seconds = 0.5
    bad_calls_an_hour = 200

    def read(self, incoming: Incoming) -> Ask | Reply:
        if incoming.method != "GET":
            return Reply(405, b"Method Not Allowed", "error", content_type="text/plain")
        key = incoming.query.get("api_key", "")
        if incoming.path == "/v2/getcredits":
            return Ask("balance", key, {})
        if incoming.path != "/v2/validate":
            return Reply(404, b"Not Found", "error", content_type="text/plain")
        address = incoming.query.get("email", "").strip()
        data = {"email": address} if address else None
        return Ask("verify", key, data, Person(plain(address), ""))

    def answer(self, ask: Ask, account: Account) -> Reply:
        if ask.operation == "balance":
            struck, account.struck = account.struck, ""
            left = {"bad_key": -1, "no_credits": 0}.get(struck, account.pools[""] // 1000)
            return reply(200, {"Credits": str(left)}, "balance")
        if ask.data is None:
            return reply(400, {"error": "Missing parameter: email"}, "invalid")
        if not account.can_pay(CREDIT):
            return self.no_credits(ask)
        address = ask.data["email"]
        local, _, domain = address.lower().rpartition("@")
        documented = DOCUMENTED.get(local) if domain == "example.com" else None
        verdict = documented or _judged(local, domain, address)
        free = documented is not None or verdict.status == "unknown"
        cost = 0 if free else account.pay(CREDIT)
        return reply(200, _result(address, local, domain, verdict), "hit", cost)

    def bad_key(self, ask: Ask) -> Reply:
        if ask.operation == "balance":
            return reply(200, {"Credits": "-1"}, "balance")
        return reply(200, {"error": BAD_OR_EMPTY}, "auth_failed")

    def no_credits(self, ask: Ask) -> Reply:
        return reply(200, {"error": BAD_OR_EMPTY}, "no_credits")

    def over_limit(self, ask: Ask) -> Reply:
        return reply(429, {"error": "Too many requests. You are temporarily blocked."}, "rate_limited")


def _judged(local: str, domain: str, address: str) -> Verdict:
    if not local or "." not in domain or " " in address:
        return Verdict("invalid", "failed_syntax_check")
    return verdict_of(address)


def _result(address: str, local: str, domain: str, verdict: Verdict) -> dict[str, Any]:
    reachable = verdict.sub_status not in ("no_dns_entries", "failed_syntax_check")
    return {
        "address": address,
        "status": verdict.status,
        "sub_status": verdict.sub_status,
        "free_email": domain in FREE_MAIL or address.lower() == "free_email@example.com",
        "did_you_mean": None,
        "account": local,
        "domain": domain,
        "domain_age_days": "9692" if reachable else None,
        "active_in_days": None,
        "smtp_provider": "example" if reachable else None,
        "mx_found": "true" if reachable else "false",
        "mx_record": f"mx.{domain}" if reachable else None,
        "firstname": None,
        "lastname": None,
        "gender": None,
        "country": None,
        "region": None,
        "city": None,
        "zipcode": None,
        "processed_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
    }
