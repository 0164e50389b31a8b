"""Prospeo: finds a person's verified address with POST /enrich-person. Facts: prospeo.io/api-docs, late 2026."""

from typing import Any

from integrations.connectors.base import (
    FIND,
    Balance,
    Clarify,
    Connector,
    Operation,
    Query,
    Quota,
    VendorRequest,
    VendorResponse,
    Window,
)
from integrations.connectors.identity import fingerprint, is_address, read_person
from integrations.connectors.reading import (
    balance_left,
    balance_of,
    by_status,
    header_int,
    json_object,
    rate_limited,
    retry_after,
    thousandths,
    unreadable,
)
from integrations.outcomes import Done, Fail, Miss, Outcome, Retry

CREDIT = 1000
DAY, MINUTE = 86_400.0, 60.0
PLANS = {
    "starter": (Window(5, 1), Window(300, MINUTE), Window(2_000, DAY)),
    "growth": (Window(5, 1), Window(300, MINUTE), Window(5_000, DAY)),
    "pro": (Window(30, 1), Window(1_800, MINUTE), Window(500_000, DAY)),
}
HEADER_WINDOWS = (("daily", DAY), ("minute", MINUTE))


class Prospeo(Connector):
    """`only_verified_email` is always sent: without it a person with no usable address costs a credit.

    A repeat of an earlier match is free and marked `free_enrichment`, so a lost answer may be asked for again.
    """

    provider = "prospeo"
    title = "Prospeo"
    base_url = "https://api.prospeo.io"
    operations = frozenset({FIND})
    windows = PLANS["starter"]
    plans = PLANS
    parallelism = 30
    timeout = 30.0
    repeat_is_free = True

    def worst_credits(self, operation: Operation) -> int:
        return CREDIT

    def fingerprint(self, operation: Operation, query: Query) -> str:
        person = read_person(query)
        return fingerprint(operation, person.name, person.place, person.linkedin)

    def can_ask(self, operation: Operation, query: Query) -> bool:
        person = read_person(query)
        return bool(person.linkedin or (person.name and person.place))

    def request(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        person = read_person(query)
        data = {
            "first_name": person.first,
            "last_name": person.last,
            "full_name": "" if person.first else person.full,
            "company_name": person.company,
            "company_website": person.domain,
            "linkedin_url": person.linkedin,
        }
        return VendorRequest(
            "POST",
            "/enrich-person",
            headers=_headers(secret),
            json={"only_verified_email": True, "data": {key: value for key, value in data.items() if value}},
        )

    def interpret(self, operation: Operation, response: VendorResponse) -> Outcome | Clarify:
        body = json_object(response)
        if body is None:
            return by_status(response)
        match body.get("error"):
            case True:
                return _refusal(body, response)
            case False if response.status == 200:
                return _match(body, response)
            case _:
                return by_status(response)

    def quota(self, response: VendorResponse) -> list[Quota]:
        quotas = []
        for word, period in HEADER_WINDOWS:
            left = header_int(response, f"x-{word}-request-left")
            if left is not None:
                quotas.append(Quota(left, _reset(response, word), period))
        return quotas

    def balance_request(self, secret: str) -> VendorRequest:
        return VendorRequest("GET", "/account-information", headers=_headers(secret))

    def interpret_balance(self, response: VendorResponse) -> Balance:
        body = json_object(response)
        if body is None or body.get("error") is not False:
            return balance_of(by_status(response) if body is None else _refusal(body, response))
        account = body.get("response")
        left = thousandths(account.get("remaining_credits")) if isinstance(account, dict) else None
        return balance_of(unreadable(response)) if left is None else balance_left(left)


def _headers(secret: str) -> dict[str, str]:
    return {"X-KEY": secret, "Content-Type": "application/json"}


def _match(body: dict[str, Any], response: VendorResponse) -> Outcome:
    """A matched person. It costs a credit even where no usable address came with it."""
    person = body.get("person")
    free = body.get("free_enrichment", False)
    if not isinstance(person, dict) or not isinstance(free, bool):
        return unreadable(response)
    cost = 0 if free else CREDIT
    email = person.get("email")
    if email is None:
        return Miss(cost)
    if not isinstance(email, dict):
        return unreadable(response)
    address, status, revealed = email.get("email"), email.get("status"), email.get("revealed")
    if not isinstance(status, str) or not isinstance(revealed, bool) or not isinstance(address, str | None):
        return unreadable(response)
    if status == "UNAVAILABLE" or not revealed or not address or "*" in address:
        return Miss(cost)
    if not is_address(address):
        return unreadable(response)
    answer = {"email": address, "email_status": "valid" if status == "VERIFIED" else "unverified"}
    return Done(answer, cost, free)


def _refusal(body: dict[str, Any], response: VendorResponse) -> Outcome:
    """The code decides before the status: the vendor's pages and its answers disagree about the latter."""
    code = body.get("error_code") or body.get("message")
    match code:
        case "NO_MATCH" | "NO_RESULT" | "NO_RESULTS":
            return Miss()
        case "INVALID_DATAPOINTS":
            return Fail("invalid", "not enough data about the person")
        case "INVALID_REQUEST" | "INVALID_PARAM":
            return Fail("invalid", "the vendor refused the request's form")
        case "INSUFFICIENT_CREDITS":
            return Fail("no_credits", "out of credits")
        case "INVALID_API_KEY":
            return Fail("auth_failed", "the key was refused")
        case "ACCOUNT_RESTRICTED":
            return Fail("auth_failed", "the account is restricted")
        case "RATE_LIMITED" | "RATE_LIMIT_EXCEEDED":
            return rate_limited(response, _wait(response))
        case "INTERNAL_ERROR":
            return Retry("error", "vendor fault", retry_after(response), uncertain=True)
        case _ if response.status == 429:
            return rate_limited(response, _wait(response))
        case _:
            return by_status(response)


def _wait(response: VendorResponse) -> float | None:
    """How long the window that is used up needs: the longest one counts, and a second where none is shown empty."""
    for word, _period in HEADER_WINDOWS:
        if header_int(response, f"x-{word}-request-left") == 0:
            return _reset(response, word)
    told = any(header_int(response, f"x-{word}-request-left") is not None for word, _period in HEADER_WINDOWS)
    return 1.0 if told else None


def _reset(response: VendorResponse, word: str) -> float | None:
    seconds = header_int(response, f"x-{word}-reset-seconds")
    return None if seconds is None else min(float(seconds), DAY)
