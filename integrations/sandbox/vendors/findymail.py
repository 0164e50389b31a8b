"""Findymail's search by name and by profile, verify and credits."""

from typing import Any

from integrations.sandbox.accounts import Account, Terms
from integrations.sandbox.people import (
    Person,
    address_of,
    found_by,
    fraction,
    host,
    plain,
    profile,
    verdict_of,
)
from integrations.sandbox.vendors.base import Ask, Incoming, Reply, Vendor, reply, words

SHARE = 0.60
CREDIT = 1000
FINDER, VERIFIER = "finder", "verifier"
PROFILE = "profile"
PROFILE_PATHS = ("/api/search/business-profile", "/api/search/linkedin")
NEEDED = {"/api/search/name": ("name", "domain"), "/api/verify": ("email",)} | dict.fromkeys(
    PROFILE_PATHS, ("linkedin_url",)
)


class Findymail(Vendor):
    """Limits calls in flight alone. How a miss looks is not documented, so it has every look that clients report."""

    name = "findymail"
    terms = Terms(parallelism=300, group_parallelism={PROFILE: 30}, pools=(FINDER, VERIFIER))
    median_seconds = 0.9

    def read(self, incoming: Incoming) -> Ask | Reply:
        scheme, _, key = incoming.headers.get("Authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        if "json" not in incoming.headers.get("Accept", ""):
            return Reply(302, b"", "error", headers={"Location": "/login"}, content_type="text/html")
        if incoming.path == "/api/credits" and incoming.method == "GET":
            return Ask("balance", key, {})
        needed = NEEDED.get(incoming.path)
        if needed is None:
            return reply(404, {"message": "The route could not be found."}, "error")
        if incoming.method != "POST":
            return reply(405, {"message": "The method is not supported for this route."}, "error")
        body = incoming.json()
        operation = "verify" if incoming.path == "/api/verify" else "find"
        group = PROFILE if incoming.path in PROFILE_PATHS else ""
        if body is None:
            return Ask(operation, key, {"missing": list(needed)}, group=group)
        missing = [name for name in needed if not words(body.get(name))]
        if missing:
            return Ask(operation, key, {"missing": missing}, group=group)
        return Ask(operation, key, body, _person(body), group)

    def answer(self, ask: Ask, account: Account) -> Reply:
        if ask.operation == "balance":
            finder, verifier = account.pools[FINDER] // 1000, account.pools[VERIFIER] // 1000
            return reply(200, {"credits": finder, "verifier_credits": verifier}, "balance")
        data = ask.data or {}
        if "missing" in data:
            errors = {name: [f"The {name} field is required."] for name in data["missing"]}
            return reply(422, {"message": "The given data was invalid.", "errors": errors}, "invalid")
        pool = VERIFIER if ask.operation == "verify" else FINDER
        if not account.can_pay(CREDIT, pool):
            return self.no_credits(ask)
        if ask.operation == "verify":
            return _verified(words(data["email"]), account.pay(CREDIT, VERIFIER))
        if not found_by(self.name, SHARE, ask.person):
            return _miss(ask.person)
        address = address_of(ask.person)
        contact = {
            "name": ask.person.name.title(),
            "email": address,
            "domain": address.rpartition("@")[2],
        }
        return reply(200, {"contact": contact}, "hit", account.pay(CREDIT, FINDER))

    def bad_key(self, ask: Ask) -> Reply:
        return reply(401, {"message": "Unauthenticated."}, "auth_failed")

    def no_credits(self, ask: Ask) -> Reply:
        return reply(402, {"error": "Not enough credits"}, "no_credits")

    def over_limit(self, ask: Ask) -> Reply:
        return reply(429, {"message": "Too Many Attempts."}, "rate_limited")


def _person(body: dict[str, Any]) -> Person:
    if "email" in body:
        return Person(plain(words(body["email"])), "")
    return Person(
        name=plain(words(body.get("name"))),
        place=host(words(body.get("domain"))),
        profile=profile(words(body.get("linkedin_url"))),
    )


def _miss(person: Person) -> Reply:
    look = fraction("findymail miss", person.identity)
    if look < 0.85:
        return reply(200, {"contact": None}, "miss")
    if look < 0.95:
        return reply(200, {"contact": {}}, "miss")
    return reply(404, {"message": "Not found."}, "miss")


def _verified(address: str, cost: int) -> Reply:
    verified = verdict_of(address).status == "valid"
    answer = reply(200, {"email": address, "verified": verified, "provider": None}, "hit", cost)
    answer.content_type = "text/plain; charset=UTF-8"
    return answer
