"""Hunter's email-finder, email-verifier and account.

Beside the people, some words bring out its rarer answers: "claimed" in a name or address a person who objected,
"no-mx" in a domain one without mail, "slowcheck" and "smtpfault" in an address the verifier's 202 (twice) and 222.
"""

from typing import Any

from integrations.sandbox.accounts import Account, Terms
from integrations.sandbox.limits import Window
from integrations.sandbox.people import (
    Person,
    Verdict,
    address_of,
    found_by,
    host,
    plain,
    profile,
    verdict_of,
)
from integrations.sandbox.vendors.base import Ask, Incoming, Reply, Vendor, reply, words

SHARE = 0.45
FIND_CREDIT, VERIFY_CREDIT = 1000, 500
WEBMAIL = ("gmail.com", "yahoo.com", "outlook.com", "hotmail.com")
PATHS = {"/v2/email-finder": "find", "/v2/email-verifier": "verify", "/v2/account": "balance"}


class Hunter(Vendor):
    """Over the rate it answers 403; 429 means that the plan's allowance is used up."""

    name = "hunter"
    terms = Terms(
        windows=(
            Window(15, 1, "find"),
            Window(500, 60, "find"),
            Window(10, 1, "verify"),
            Window(300, 60, "verify"),
        )
    )
    median_seconds = 0.35

    def read(self, incoming: Incoming) -> Ask | Reply:
        operation = PATHS.get(incoming.path)
        if operation is None:
            return _error(404, "not_found", "This resource does not exist.", "error")
        if incoming.method != "GET":
            return _error(405, "method_not_allowed", "Use GET.", "error")
        query = dict(incoming.query)
        return Ask(operation, _key(incoming), query, _person(operation, query))

    def answer(self, ask: Ask, account: Account) -> Reply:
        if ask.operation == "balance":
            return _account(account)
        query = ask.data or {}
        problem = _verifier_problem(query) if ask.operation == "verify" else _finder_problem(query)
        if problem is not None:
            return problem
        if not account.can_pay(VERIFY_CREDIT if ask.operation == "verify" else FIND_CREDIT):
            return self.no_credits(ask)
        if ask.operation == "verify":
            return _verified(ask, query, account)
        return _found(ask, query, account)

    def bad_key(self, ask: Ask) -> Reply:
        return _error(401, "authentication_failed", "No user found for the API key supplied", "auth_failed")

    def no_credits(self, ask: Ask) -> Reply:
        details = "You have reached the usage allowance of your plan for this billing period."
        return _error(429, "usage_exceeded", details, "no_credits")

    def over_limit(self, ask: Ask) -> Reply:
        return _error(
            403, "too_many_requests", "You have reached the rate limit of this endpoint.", "rate_limited"
        )


def _error(status: int, error_id: str, details: str, outcome: str) -> Reply:
    return reply(status, {"errors": [{"id": error_id, "code": status, "details": details}]}, outcome)


def _key(incoming: Incoming) -> str:
    scheme, _, bearer = incoming.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    return incoming.headers.get("X-API-KEY") or incoming.query.get("api_key", "")


def _person(operation: str, query: dict[str, str]) -> Person:
    if operation != "find":
        return Person(plain(query.get("email", "")), "")
    name = f"{words(query.get('first_name'))} {words(query.get('last_name'))}".strip()
    return Person(
        name=plain(name or words(query.get("full_name"))),
        place=host(words(query.get("domain")) or words(query.get("company"))),
        profile=profile(words(query.get("linkedin_handle"))),
    )


def _finder_problem(query: dict[str, str]) -> Reply | None:
    has = {name for name, value in query.items() if words(value)}
    named = {"first_name", "last_name"} <= has or "full_name" in has
    if "linkedin_handle" not in has and not (named and has & {"domain", "company"}):
        return _error(400, "wrong_params", "You are missing a parameter.", "invalid")
    for name in ("first_name", "last_name"):
        if name in has and len(words(query[name]).rstrip(".")) < 2:
            return _error(400, f"invalid_{name}", "The name is a single letter.", "invalid")
    domain = words(query.get("domain"))
    if domain and ("no-mx" in domain or "." not in domain):
        return _error(400, "invalid_domain", "The domain cannot receive emails.", "invalid")
    if any("claimed" in words(query.get(name)).lower() for name in ("last_name", "full_name")):
        return _error(451, "claimed_email", "The person asked us not to process their data.", "suppressed")
    return None


