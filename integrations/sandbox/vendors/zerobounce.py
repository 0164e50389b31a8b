"""ZeroBounce's validate, validatebatch and getcredits."""

from datetime import UTC, datetime
from typing import Any

import orjson

from integrations.sandbox.accounts import Account, Terms
from integrations.sandbox.limits import BULK, Window
from integrations.sandbox.people import Person, Verdict, plain, verdict_of
from integrations.sandbox.vendors.base import Ask, Incoming, Reply, Vendor, reply

CREDIT = 1000
MOST = 100
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
    """Breaking the volume rule shuts a key out for a minute, too many batches for ten, 200 calls with a bad key in an hour
    for an hour."""

    name = "zerobounce"
    terms = Terms(windows=(Window(80_000, 10, block=60), Window(20, 60, BULK, block=600)))
    median_seconds = 0.5
    bad_calls_an_hour = 200

    def read(self, incoming: Incoming) -> Ask | Reply:
        if incoming.path == "/v2/validatebatch" and incoming.method == "POST":
            return _batch(incoming.json())
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
        if not account.can_pay(CREDIT * len(ask.each or [ask])):
            return self.no_credits(ask)
        if ask.each is None:
            cost, result = _validated(ask, account)
            return reply(200, result, "hit", cost)
        told = [_validated(one, account) for one in ask.each]
        body = {"email_batch": [result for _, result in told], "errors": []}
        costs = [cost for cost, _ in told]
        return Reply(200, orjson.dumps(body), "hit", sum(costs), each=[("hit", cost) for cost in costs])

    def bad_key(self, ask: Ask) -> Reply:
        if ask.operation == "balance":
            return reply(200, {"Credits": "-1"}, "balance")
        return _refused(ask, "auth_failed")

    def no_credits(self, ask: Ask) -> Reply:
        return _refused(ask, "no_credits")

    def over_limit(self, ask: Ask) -> Reply:
        return reply(429, {"error": "Too many requests. You are temporarily blocked."}, "rate_limited")


def _batch(body: dict[str, Any] | None) -> Ask:
    """The addresses of a batch; `data` None where the vendor would refuse it."""
    rows = body.get("email_batch") if body is not None else None
    key = str(body.get("api_key") or "") if body is not None else ""
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST:
        return Ask("verify", key, None)
    addresses = [row.get("email_address") if isinstance(row, dict) else None for row in rows]
    if not all(isinstance(address, str) and address.strip() for address in addresses):
        return Ask("verify", key, None)
    each = [
        Ask("verify", key, {"email": address.strip()}, Person(plain(address), ""))
        for address in addresses
        if isinstance(address, str)
    ]
    return Ask("verify", key, body, each=each)


def _refused(ask: Ask, outcome: str) -> Reply:
    if ask.each is None:
        return reply(200, {"error": BAD_OR_EMPTY}, outcome)
    errors = [{"error": BAD_OR_EMPTY, "email_address": "all"}]
    return reply(200, {"email_batch": [], "errors": errors}, outcome)


def _validated(ask: Ask, account: Account) -> tuple[int, dict[str, Any]]:
    """What it costs to validate an address, and the result."""
    assert ask.data is not None
    address = ask.data["email"]
    local, _, domain = address.lower().rpartition("@")
    documented = DOCUMENTED.get(local) if domain == "example.com" else None
    verdict = documented or _judged(local, domain, address)
    free = documented is not None or verdict.status == "unknown"
    return 0 if free else account.pay(CREDIT), _result(address, local, domain, verdict)


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
