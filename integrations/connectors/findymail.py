"""Findymail: finds by name and domain or by LinkedIn profile, and verifies. Facts: app.findymail.com/docs, late 2026."""

from typing import Any, ClassVar

from integrations.connectors.base import (
    FIND,
    VERIFY,
    Balance,
    Clarify,
    Connector,
    Operation,
    Query,
    VendorRequest,
    VendorResponse,
    Window,
)
from integrations.connectors.identity import fingerprint, is_address, read_address, read_person
from integrations.connectors.reading import (
    balance_of,
    by_status,
    json_body,
    json_object,
    thousandths,
    unreadable,
)
from integrations.outcomes import Done, Fail, Miss, Outcome

CREDIT = 1000


class Findymail(Connector):
    """The vendor limits calls in flight, not calls a second: 300 in all, 30 for look-ups by profile.

    It has no idempotency key and is presumed to charge again for a repeat. What it finds, it promises is verified.
    """

    provider = "findymail"
    title = "Findymail"
    base_url = "https://app.findymail.com"
    operations = frozenset({FIND, VERIFY})
    windows: ClassVar[tuple[Window, ...]] = ()
    # The lower of the two caps: a lane cannot tell beforehand which of its records carry only a profile.
    parallelism = 30
    timeout = 60.0
    repeat_is_free = False

    def worst_credits(self, operation: Operation) -> int:
        return CREDIT

    def fingerprint(self, operation: Operation, query: Query) -> str:
        if operation == VERIFY:
            return fingerprint(operation, read_address(query))
        person = read_person(query)
        if person.name and person.place:
            return fingerprint(operation, person.name, person.place)
        return fingerprint(operation, person.linkedin)

    def can_ask(self, operation: Operation, query: Query) -> bool:
        if operation == VERIFY:
            return is_address(read_address(query))
        person = read_person(query)
        return bool((person.name and person.place) or person.linkedin)

    def request(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        if operation == VERIFY:
            return _post("/api/verify", secret, {"email": read_address(query)})
        person = read_person(query)
        if person.name and person.place:
            return _post("/api/search/name", secret, {"name": person.name, "domain": person.place})
        return _post("/api/search/business-profile", secret, {"linkedin_url": person.linkedin})

    def interpret(self, operation: Operation, response: VendorResponse) -> Outcome | Clarify:
        match response.status:
            case 200:
                return _verdict(response) if operation == VERIFY else _found(response)
            case 404 if operation == FIND:
                return Miss()
            case 400 | 422:
                return Fail("invalid", "the vendor refused the input")
            case 423:
                return Fail("auth_failed", "the subscription is paused")
            case _:
                return by_status(response)

    def balance_request(self, secret: str) -> VendorRequest:
        return VendorRequest("GET", "/api/credits", headers=_headers(secret))

    def interpret_balance(self, response: VendorResponse) -> Balance:
        """Two pools that do not mix; the finder's is shown, and only two empty ones are reported as empty."""
        if response.status == 423:
            return Balance(ok=False, kind="auth_failed", reason="the subscription is paused")
        body = json_object(response)
        if response.status != 200 or body is None:
            return balance_of(by_status(response))
        finder, verifier = thousandths(body.get("credits")), thousandths(body.get("verifier_credits", 0))
        if finder is None or verifier is None:
            return balance_of(unreadable(response))
        if finder <= 0 and verifier <= 0:
            return Balance(credits=finder, ok=False, kind="no_credits", reason="out of credits")
        return Balance(credits=finder)


def _headers(secret: str) -> dict[str, str]:
    # Without Accept the vendor may answer a bad token with a page or a redirect.
    return {
        "Authorization": f"Bearer {secret}",
        "Content-Type": "application/json",
        "Accept": "application/json",
    }


def _post(path: str, secret: str, body: dict[str, str]) -> VendorRequest:
    return VendorRequest("POST", path, headers=_headers(secret), json=body)


def _found(response: VendorResponse) -> Outcome:
    """How a miss looks is not documented: no contact, an empty one, or one without an address all mean it."""
    body = json_object(response)
    if body is None:
        return unreadable(response)
    contact: Any = body
    if "contact" in body:
        contact = body["contact"]
    elif "payload" in body:
        contact = body["payload"].get("contact") if isinstance(body["payload"], dict) else body["payload"]
    elif body.keys() & {"error", "message", "errors"}:
        return unreadable(response)
    if contact is None or contact == [] or contact == {}:
        return Miss()
    if not isinstance(contact, dict):
        return unreadable(response)
    address = contact.get("email")
    if address is None or address == "":
        return Miss()
    if not is_address(address):
        return unreadable(response)
    return Done({"email": address, "email_status": "valid"}, CREDIT)


def _verdict(response: VendorResponse) -> Outcome:
    """`verified: false` covers dead and uncheckable addresses alike, so it is "unverified", never "invalid"."""
    body = json_body(response)
    if not isinstance(body, dict):
        return unreadable(response)
    address, verified = body.get("email"), body.get("verified")
    if not is_address(address) or not isinstance(verified, bool):
        return unreadable(response)
    status = "valid" if verified else "unverified"
    return Done({"email": address, "email_status": status, "sub_status": ""}, CREDIT)