def _verifier_problem(query: dict[str, str]) -> Reply | None:
    address = words(query.get("email"))
    if not address:
        return _error(400, "wrong_params", "You are missing the email parameter.", "invalid")
    local, _, domain = address.rpartition("@")
    if not local or "." not in domain:
        return _error(400, "invalid_email", "The email is invalid.", "invalid")
    if "claimed" in local.lower():
        return _error(451, "claimed_email", "The person asked us not to process their data.", "suppressed")
    return None


def _found(ask: Ask, query: dict[str, str], account: Account) -> Reply:
    first, _, last = ask.person.name.title().partition(" ")
    data: dict[str, Any] = {
        "first_name": first or None,
        "last_name": last or None,
        "email": None,
        "score": None,
        "domain": query.get("domain"),
        "accept_all": None,
        "position": None,
        "twitter": None,
        "linkedin_url": None,
        "phone_number": None,
        "company": query.get("company"),
        "sources": [],
        "verification": {"date": None, "status": None},
    }
    found = found_by("hunter", SHARE, ask.person)
    cost = 0
    if found:
        address = address_of(ask.person)
        verdict = verdict_of(address).status
        status = {"valid": "valid", "catch-all": "accept_all"}.get(verdict, "unknown")
        data |= {
            "email": address,
            "score": 97 if status == "valid" else 72,
            "domain": address.rpartition("@")[2],
            "accept_all": status == "accept_all",
            "verification": {"date": "2026-10-01", "status": status},
        }
        again = account.times_asked(f"find {ask.person.identity}") > 0
        cost = 0 if again else account.pay(FIND_CREDIT)
    return reply(200, {"data": data, "meta": {"params": _params(query)}}, "hit" if found else "miss", cost)


def _verified(ask: Ask, query: dict[str, str], account: Account) -> Reply:
    address = words(query["email"])
    local, _, domain = address.lower().rpartition("@")
    if "smtpfault" in local:
        return reply(222, {"meta": {"params": _params(query)}}, "error")
    if "slowcheck" in local and account.times_asked(f"slow {address}") < 2:
        return Reply(202, b"", "error")
    verdict = verdict_of(address)
    status = _status(verdict, domain)
    cost = 0
    if status != "unknown":
        again = account.times_asked(f"verify {address}") > 0
        cost = 0 if again else account.pay(VERIFY_CREDIT)
    data = {
        "status": status,
        "result": {"valid": "deliverable", "invalid": "undeliverable"}.get(status, "risky"),
        "score": {"valid": 100, "invalid": 0}.get(status, 50),
        "email": address,
        "regexp": True,
        "gibberish": False,
        "disposable": status == "disposable",
        "webmail": status == "webmail",
        "mx_records": True,
        "smtp_server": True,
        "smtp_check": status == "valid",
        "accept_all": status == "accept_all",
        "block": False,
        "sources": [],
    }
    return reply(200, {"data": data, "meta": {"params": _params(query)}}, "hit", cost)


def _status(verdict: Verdict, domain: str) -> str:
    if domain in WEBMAIL:
        return "webmail"
    if verdict.status == "do_not_mail":
        return "disposable"
    return {"valid": "valid", "catch-all": "accept_all", "invalid": "invalid"}.get(verdict.status, "unknown")


def _params(query: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if name != "api_key"}


def _account(account: Account) -> Reply:
    left = account.pools[""] / 1000
    used = account.sums.credits / 1000
    counts = {"used": used, "available": left + used}
    data = {
        "first_name": "Sandbox",
        "last_name": "Customer",
        "email": "customer@sandbox.example",
        "plan_name": "Scale",
        "plan_level": 3,
        "reset_date": "2026-12-01",
        "team_id": 1,
        "requests": {"credits": counts, "searches": counts, "verifications": counts},
    }
    return reply(200, {"data": data}, "balance")
