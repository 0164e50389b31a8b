"""Prospeo's enrich-person, bulk-enrich-person and account-information."""

from math import ceil
from typing import Any

import orjson

from integrations.sandbox.accounts import Account, Terms
from integrations.sandbox.limits import Window
from integrations.sandbox.people import Person, address_of, digest, found_by, host, plain, profile, verdict_of
from integrations.sandbox.vendors.base import Ask, Incoming, Reply, Vendor, reply, words

SHARE = 0.50
CREDIT = 1000
MOST = 50
TOLD_WINDOWS = {1.0: "second", 60.0: "minute", 86_400.0: "daily"}
FIELDS = (
    "first_name",
    "last_name",
    "full_name",
    "linkedin_url",
    "email",
    "company_name",
    "company_website",
    "company_linkedin_url",
    "person_id",
)


class Prospeo(Vendor):
    name = "prospeo"
    terms = Terms(windows=(Window(30, 1), Window(1_800, 60), Window(500_000, 86_400)))
    median_seconds = 0.4

    def read(self, incoming: Incoming) -> Ask | Reply:
        key = incoming.headers.get("X-KEY", "")
        if incoming.path == "/account-information" and incoming.method in ("GET", "POST"):
            return Ask("balance", key, {})
        if incoming.path not in ("/enrich-person", "/bulk-enrich-person"):
            return Reply(404, b"Not Found", "error", content_type="text/plain")
        if incoming.method != "POST":
            return Reply(405, b"Method Not Allowed", "error", content_type="text/plain")
        body = incoming.json() if "json" in incoming.headers.get("Content-Type", "") else None
        if incoming.path == "/bulk-enrich-person":
            each = [Ask("find", key, data, _person(data)) for data in _several(body)]
            return Ask("find", key, body, each=each) if each else Ask("find", key, None)
        if body is None or not _well_typed(body):
            return Ask("find", key, None)
        return Ask("find", key, body, _person(body["data"]))

    def answer(self, ask: Ask, account: Account) -> Reply:
        if ask.operation == "balance":
            return _account(account)
        if ask.data is None:
            return _error(400, "INVALID_REQUEST", "invalid")
        if not account.can_pay(CREDIT * len(ask.each or [ask])):
            return self.no_credits(ask)
        only_verified = ask.data.get("only_verified_email") is True
        if ask.each is not None:
            return self._bulk(ask.each, account, only_verified=only_verified)
        if not _enough(ask.data["data"]):
            return _error(400, "INVALID_DATAPOINTS", "invalid")
        outcome, cost, found = self._look_up(ask.person, account, only_verified=only_verified)
        if found is None:
            return _error(400, "NO_MATCH", "miss")
        return reply(200, {"error": False, "free_enrichment": cost == 0, **found}, outcome, cost)

    def _look_up(
        self, person: Person, account: Account, *, only_verified: bool
    ) -> tuple[str, int, dict[str, Any] | None]:
        """The journal's word, the cost, and the objects that the answer has; None: no match."""
        verified = found_by(self.name, SHARE, person)
        known_without_address = not verified and digest("prospeo knows", person.identity) % 2 == 0
        if not verified and (only_verified or not known_without_address):
            return "miss", 0, None
        free = account.times_asked(f"person {person.identity}") > 0
        cost = 0 if free else account.pay(CREDIT)
        found = {"person": _person_object(person, verified), "company": _company_object(person)}
        return "hit" if verified else "miss", cost, found

    def _bulk(self, asks: list[Ask], account: Account, *, only_verified: bool) -> Reply:
        body: dict[str, Any] = {"matched": [], "not_matched": [], "invalid_datapoints": []}
        each: list[tuple[str, int]] = []
        for ask in asks:
            assert ask.data is not None
            name = ask.data["identifier"]
            if not _enough(ask.data):
                body["invalid_datapoints"].append(name)
                each.append(("invalid", 0))
                continue
            outcome, cost, found = self._look_up(ask.person, account, only_verified=only_verified)
            each.append((outcome, cost))
            if found is None:
                body["not_matched"].append(name)
            else:
                body["matched"].append({"identifier": name, **found})
        total = sum(cost for _, cost in each)
        body = {"error": False, "total_cost": total // 1000, **body}
        return Reply(200, orjson.dumps(body), "hit", total, each=each)

    def bad_key(self, ask: Ask) -> Reply:
        return _error(401, "INVALID_API_KEY", "auth_failed")

    def no_credits(self, ask: Ask) -> Reply:
        return _error(400, "INSUFFICIENT_CREDITS", "no_credits")

    def over_limit(self, ask: Ask) -> Reply:
        return _error(429, "RATE_LIMITED", "rate_limited")

    def extra_headers(self, account: Account, now: float) -> dict[str, str]:
        told = {}
        for counter in account.gate.counters:
            name = TOLD_WINDOWS.get(counter.window.period)
            if name is None:
                continue
            told[f"x-{name}-rate-limit"] = str(counter.window.rate)
            if name != "second":
                told[f"x-{name}-request-left"] = str(counter.left(now))
                told[f"x-{name}-reset-seconds"] = str(ceil(counter.reset_after(now)))
        return told


def _error(status: int, code: str, outcome: str) -> Reply:
    return reply(status, {"error": True, "error_code": code}, outcome)


def _well_typed(body: dict[str, Any]) -> bool:
    data = body.get("data")
    if not isinstance(data, dict) or not isinstance(body.get("only_verified_email", False), bool):
        return False
    return all(isinstance(data.get(field, ""), str | None) for field in FIELDS)


def _several(body: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The people of a call for several; none where the vendor would refuse it."""
    rows = body.get("data") if body is not None else None
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST or body is None:
        return []
    for row in rows:
        name = row.get("identifier") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name.isalnum() or not _well_typed({**body, "data": row}):
            return []
    return rows


def _person(data: dict[str, Any]) -> Person:
    name = f"{words(data.get('first_name'))} {words(data.get('last_name'))}".strip()
    place = words(data.get("company_website")) or words(data.get("company_name"))
    return Person(
        name=plain(name or words(data.get("full_name"))),
        place=host(place),
        profile=profile(words(data.get("linkedin_url"))),
    )


def _enough(data: dict[str, Any]) -> bool:
    if any(words(data.get(field)) for field in ("linkedin_url", "email", "person_id")):
        return True
    named = words(data.get("full_name")) or (words(data.get("first_name")) and words(data.get("last_name")))
    company = ("company_name", "company_website", "company_linkedin_url")
    return bool(named) and any(words(data.get(field)) for field in company)


def _person_object(person: Person, verified: bool) -> dict[str, Any]:
    address = address_of(person)
    catch_all = verdict_of(address).status == "catch-all"
    first, _, last = person.name.title().partition(" ")
    local, _, domain = address.partition("@")
    email = {
        "status": "VERIFIED" if verified else "UNAVAILABLE",
        "revealed": verified,
        "email": address if verified else f"{local[0]}***@{domain}",
        "verification_method": "BOUNCEBAN" if catch_all else "SMTP",
        "email_mx_provider": "Google",
    }
    return {
        "person_id": f"{digest('person', person.identity):016x}",
        "first_name": first or None,
        "last_name": last or None,
        "full_name": person.name.title() or None,
        "linkedin_url": f"https://www.linkedin.com/in/{person.profile}" if person.profile else None,
        "current_job_title": None,
        "current_job_key": None,
        "headline": None,
        "linkedin_member_id": None,
        "last_job_change_detected_at": None,
        "job_history": [],
        "skills": [],
        "email": email,
        "mobile": None,
        "location": None,
    }


def _company_object(person: Person) -> dict[str, Any] | None:
    if not person.place:
        return None
    domain = person.place if "." in person.place else None
    return {
        "company_id": f"{digest('company', person.place):016x}",
        "name": person.place.split(".")[0].title(),
        "website": f"https://{domain}" if domain else None,
        "domain": domain,
    }


def _account(account: Account) -> Reply:
    left = account.pools[""] // 1000
    body = {
        "current_plan": "PRO",
        "current_team_members": 1,
        "remaining_credits": left,
        "used_credits": account.sums.credits // 1000,
        "next_quota_renewal_days": 25,
        "next_quota_renewal_date": "2026-12-18 20:52:28+00:00",
    }
    return reply(200, {"error": False, "response": body}, "balance")
