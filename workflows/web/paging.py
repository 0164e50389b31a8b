"""Pages of long lists by cursor: no page costs more than the first, however far it is."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict

SIZE = 50
Parse = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, with the query strings of its neighbours ("" where there is none)."""

    items: list[Any]
    previous: str
    next: str

    @property
    def has_neighbours(self) -> bool:
        return bool(self.previous or self.next)


def page_of(
    rows: QuerySet[Any], params: QueryDict, *, key: str, ascending: bool, parse: Parse, size: int = SIZE
) -> Page:
    """The page that `after` or `before` in the query string name; the first one where neither can be read.

    `key` is a unique, indexed column. Runs the query, in the caller's scope.
    """
    after, before = (_parsed(params.get(name, ""), parse) for name in ("after", "before"))
    backwards = before is not None and after is None
    towards = "gt" if ascending != backwards else "lt"
    cursor = before if backwards else after
    if cursor is not None:
        rows = rows.filter(**{f"{key}__{towards}": cursor})
    found = list(rows.order_by(key if towards == "gt" else f"-{key}")[: size + 1])
    more, items = len(found) > size, found[:size]
    if backwards:
        items.reverse()
    has_previous = more if backwards else cursor is not None
    has_next = bool(items) if backwards else more
    return Page(
        items,
        _query(params, "before", getattr(items[0], key)) if items and has_previous else "",
        _query(params, "after", getattr(items[-1], key)) if items and has_next else "",
    )


def _parsed(text: str, parse: Parse) -> Any:
    try:
        return parse(text) if text else None
    except ValueError:
        return None


def position(text: str) -> int:
    """A record's position. Raises ValueError, also for one that no column could hold."""
    number = int(text)
    if not 0 <= number < 2**31:
        raise ValueError(text)
    return number


def row_id(text: str) -> uuid.UUID:
    """A row's id. Raises ValueError."""
    return uuid.UUID(text)


def _query(params: QueryDict, name: str, value: Any) -> str:
    kept = params.copy()
    for own in ("after", "before", "v"):
        kept.pop(own, None)
    kept[name] = str(value)
    return kept.urlencode()
