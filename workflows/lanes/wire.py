"""A cursor for the engine's own statements: bound by the server, lists sent as the text of an array.

Django's cursor quotes every element of every list into the statement's text; for set-based statements that was most of
a flush's time on our side. Accepting, claiming and flushing are prepared on the server: planning took a third of
PostgreSQL's time of accepting, two thirds of that of claiming, and four tenths of that of settling for a hundred tenants a
record or two each. Where a pooler stands between, nothing is prepared (config/database).
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self

import psycopg
from django.db import connections
from psycopg.adapt import Buffer, Dumper


class _ListDumper(Dumper):
    """A list of one type, or None among them, as the text of a PostgreSQL array; its type comes from the statement."""

    def dump(self, obj: Sequence[Any]) -> Buffer:
        return array_text(obj).encode()


class _Prepared(psycopg.Cursor[Any]):
    """Has the server plan each statement once in a session."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        return super().execute(query, params, **{**options, "prepare": True})

    def _send_query_prepared(self, name: bytes, pgq: Any, **options: Any) -> None:
        # Django's log of statements reads what was said last from here; psycopg notes it where nothing is prepared.
        self._query = pgq
        super()._send_query_prepared(name, pgq, **options)


def array_text(values: Sequence[Any]) -> str:
    """The text of a one-dimensional array. Raises TypeError for elements that no statement of the engine has, and
    psycopg.DataError for text that PostgreSQL cannot keep."""
    first = values[0] if values else None
    if first is None:
        first = next((value for value in values if value is not None), None)
    kind = type(first)
    write = _WRITERS.get(kind) or next((_WRITERS[one] for one in kind.__mro__ if one in _WRITERS), None)
    if write is None:
        raise TypeError(f"no array of {kind.__name__}")
    return "{" + ",".join(["NULL" if value is None else write(value) for value in values]) + "}"


def _quoted(text: str) -> str:
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def engine_cursor(alias: str, *, prepared: bool = False) -> Iterator[Any]:
    """A cursor on this thread's Django connection, inside the transaction that is open there.

    Takes the statements and parameters that Django's cursor takes, raises its errors and is seen by its wrappers; JSON
    comes as text.
    """
    wrapper = connections[alias]
    wrapper.ensure_connection()
    wrapped: Any = wrapper.make_debug_cursor if wrapper.queries_logged else wrapper.make_cursor
    with (_Prepared if prepared else psycopg.Cursor)(wrapper.connection) as cursor:
        yield wrapped(list_dumper(cursor))


def list_dumper(cursor: psycopg.Cursor[Any]) -> psycopg.Cursor[Any]:
    """The cursor, sending lists as the text of an array."""
    cursor.adapters.register_dumper(list, _ListDumper)
    return cursor


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    uuid.UUID: lambda value: value.hex,
    bool: lambda value: "t" if value else "f",
    int: lambda value: repr(value + 0),
    float: lambda value: repr(value + 0),
    datetime: lambda value: f'"{value.isoformat()}"',
    type(None): str,
}
"""How an element is written, by the type of the first one: of a subclass (an enum's member) as of its base."""
