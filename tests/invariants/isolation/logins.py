"""Two ways to act as a login in a tenant's scope: signed in for real, or pretended inside one transaction."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import psycopg

from tenants.scope import SETTING

Statement = Any


@dataclass(frozen=True)
class Answer:
    """What a statement came to: rows and their number, or the SQLSTATE and text of its error."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    count: int = 0
    error: str = ""
    text: str = ""


class Session(Protocol):
    def run(self, tenant: UUID | None, *steps: tuple[Statement, Sequence[Any]], keep: bool = False) -> Answer:
        """The answer of the last of several statements in one transaction, committed when `keep`."""


class SignedIn:
    """A connection that signed in as the login; each run is a transaction of its own."""

    def __init__(self, address: str) -> None:
        self.connection = psycopg.connect(address)

    def close(self) -> None:
        self.connection.close()

    def run(self, tenant: UUID | None, *steps: tuple[Statement, Sequence[Any]], keep: bool = False) -> Answer:
        try:
            answer = _steps(self.connection, tenant, steps)
            if keep:
                self.connection.commit()
        except psycopg.Error as error:
            return Answer(error=error.sqlstate or "?", text=str(error))
        finally:
            self.connection.rollback()
        return answer


class Pretended:
    """The administrator's open transaction, acting as the login inside savepoints: sees what is not committed."""

    def __init__(self, connection: psycopg.Connection, login: str) -> None:
        self.connection, self.login = connection, login

    def run(self, tenant: UUID | None, *steps: tuple[Statement, Sequence[Any]], keep: bool = False) -> Answer:
        execute: Callable[..., Any] = self.connection.execute
        execute("SAVEPOINT act")
        try:
            execute(f"SET LOCAL SESSION AUTHORIZATION {self.login}")
            answer = _steps(self.connection, tenant, steps)
            execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            execute("ROLLBACK TO SAVEPOINT act")
            return Answer(error=error.sqlstate or "?", text=str(error))
        if keep:
            execute("RESET SESSION AUTHORIZATION")
            execute("RELEASE SAVEPOINT act")
        else:
            execute("ROLLBACK TO SAVEPOINT act")
        return answer


def _steps(
    connection: psycopg.Connection, tenant: UUID | None, steps: Sequence[tuple[Statement, Sequence[Any]]]
) -> Answer:
    if tenant is not None:
        connection.execute("SELECT set_config(%s, %s, true)", [SETTING, str(tenant)])
    answer = Answer()
    for statement, parameters in steps:
        answer = _step(connection, statement, parameters)
    return answer


def _step(connection: psycopg.Connection, statement: Statement, parameters: Sequence[Any]) -> Answer:
    text = statement if isinstance(statement, str) else statement.as_string(connection)
    with connection.cursor() as cursor:
        if text.startswith("COPY"):
            with cursor.copy(statement, parameters or None) as copy:
                if " FROM STDIN" in text:
                    return Answer(count=cursor.rowcount)
                rows = [(bytes(block).decode(),) for block in copy]
            return Answer(rows=rows, count=len(rows))
        cursor.execute(statement, parameters)
        return Answer(rows=cursor.fetchall() if cursor.description else [], count=cursor.rowcount)


def administrator() -> psycopg.Connection:
    """A connection of the server's administrator to this process's database; policies do not hold for it."""
    name = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])["dbname"]
    return psycopg.connect(psycopg.conninfo.make_conninfo(os.environ["DATABASE_ADMIN_URL"], dbname=name))


@contextmanager
def undone(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction of which nothing stays."""
    try:
        with connection.transaction(force_rollback=True):
            yield
    finally:
        connection.rollback()
