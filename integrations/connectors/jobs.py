"""The sandbox's vendor of long-running jobs: finding is polled, verifying calls back. There is no such vendor outside.

None of the real vendors has a per-contact job that is worth it: Findymail's asynchronous mode names no job and promises
no answer for a miss, ZeroBounce's is for files, Prospeo and Hunter have none.
"""

from collections.abc import Mapping
from typing import Any

import orjson

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
    balance_left,
    balance_of,
    by_status,
    json_object,
    retry_after,
    thousandths,
    unreadable,
)
from integrations.outcomes import AwaitCallback, Done, Fail, Miss, Outcome, Poll

CREDIT = 1000
POLL_SECONDS = 10.0
VERDICTS = {"valid": "valid", "catch-all": "catch_all", "invalid": "invalid", "do_not_mail": "do_not_mail"}


class Jobs(Connector):
    """Taking the same job twice charges twice, so a call whose outcome is unknown is looked up first."""

    provider = "jobs"
    title = "Jobs"
    base_url = "https://jobs.invalid"
    operations = frozenset({FIND, VERIFY})
    windows = (Window(1_000, 1),)
    parallelism = 20
    timeout = 10.0
    repeat_is_free = False
    repeat_is_harmless = False
    calls_back = frozenset({VERIFY})
    can_look_up = frozenset({FIND})
    sandbox_only = True

    def worst_credits(self, operation: Operation) -> int:
        return CREDIT

    def fingerprint(self, operation: Operation, query: Query) -> str:
        if operation == VERIFY:
            return fingerprint(operation, read_address(query))
        person = read_person(query)
        return fingerprint(operation, person.name, person.domain)

    def can_ask(self, operation: Operation, query: Query) -> bool:
        if operation == VERIFY:
            return is_address(read_address(query))
        person = read_person(query)
        return bool(person.name and person.domain)

    def request(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        return VendorRequest("POST", "/v1/find", headers=_headers(secret), json=_person(query))

    def request_with_callback(
        self, operation: Operation, query: Query, secret: str, address: str
    ) -> VendorRequest:
        body = {"email": read_address(query), "callback_url": address}
        return VendorRequest("POST", "/v1/verify", headers=_headers(secret), json=body)

    def interpret(self, operation: Operation, response: VendorResponse) -> Outcome | Clarify:
        job = (json_object(response) or {}).get("job")
        match response.status:
            case 202 if isinstance(job, str) and job:
                if operation == VERIFY:
                    return AwaitCallback(job, self.job_seconds)
                return Poll(retry_after(response) or POLL_SECONDS, {"job": job})
            case 422:
                return Fail("invalid", "the vendor refused the input")
            case _:
                return by_status(response)

    def poll(self, operation: Operation, state: Mapping[str, Any], secret: str) -> VendorRequest:
        return VendorRequest("GET", f"/v1/jobs/{state['job']}", headers=_headers(secret))

    def interpret_poll(
        self, operation: Operation, state: Mapping[str, Any], response: VendorResponse
    ) -> Outcome:
        if response.status == 404:
            return Fail("error", "the vendor has forgotten the job")
        body = json_object(response)
        if response.status != 200 or body is None:
            return by_status(response)
        if body.get("status") == "running":
            return Poll(retry_after(response) or POLL_SECONDS, dict(state))
        return _ended(body) or unreadable(response)

    def interpret_callback(self, operation: Operation, token: str, body: bytes) -> Outcome | None:
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(told, dict) or (token and told.get("job") != token):
            return None
        return _ended(told)

    def look_up(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        return VendorRequest("GET", "/v1/jobs", headers=_headers(secret), params=_person(query))

    def interpret_look_up(self, operation: Operation, response: VendorResponse) -> Outcome:
        if response.status == 404:
            return Miss()
        job = (json_object(response) or {}).get("job")
        if response.status != 200 or not isinstance(job, str):
            return by_status(response)
        return self.interpret_poll(operation, {"job": job}, response)

    def balance_request(self, secret: str) -> VendorRequest:
        return VendorRequest("GET", "/v1/account", headers=_headers(secret))

    def interpret_balance(self, response: VendorResponse) -> Balance:
        left = thousandths((json_object(response) or {}).get("credits"))
        if response.status != 200 or left is None:
            return balance_of(by_status(response))
        return balance_left(left)


def _headers(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}", "Accept": "application/json"}


def _person(query: Query) -> dict[str, str]:
    person = read_person(query)
    return {"name": person.name, "domain": person.domain}


def _ended(body: Mapping[str, Any]) -> Outcome | None:
    """What a job came to; None where that cannot be read."""
    result = body.get("result")
    if body.get("status") == "failed":
        return Fail("error", "the vendor's job failed")
    if body.get("status") != "done":
        return None
    if result is None:
        return Miss()
    if not isinstance(result, dict) or not is_address(result.get("email")):
        return None
    if "verdict" not in result:
        return Done({"email": result["email"], "email_status": "valid"}, CREDIT)
    status = VERDICTS.get(str(result["verdict"]), "unknown")
    return Done({"email": result["email"], "email_status": status, "sub_status": ""}, CREDIT)
