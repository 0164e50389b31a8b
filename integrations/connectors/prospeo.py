"""Prospeo: finds a person's verified address with POST /enrich-person, or up to 50 with /bulk-enrich-person.

Facts: prospeo.io/api-docs, late 2026.
"""

from collections.abc import Sequence
from typing import Any

from integrations.connectors.base import (
    FIND,
    Balance,
    Bulk,
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
    left_out,
    of_each,
    rate_limited,
    retry_after,
    thousandths,
    unreadable,
)
from integrations.outcomes import Done, Fail, Miss, Outcome, Retry

CREDIT = 1000
DAY, MINUTE = 86_400.0, 60.0
BULK_ANSWER = 8 << 20  # bytes; a person comes with their jobs and their whole company
PLANS = {
    "starter": (Window(5, 1), Window(300, MINUTE), Window(2_000, DAY)),
    "growth": (Window(5, 1), Window(300, MINUTE), Window(5_000, DAY)),
    "pro": (Window(30, 1), Window(1_800, MINUTE), Window(500_000, DAY)),
}
HEADER_WINDOWS = (("daily", DAY), ("minute", MINUTE))


class Prospeo(Connector):
    """`only_verified_email` is always sent: without it a person with no usable address costs a credit.

    A repeat of an earlier match is free and marked `free_enrichment`, so a lost answer may be asked for again.

    In bulk each person counts in all limits as if asked alone. That answer tells its whole cost alone: where repeats made
    it less than a credit for each match, the matches share it.
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
    bulk = {FIND: Bulk(most=50, timeout=60.0)}

    def worst_credits(self, operation: Operation) -> int:
        return CREDIT

    def fingerprint(self, operation: Operation, query: Query) -> str:
        person = read_person(query)
        return fingerprint(operation, person.name, person.place, person.linkedin)

    def can_ask(self, operation: Operation, query: Query) -> bool:
        person = read_person(query)
        return bool(person.linkedin or (person.name and person.place))

    def request(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        return VendorRequest(
            "POST",
            "/enrich-person",
            headers=_headers(secret),
            json={"only_verified_email": True, "data": _data(query)},
        )

    def request_bulk(self, operation: Operation, queries: Sequence[Query], secret: str) -> VendorRequest:
        data = [{"identifier": _identifier(number), **_data(query)} for number, query in enumerate(queries)]
        return VendorRequest(
            "POST",
            "/bulk-enrich-person",
            headers=_headers(secret),
            json={"only_verified_email": True, "data": data},
            most_back=BULK_ANSWER,
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

    def interpret_bulk(
        self, operation: Operation, queries: Sequence[Query], response: VendorResponse
    ) -> list[Outcome] | Clarify:
        body = json_object(response)
        if body is not None and body.get("error") is True:
            return of_each(_refusal(body, response), len(queries))
        if body is not None and body.get("error") is False and response.status == 200:
            return _matches(body, len(queries), response)
        return of_each(by_status(response), len(queries))

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


def _data(query: Query) -> dict[str, str]:
    person = read_person(query)
    data = {
        "first_name": person.first,
        "last_name": person.last,
        "full_name": "" if person.first else person.full,
        "company_name": person.company,
        "company_website": person.domain,
        "linkedin_url": person.linkedin,
    }
    return {key: value for key, value in data.items() if value}


def _identifier(number: int) -> str:
    """What a person is called in a call for several: letters and digits, by the vendor's rule."""
    return f"p{number}"


def _match(body: dict[str, Any], response: VendorResponse) -> Outcome:
    """A matched person. It costs a credit even where no usable address came with it."""
    free = body.get("free_enrichment", False)
    if not isinstance(free, bool):
        return unreadable(response)
    return _person(body.get("person"), 0 if free else CREDIT, response)


def _matches(body: dict[str, Any], count: int, response: VendorResponse) -> list[Outcome]:
    """What an answer for several says of each, by the names that we gave them."""
    matched = {name: row for row in _rows(body, "matched") if isinstance(row, dict) and (name := _named(row))}
    missed = {_named(row) for row in _rows(body, "not_matched")}
    refused = {_named(row) for row in _rows(body, "invalid_datapoints")}
    names = [_identifier(number) for number in range(count)]
    costs = iter(_shares(body.get("total_cost"), sum(name in matched for name in names)))
    outcomes: list[Outcome] = []
    for name in names:
        if name in matched:
            outcomes.append(_person(matched[name].get("person"), next(costs), response))
        elif name in missed:
            outcomes.append(Miss())
        elif name in refused:
            outcomes.append(Fail("invalid", "not enough data about the person"))
        else:
            outcomes.append(left_out(response))
    return outcomes


def _rows(body: dict[str, Any], name: str) -> list[Any]:
    rows = body.get(name)
    return rows if isinstance(rows, list) else []


def _named(row: Any) -> str:
    """The name in a row: the row itself, or its `identifier`."""
    name = row.get("identifier") if isinstance(row, dict) else row
    return name if isinstance(name, str) else ""


def _shares(total: Any, matches: int) -> list[int]:
    """What each match cost, in thousandths: a credit, or its share of a total that is less."""
    if isinstance(total, bool) or not isinstance(total, int) or not 0 <= total < matches:
        return [CREDIT] * matches
    share, rest = divmod(total * CREDIT, matches)
    return [share + (number < rest) for number in range(matches)]


def _person(person: Any, cost: int, response: VendorResponse) -> Outcome:
    if not isinstance(person, dict):
        return unreadable(response)
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
    return Done(answer, cost, free=cost == 0)


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
