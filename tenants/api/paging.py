"""Cursor pagination over an index: pages stay stable while rows are added, and the last page costs what the first does."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from tenants.errors import InvalidInput

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, with the addresses of its neighbours."""

    items: list[Any]
    next: str | None
    previous: str | None

    def answer(self, data: Any) -> dict[str, Any]:
        """The list answer that shows these data."""
        return {"data": data, "next": self.next, "previous": self.previous}


def paginate(
    request: Request, rows: QuerySet, *, key: str, parse: Callable[[str], Any], descending: bool = False
) -> Page:
    """The page of `rows` that the request's `cursor` and `limit` ask for, in the order of the unique column `key`.

    `parse` reads a value of that column, raising ValueError. Raises InvalidInput for a cursor or limit that is none.
    """
    limit = _limit(request)
    backwards, value = _cursor(request, parse)
    if value is not None:
        before = "lt" if backwards != descending else "gt"
        rows = rows.filter(**{f"{key}__{before}": value})
    found = list(rows.order_by(key if descending == backwards else f"-{key}")[: limit + 1])
    more, items = len(found) > limit, found[:limit]
    if backwards:
        items.reverse()
    there_is_next = bool(items) and (more or backwards)
    there_is_previous = bool(items) and (more if backwards else value is not None)
    return Page(
        items=items,
        next=_address(request, "a", getattr(items[-1], key)) if there_is_next else None,
        previous=_address(request, "b", getattr(items[0], key)) if there_is_previous else None,
    )


def _limit(request: Request) -> int:
    text = request.query_params.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    message = f"A whole number from 1 to {MAX_LIMIT}."
    raise InvalidInput(f"limit: {message}", errors=[{"field": "limit", "message": message}])


def _cursor(request: Request, parse: Callable[[str], Any]) -> tuple[bool, Any]:
    """(whether it reads backwards, the value to start after); (False, None) without a cursor."""
    text = request.query_params.get("cursor")
    if not text:
        return False, None
    try:
        plain = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
        if plain[:1] not in ("a", "b"):
            raise ValueError(plain)
        return plain[0] == "b", parse(plain[1:])
    except (ValueError, binascii.Error):
        message = "Not a cursor of this list. Use the addresses in `next` and `previous` as they are."
        raise InvalidInput(f"cursor: {message}", errors=[{"field": "cursor", "message": message}]) from None


def _address(request: Request, direction: str, value: Any) -> str:
    cursor = base64.urlsafe_b64encode(f"{direction}{value}".encode()).decode().rstrip("=")
    here = request.build_absolute_uri()
    return str(replace_query_param(remove_query_param(here, "cursor"), "cursor", cursor))
