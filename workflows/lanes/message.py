"""Many statements in one message, and one wait for all that is answered.

psycopg's own pipeline looks at the socket at each statement and lets the other threads have the interpreter: a flush of a
hundred tenants has some two thousand, and waited for its turn at each. Here they are put down one after the other, and
what reads and writes their values is made once for all of them.
"""

import re
import select
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus

from workflows.lanes.wire import list_dumper

Statement = tuple[str, Sequence[Any] | Mapping[str, Any]]
"""SQL with psycopg's placeholders, and their values."""
Rows = list[tuple[Any, ...]]

_PREPARED = "_weir_statements"
_names = count()  # never again, also where a session has forgotten what it had prepared
_PLACE = re.compile(r"%(?:\((\w+)\)s|s|%)")
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)


def exchange(
    connection: psycopg.Connection[Any], statements: Sequence[Statement], wanted: Sequence[int]
) -> list[Rows]:
    """Send these in one message, each prepared where the session may, and wait until all are done: the rows of those that
    are `wanted` (by place). Raises psycopg.Error: of the first that failed, and what came after it was not done; or where
    the connection was lost, which is closed then.
    """
    values: Any = Transformer(list_dumper(psycopg.Cursor(connection)))
    # All of it before anything is sent: a value that cannot be written leaves the connection as it was.
    written = [_written(values, *statement) for statement in statements]
    try:
        results = _exchanged(connection, written)
    except BaseException:
        connection.close()  # in the middle of something: nobody knows of what
        raise
    for result in results:
        if result.status not in _GOOD:
            raise error_from_result(result, encoding=connection.info.encoding)
    return [_rows(values, results[place]) for place in wanted]


_Statement = tuple[bytes, Any]
"""With the types of its values."""
_Written = tuple[bytes, Sequence[Any], Any, Any]
"""A statement with numbered places, its values as PostgreSQL reads them, their types and formats."""


def _written(values: Any, text: str, parameters: Sequence[Any] | Mapping[str, Any]) -> _Written:
    statement, names = _numbered(text)
    if isinstance(parameters, Mapping):
        parameters = [parameters[name] for name in names]
    if not parameters:
        return statement, (), (), ()
    written = values.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
    return statement, written, values.types, values.formats


@lru_cache(maxsize=1000)
def _numbered(text: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with `$1` and so on for psycopg's placeholders, and the names of those that have one, in order."""
    names: dict[str, int] = {}
    numbers = count(1)

    def numbered(found: re.Match[str]) -> str:
        if found.group() == "%%":
            return "%"
        if name := found.group(1):
            return f"${names.setdefault(name, len(names) + 1)}"
        return f"${next(numbers)}"

    return _PLACE.sub(numbered, text).encode(), tuple(names)


def _exchanged(connection: psycopg.Connection[Any], written: Sequence[_Written]) -> list[Any]:
    """What each of these was answered; in its place what its preparing was, where that failed."""
    server: Any = connection.pgconn
    answers_of: list[tuple[int, _Statement | None]] = []
    server.enter_pipeline_mode()
    for place, one in enumerate(written):
        if new := _send(connection, *one):
            answers_of.append((place, new))
        answers_of.append((place, None))
    server.pipeline_sync()
    poll = select.poll()
    poll.register(server.socket, select.POLLIN | select.POLLOUT)
    while server.flush():
        # What it has to say is read meanwhile: it reads nothing while nobody does.
        if any(event & ~select.POLLOUT for _, event in poll.poll()):
            server.consume_input()
    answers = _answers(server)
    server.exit_pipeline_mode()
    results: list[Any] = [None] * len(written)
    for (place, new), answer in zip(answers_of, answers, strict=True):
        if new and answer.status not in _GOOD:
            _known(connection).pop(new, None)
        if results[place] is None or results[place].status in _GOOD:
            results[place] = answer
    return results


def _send(
    connection: psycopg.Connection[Any], statement: bytes, values: Sequence[Any], types: Any, formats: Any
) -> _Statement | None:
    """Put one statement into the message; returns it where its preparing is answered first."""
    server: Any = connection.pgconn
    if connection.prepare_threshold is None:  # past a pooler (config/database)
        server.send_query_params(statement, values, types or None, formats or None)
        return None
    known = _known(connection)
    name = known.get((statement, types))
    if name is not None:
        server.send_query_prepared(name, values, formats or None)
        return None
    name = known[statement, types] = f"weir_{next(_names)}".encode()
    server.send_prepare(name, statement, types or None)
    server.send_query_prepared(name, values, formats or None)
    return statement, types


def _known(connection: Any) -> dict[_Statement, bytes]:
    """What was prepared on this connection, and by what name. Forgotten when psycopg has the server forget everything, as
    after a rollback where something of its own was prepared."""
    known: dict[_Statement, bytes] | None = getattr(connection, _PREPARED, None)
    if known is None:
        setattr(connection, _PREPARED, known := {})
        forget, clear = known.clear, connection._prepared.clear

        def both() -> Any:
            if everything := clear():
                forget()
            return everything

        connection._prepared.clear = both
    return known


def _answers(server: Any) -> list[Any]:
    """Everything that is answered until the message's end."""
    poll = select.poll()
    poll.register(server.socket, select.POLLIN)
    answers: list[Any] = []
    while True:
        while server.is_busy():
            poll.poll()
            server.consume_input()
        answer = server.get_result()
        if answer is None:  # the end of what one statement was answered, or of the connection
            if server.status == ConnStatus.BAD:
                raise psycopg.OperationalError(server.get_error_message())
        elif answer.status == ExecStatus.PIPELINE_SYNC:
            return answers
        elif server.status == ConnStatus.BAD:  # it names no state, and would pass for the statement's fault
            raise psycopg.OperationalError(str(error_from_result(answer)))
        else:
            answers.append(answer)


def _rows(values: Any, result: Any) -> Rows:
    values.set_pgresult(result)
    return values.load_rows(0, result.ntuples, tuple)
