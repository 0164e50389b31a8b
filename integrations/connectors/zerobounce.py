"""ZeroBounce: verifies one address with GET /v2/validate, or up to 100 with POST /v2/validatebatch.

Facts: zerobounce.net/docs and its SDK, late 2026.
"""

from collections.abc import Sequence
from typing import Any

from integrations.connectors.base import (
    VERIFY,
    Balance,
    Bulk,
    Clarify,
    Connector,
    Operation,
    Query,
    VendorRequest,
    VendorResponse,
    Window,
)
from integrations.connectors.identity import fingerprint, is_address, read_address
from integrations.connectors.reading import (
    balance_left,
    balance_of,
    by_status,
    json_body,
    json_object,
    left_out,
    of_each,
    rate_limited,
    thousandths,
    unreadable,
)
from integrations.outcomes import Done, Fail, Outcome, Retry

CREDIT = 1000
BLOCK_SECONDS, BULK_BLOCK_SECONDS = 60.0, 600.0
# The vendor may take 70 s for a full batch; asked to end sooner, it says unknown of the rest, which is free.
BULK_SECONDS = 50
STATUSES = {
    "valid": "valid",
    "invalid": "invalid",
    "catch-all": "catch_all",
    "unknown": "unknown",
    "spamtrap": "spamtrap",
    "abuse": "abuse",
    "do_not_mail": "do_not_mail",
}


class ZeroBounce(Connector):
    """One message means both "bad key" and "no credits"; getcredits tells them apart.

    Every other verdict costs a credit, `unknown` never does. A repeat is presumed to be charged again.

    Its pages give 5, 20 and 30 batches a minute, and a block of ten minutes for more: five it is.
    """

    provider = "zerobounce"
    title = "ZeroBounce"
    base_url = "https://api.zerobounce.net"
    operations = frozenset({VERIFY})
    windows = (Window(50_000, 10),)
    parallelism = 100
    timeout = 35.0
    repeat_is_free = False
    bulk = {VERIFY: Bulk(most=100, timeout=BULK_SECONDS + 10.0, windows=(Window(5, 60.0),))}

    def worst_credits(self, operation: Operation) -> int:
        return CREDIT

    def fingerprint(self, operation: Operation, query: Query) -> str:
        return fingerprint(operation, read_address(query))

    def can_ask(self, operation: Operation, query: Query) -> bool:
        return is_address(read_address(query))

    def request(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        # ip_address is documented as required and may be empty.
        params = {"api_key": secret, "email": read_address(query), "ip_address": ""}
        return VendorRequest("GET", "/v2/validate", params=params)

    def request_bulk(self, operation: Operation, queries: Sequence[Query], secret: str) -> VendorRequest:
        batch = [{"email_address": read_address(query), "ip_address": None} for query in queries]
        return VendorRequest(
            "POST",
            "/v2/validatebatch",
            headers={"Content-Type": "application/json"},
            json={"api_key": secret, "timeout": BULK_SECONDS, "email_batch": batch},
        )

    def interpret(self, operation: Operation, response: VendorResponse) -> Outcome | Clarify:
        if response.status == 429:
            return rate_limited(response, BLOCK_SECONDS)
        body = json_object(response)
        if body is None:
            return by_status(response)
        if "error" in body:
            return self._refusal(body["error"], response)
        return _verdict(body, response) if response.status == 200 else by_status(response)

    def interpret_bulk(
        self, operation: Operation, queries: Sequence[Query], response: VendorResponse
    ) -> list[Outcome] | Clarify:
        if response.status == 429:
            return of_each(rate_limited(response, BULK_BLOCK_SECONDS), len(queries))
        body = json_object(response)
        if body is None:
            return of_each(by_status(response), len(queries))
        faults = {
            _address(row, "email_address"): row["error"] for row in _rows(body, "errors") if "error" in row
        }
        message = body.get("error", faults.get("all"))
        if message is not None:
            refusal = self._refusal(message, response)
            return refusal if isinstance(refusal, Clarify) else of_each(refusal, len(queries))
        if response.status != 200:
            return of_each(by_status(response), len(queries))
        told = {_address(row, "address"): row for row in _rows(body, "email_batch")}
        outcomes: list[Outcome] = []
        for query in queries:
            address = read_address(query).casefold()
            if address in told:
                outcomes.append(_verdict(told[address], response))
            elif address in faults:  # alone it gets an answer of its own
                outcomes.append(Retry("error", "the vendor refused this address among others"))
            else:
                outcomes.append(left_out(response))
        return outcomes

    def interpret_clarification(self, operation: Operation, response: VendorResponse | None) -> Outcome:
        """A balance of -1 is a bad key, 0 an empty one. Unread, the key counts as bad: bad calls lead to a ban."""
        left = None if response is None else _credits(response)
        if left is None:
            return Fail("auth_failed", "the key was refused or is out of credits")
        if left < 0:
            return Fail("auth_failed", "the key was refused")
        if left == 0:
            return Fail("no_credits", "out of credits")
        return Retry("error", "the vendor refused a key that has credits")

    def balance_request(self, secret: str) -> VendorRequest:
        return VendorRequest("GET", "/v2/getcredits", params={"api_key": secret})

    def interpret_balance(self, response: VendorResponse) -> Balance:
        left = _credits(response)
        if left is None:
            return balance_of(by_status(response))
        if left < 0:
            return Balance(ok=False, kind="auth_failed", reason="the key was refused")
        return balance_left(left)

    def _refusal(self, message: Any, response: VendorResponse) -> Outcome | Clarify:
        text = message.lower() if isinstance(message, str) else ""
        if "api key" in text or "credits" in text:
            return Clarify(self.balance_request)
        if response.status == 400:
            return Fail("invalid", "the vendor refused the input")
        return by_status(response)


def _verdict(body: dict[str, Any], response: VendorResponse) -> Outcome:
    """A word that we do not know is told as unknown, and as paid for: only the vendor's own unknown is free."""
    address, status, sub_status = body.get("address"), body.get("status"), body.get("sub_status")
    if not isinstance(address, str) or not isinstance(status, str) or not isinstance(sub_status, str | None):
        return unreadable(response)
    answer = {
        "email": address,
        "email_status": STATUSES.get(status, "unknown"),
        "sub_status": (sub_status or "")[:64],
    }
    return Done(answer, 0 if status == "unknown" else CREDIT)


def _rows(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = body.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _address(row: dict[str, Any], name: str) -> str:
    address = row.get(name)
    return address.strip().casefold() if isinstance(address, str) else ""


def _credits(response: VendorResponse) -> int | None:
    """Thousandths from `{"Credits": "12"}`, `{"Credits": 12}` or a bare number; below 0 for a bad key."""
    if response.status != 200:
        return None
    body = json_body(response)
    return thousandths(body.get("Credits") if isinstance(body, dict) else body)
