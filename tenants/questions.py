"""Statements whose one value is wanted as soon as a transaction begins: prepared once in a session, they go with the
message that begins it, and cost no round trip of their own."""

from contextlib import suppress
from typing import Any

from psycopg import OperationalError
from psycopg.errors import DuplicatePreparedStatement, error_from_result
from psycopg.pq import ConnStatus, ExecStatus

_PREPARED = "_weir_questions"


class Question:
    """SQL with `$1`, `$2` … that answers with one value, as a session knows it by `name`."""

    def __init__(self, name: str, sql: str) -> None:
        self.name, self._sql = name, sql

    def asked_with(self, wrapper: Any, *values: str) -> str:
        """SQL that asks it with these values, on this connection of Django's. Raises django.db.Error.

        The values become part of the statement: they are to be ours, or to have no quote or backslash in them.
        """
        wrapper.ensure_connection()
        connection = wrapper.connection
        known: set[str] | None = getattr(connection, _PREPARED, None)
        if known is None:
            setattr(connection, _PREPARED, known := set())
        if self.name not in known:
            with wrapper.wrap_database_errors:
                result = connection.pgconn.prepare(self.name.encode(), self._sql.encode())
                with suppress(DuplicatePreparedStatement):  # forgotten by us alone
                    checked(wrapper, result, ExecStatus.COMMAND_OK)
            known.add(self.name)
        for value in values:
            if "'" in value or "\\" in value or "\0" in value:
                raise ValueError(f"{self.name}: a value has a character that no statement may hold")
        quoted = ", ".join(f"'{value}'" for value in values)
        return f"EXECUTE {self.name}({quoted})"


def may_ask(wrapper: Any) -> bool:
    """Whether anything can be prepared on this connection: not past a pooler (config/database)."""
    wrapper.ensure_connection()
    return wrapper.connection.prepare_threshold is not None


def forget_all(wrapper: Any) -> None:
    """What was prepared in this session is not there any more."""
    setattr(wrapper.connection, _PREPARED, set())


def checked(wrapper: Any, result: Any, wanted: ExecStatus) -> Any:
    """What libpq was answered on this connection of Django's, if it is what was wanted. Raises psycopg.Error."""
    if wrapper.connection.pgconn.status == ConnStatus.BAD:
        # Such a result names no state, and without one would pass for the statement's fault.
        raise OperationalError(str(error_from_result(result)))
    if result.status != wanted:
        raise error_from_result(result)
    return result
