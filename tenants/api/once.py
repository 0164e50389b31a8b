"""`Idempotency-Key` on every POST: what a view answers is kept, and given again to the same request.

The keeping of answers belongs to an app above this one, which joins with `keep_with` at start-up.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings
from django.http import HttpResponse
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from tenants.errors import InvalidInput

HEADER = "Idempotency-Key"
_WELL_FORMED = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was sent: the body's text is kept, so that it is the same to the byte.

    `kept` is what is kept in its place where the body shows something that is shown once.
    """

    status: int
    body: str
    replayed: bool = False
    kept: str | None = None


class Keeper(Protocol):
    """Gives the earlier answer to a request, or makes and keeps one. Needs the tenant's scope closed."""

    def __call__(
        self,
        *,
        key: str,
        request_hash: bytes,
        make: Callable[[], Answer],
        together: bool,
        before: Callable[[], None] | None = None,
    ) -> Answer: ...


_keepers: list[Keeper] = []


def keep_with(keeper: Keeper) -> None:
    """Have answers kept by this one."""
    _keepers[:] = [keeper]


def check_key(key: str | None) -> str | None:
    """The key if it is one. Raises InvalidInput."""
    if key is None or _WELL_FORMED.fullmatch(key):
        return key
    message = "1 to 255 printable ASCII characters."
    raise InvalidInput(f"{HEADER}: {message}", errors=[{"field": HEADER, "message": message}])


def hash_of(*parts: Any) -> bytes:
    """What two equal requests have in common: 32 bytes over JSON values, in which the order of names is of no account.

    Keyed, since a body may hold a vendor's secret.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hmac.digest(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256)


def answered_once(
    *,
    key: str,
    request_hash: bytes,
    view: Callable[[], Any],
    shown_once: tuple[str, ...],
    together: bool,
    before: Callable[[], None] | None = None,
) -> HttpResponse:
    """What the view answers to this request, or answered before. Fields that are `shown_once` are null the second time.

    `together`: the view's work and the noting of its answer are one transaction. `before` is done ahead of it, where there
    is no earlier answer.
    """

    def make() -> Answer:
        response: Response = view()
        body = rendered(response.data)
        hidden = {name: None for name in shown_once if name in response.data} if shown_once else {}
        return Answer(
            response.status_code, body, kept=rendered({**response.data, **hidden}) if hidden else None
        )

    [keeper] = _keepers
    return as_response(
        keeper(key=key, request_hash=request_hash, make=make, together=together, before=before)
    )


def as_response(answer: Answer) -> HttpResponse:
    """The response for an answer that may have been given before."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    return HttpResponse(answer.body, status=answer.status, content_type="application/json", headers=headers)


def rendered(data: Any) -> str:
    return JSONRenderer().render(data).decode()
