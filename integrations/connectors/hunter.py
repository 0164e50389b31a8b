"""Hunter: email-finder and email-verifier of its API v2. Facts: hunter.io/api-documentation/v2, late 2026."""

from typing import Any

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
from integrations.connectors.identity import fingerprint, is_address, profile_slug, read_address, read_person
from integrations.connectors.reading import (
    balance_left,
    balance_of,
    by_status,
    json_object,
    rate_limited,
    thousandths,
    unreadable,
)
from integrations.outcomes import Done, Fail, Miss, Outcome, Retry

FIND_CREDIT, VERIFY_CREDIT = 1000, 500
FINDER_STATUSES = {"valid": "valid", "accept_all": "catch_all", "invalid": "invalid", "unknown": "unknown"}
VERIFIER_STATUSES = {
    "valid": "valid",
    "invalid": "invalid",
    "accept_all": "catch_all",
    "webmail": "unverified",
    "disposable": "do_not_mail",
    "unknown": "unknown",
}
STILL_RUNNING_SECONDS = 5.0
SMTP_FAULT_SECONDS = 120.0
SLOW_DOWN_SECONDS = 60.0
SLOW_DOWN_WORDS = ("rate limit", "per second", "per minute", "slow down")


class Hunter(Connector):
    """403 is the rate limit and 429 the used-up allowance, the reverse of the custom.

    Credits are those of the all-in-one plans: 1 for a found address, 0.5 for a verification, nothing for nothing.
    A repeat within the billing month is free.
    """

    provider = "hunter"
    title = "Hunter"
    base_url = "https://api.hunter.io"
    operations = frozenset({FIND, VERIFY})
    windows = (Window(15, 1, FIND), Window(500, 60, FIND), Window(10, 1, VERIFY), Window(300, 60, VERIFY))
    parallelism = 30
    timeout = 30.0
    repeat_is_free = True

    def worst_credits(self, operation: Operation) -> int:
        return VERIFY_CREDIT if operation == VERIFY else FIND_CREDIT

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
        headers = {"X-API-KEY": secret}
        if operation == VERIFY:
            params = {"email": read_address(query)}
            return VendorRequest("GET", "/v2/email-verifier", headers=headers, params=params)
        return VendorRequest("GET", "/v2/email-finder", headers=headers, params=_finder_params(query))

    def interpret(self, operation: Operation, response: VendorResponse) -> Outcome | Clarify:
        match response.status:
            case 200:
                return _verdict(response) if operation == VERIFY else _found(response)
            case 202:
                return Retry("error", "the verification is still running", STILL_RUNNING_SECONDS)
            case 222:
                return Retry("error", "the mail server answered unexpectedly", SMTP_FAULT_SECONDS)
            case 404:
                return Miss()
            case 403:
                return rate_limited(response)
            case 429:
                return _allowance(response)
            case 451:
                return Fail("suppressed", "the person asked not to be processed")
            case 400 | 422:
                return _invalid(response)
            case _:
                return by_status(response)

    def balance_request(self, secret: str) -> VendorRequest:
        return VendorRequest("GET", "/v2/account", headers={"X-API-KEY": secret})

    def interpret_balance(self, response: VendorResponse) -> Balance:
        """Allowance less use; how the vendor nests the two differs by plan, so a missing figure is no fault."""
        if response.status == 403:
            return balance_of(rate_limited(response))
        if response.status == 429:
            return balance_of(_allowance(response))
        body = json_object(response)
        data = body.get("data") if body else None
        if response.status != 200 or not isinstance(data, dict):
            return balance_of(by_status(response))
        requests = data.get("requests")
        for pool in ("credits", "searches"):
            counts = requests.get(pool) if isinstance(requests, dict) else None
            if isinstance(counts, dict):
                used, available = thousandths(counts.get("used")), thousandths(counts.get("available"))
                if used is not None and available is not None:
                    return balance_left(available - used)
        return Balance()


def _finder_params(query: Query) -> dict[str, str]:
    person = read_person(query)
    if not (person.name and person.place):
        return {"linkedin_handle": profile_slug(query.get("linkedin_url"))}
    params = {"domain": person.domain} if person.domain else {"company": person.company}
    if person.first:
        return params | {"first_name": person.first, "last_name": person.last}
    return params | {"full_name": person.full}


def _data(response: VendorResponse) -> dict[str, Any] | None:
    body = json_object(response)
    data = body.get("data") if body else None
    return data if isinstance(data, dict) else None


def _found(response: VendorResponse) -> Outcome:
    data = _data(response)
    if data is None:
        return unreadable(response)
    address, verification = data.get("email"), data.get("verification")
    if address is None or address == "":
        return Miss()
    if not is_address(address) or not isinstance(verification, dict | None):
        return unreadable(response)
    status = verification.get("status") if verification else None
    if not isinstance(status, str | None):
        return unreadable(response)
    answer = {"email": address, "email_status": FINDER_STATUSES.get(status or "", "unverified")}
    return Done(answer, FIND_CREDIT)


def _verdict(response: VendorResponse) -> Outcome:
    data = _data(response)
    if data is None:
        return unreadable(response)
    address, status = data.get("email"), data.get("status")
    if not isinstance(address, str) or not isinstance(status, str):
        return unreadable(response)
    answer = {
        "email": address,
        "email_status": VERIFIER_STATUSES.get(status, "unknown"),
        "sub_status": status if status in ("webmail", "disposable") else "",
    }
    return Done(answer, 0 if status == "unknown" else VERIFY_CREDIT)


def _errors(response: VendorResponse) -> list[dict[str, Any]]:
    body = json_object(response)
    errors = body.get("errors") if body else None
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def _invalid(response: VendorResponse) -> Outcome:
    if not _errors(response):
        return unreadable(response)
    return Fail("invalid", "the vendor refused the input")


def _allowance(response: VendorResponse) -> Outcome:
    """The plan's allowance is used up, unless the vendor's words plainly speak of the rate."""
    for error in _errors(response):
        words = f"{error.get('id')} {error.get('details')}".lower().replace("_", " ")
        if any(word in words for word in SLOW_DOWN_WORDS):
            return rate_limited(response, SLOW_DOWN_SECONDS)
    return Fail("no_credits", "the plan's allowance is used up")
