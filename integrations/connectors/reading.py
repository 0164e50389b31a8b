"""Careful reading of what vendors send: nothing in here raises, whatever the bytes."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from integrations.connectors.base import Balance, VendorResponse
from integrations.outcomes import Fail, Outcome, Retry

LONGEST_WAIT = 86_400.0


def json_body(response: VendorResponse) -> Any:
    """The parsed body, or None where it is not JSON. The content type is not trusted either way."""
    try:
        return orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return None


def json_object(response: VendorResponse) -> dict[str, Any] | None:
    body = json_body(response)
    return body if isinstance(body, dict) else None


def header_int(response: VendorResponse, name: str) -> int | None:
    """A header as a whole number of at least 0, or None."""
    value = response.headers.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 12 else None


def retry_after(response: VendorResponse) -> float | None:
    """Seconds from a Retry-After header, given as seconds or as a date; at most a day, None where it is no use."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        wait = float(value)
    except ValueError:
        wait = _until(value)
    return min(wait, LONGEST_WAIT) if math.isfinite(wait) and wait >= 0 else None


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def thousandths(value: Any) -> int | None:
    """A number of credits, given as number or as text, in thousandths; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return round(number * 1000) if math.isfinite(number) and abs(number) < 1e12 else None


def unreadable(response: VendorResponse) -> Outcome:
    """The outcome of a body that is not what the vendor documents."""
    return Retry("error", f"unreadable answer with status {response.status}", uncertain=True)


def rate_limited(response: VendorResponse, after: float | None = None) -> Retry:
    asked = retry_after(response)
    return Retry("rate_limited", "rate limit reached", after=asked if asked is not None else after)


def by_status(response: VendorResponse) -> Outcome:
    """What the status alone tells, for answers whose body says nothing that the vendor documents."""
    status = response.status
    if status in (401, 403):
        return Fail("auth_failed", f"the key was refused with status {status}")
    if status == 402:
        return Fail("no_credits", "out of credits")
    if status == 429:
        return rate_limited(response)
    if status in (413, 414, 431):
        return Fail("invalid", "the input is too long for the vendor")
    if 300 <= status < 400:
        return Retry("error", f"unexpected redirect with status {status}")
    if status >= 500:
        return Retry("error", f"vendor fault with status {status}", retry_after(response), uncertain=True)
    return unreadable(response)


def of_each(outcome: Outcome, count: int) -> list[Outcome]:
    """What the answer to all says of each: what was refused for its form is asked alone, it may be one of the others'."""
    if isinstance(outcome, Fail) and outcome.kind == "invalid":
        outcome = Retry("error", "refused together with others")
    return [outcome] * count


def left_out(response: VendorResponse) -> Outcome:
    """The outcome of a question that an answer in bulk does not mention."""
    return Retry("error", "left out of the vendor's answer", uncertain=True)


def balance_of(outcome: Outcome) -> Balance:
    """A failed balance request, told in a balance's words."""
    match outcome:
        case Fail(kind=("auth_failed" | "no_credits") as kind, reason=reason):
            return Balance(ok=False, kind=kind, reason=reason)
        case Retry(kind=kind, reason=reason):
            return Balance(ok=False, kind=kind, reason=reason)
        case Fail(reason=reason):
            return Balance(ok=False, kind="error", reason=reason)
        case _:
            return Balance(ok=False, kind="error", reason="unreadable balance")


def balance_left(credits: int) -> Balance:
    if credits > 0:
        return Balance(credits=credits)
    return Balance(credits=credits, ok=False, kind="no_credits", reason="out of credits")
