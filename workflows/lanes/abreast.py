"""Many tenants' shares of one transaction, written side by side: each waits for PostgreSQL together with all others.

A share is written by code that knows nothing of this: it sends statements and asks for rows. What it sends leaves when it
asks, in one message with what the other shares have sent until then; so a flush of a hundred tenants takes as many round
trips as the longest of its shares, where each had its own before. What nobody asks rows of costs no round trip at all.

Order of locks: every share goes through the same steps, and inside a message the tenants go by their order; but one share
may be steps ahead of another. So what several flushes may want at once, the rows of runs, is locked after
`wait_for_all`, and a share that has to lock them earlier is not written abreast of others (settle.py).
"""

import contextvars
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet

from tenants.scope import SETTING
from workflows.lanes import hurry
from workflows.lanes.message import Statement, exchange
from workflows.lanes.wire import engine_cursor

_ROWS, _ALL = object(), object()
"""What a share waits for."""
_ENTER = f"SELECT set_config('{SETTING}', %s, true)"


@dataclass(slots=True)
class _Statement:
    text: str
    parameters: Any
    step: int
    """How often its share has waited for all before it."""
    kept: bool = False
    """Whether its rows are wanted."""
    rows: list[tuple[Any, ...]] | None = None


@dataclass(slots=True)
class Share:
    """The cursor of one tenant's share. Rows are those of the last statement, and are asked for once."""

    tenant_id: uuid.UUID
    queued: list[_Statement] = field(default_factory=list)
    step: int = 0

    def execute(self, statement: str, parameters: Any = ()) -> None:
        self.queued.append(_Statement(statement, parameters, self.step))

    def later(self, statement: str, parameters: Any = ()) -> Callable[[], list[tuple[Any, ...]]]:
        """Execute it; what is returned gives its rows, and costs a message only where none has left since."""
        asked = _Statement(statement, parameters, self.step, kept=True)
        self.queued.append(asked)
        return lambda: self._rows_of(asked)

    def fetchall(self) -> list[tuple[Any, ...]]:
        self.queued[-1].kept = True
        return self._rows_of(self.queued[-1])

    def _rows_of(self, statement: _Statement) -> list[tuple[Any, ...]]:
        if statement.rows is None:
            getcurrent().parent.switch(_ROWS)  # type: ignore[union-attr]
        assert statement.rows is not None
        return statement.rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(iter(self.fetchall()), None)

    def wait_for_all(self) -> None:
        """Go on when every other share is here too, or has ended."""
        getcurrent().parent.switch(_ALL)  # type: ignore[union-attr]
        self.step += 1


class _Writer:
    """A share, and the code that writes it: it stands still where it waits for rows or for the others."""

    def __init__(self, share: Share, write: Callable[[Share], None]) -> None:
        self.share = share
        self._code = greenlet(lambda: write(share))
        # It is this thread's work: what the context says of it holds there too.
        self._code.gr_context = contextvars.copy_context()
        self.wants_rows = False

    @property
    def ended(self) -> bool:
        return self._code.dead

    def go_on(self) -> None:
        self.wants_rows = self._code.switch() is _ROWS

    def give_up(self) -> None:
        if not self.ended:
            self._code.throw()


def write_abreast(
    wrapper: Any,
    shares: Sequence[tuple[uuid.UUID, Callable[[Share], None]]],
    *,
    entered: uuid.UUID,
    pipelined: bool = True,
) -> None:
    """Write the shares (tenant, what writes its share), in the order of their tenants, in the open transaction of this
    connection, in which the tenant `entered` is set; where it is not to be `pipelined`, one statement after the other.
    Raises what a share raises, and django.db.Error; the transaction is to end then."""
    line = _Line(wrapper, entered, pipelined=pipelined)
    writers = [_Writer(Share(tenant_id), write) for tenant_id, write in shares]
    try:
        for writer in writers:
            writer.go_on()
        while waiting := [writer for writer in writers if not writer.ended]:
            if asking := [writer for writer in waiting if writer.wants_rows]:
                line.send(writers)
            for writer in asking or waiting:
                writer.go_on()
        line.send(writers)
    finally:
        for writer in writers:
            writer.give_up()


class _Line:
    """The connection: says which tenant's a statement is, where that changes."""

    def __init__(self, wrapper: Any, entered: uuid.UUID, *, pipelined: bool) -> None:
        self._wrapper, self._entered, self._pipelined = wrapper, entered, pipelined

    def send(self, writers: Sequence[_Writer]) -> None:
        """Send everything that is queued, and keep the rows that are wanted with their statements."""
        queued = [(writer.share.tenant_id, entry) for writer in writers for entry in writer.share.queued]
        for writer in writers:
            writer.share.queued = []
        if not queued:
            return
        # What a share sent before it waited for all is locked before what others sent after it.
        queued.sort(key=lambda pair: pair[1].step)
        if not self._pipelined or self._is_watched() or not self._ends_by_itself():
            self._one_by_one(queued)
            return
        statements: list[Statement] = []
        wanted: list[int] = []
        for tenant_id, entry in queued:
            if tenant_id != self._entered:
                self._entered = tenant_id
                statements.append((_ENTER, (str(tenant_id),)))
            if entry.kept:
                wanted.append(len(statements))
            statements.append((entry.text, entry.parameters))
        with self._wrapper.wrap_database_errors:
            found = exchange(self._wrapper.connection, statements, wanted)
        for (_, entry), rows in zip((pair for pair in queued if pair[1].kept), found, strict=True):
            entry.rows = rows

    def _is_watched(self) -> bool:
        return bool(self._wrapper.queries_logged or self._wrapper.execute_wrappers)

    def _ends_by_itself(self) -> bool:
        """Whether PostgreSQL ends this transaction when it hears nothing more in the middle of a message (hurry.py)."""
        version: int = self._wrapper.connection.info.server_version
        return version >= hurry.TRANSACTIONS_END_FROM

    def _one_by_one(self, queued: Sequence[tuple[uuid.UUID, _Statement]]) -> None:
        """The same one after the other: also where Django's log or a wrapper is to see each statement, which a pipeline has
        no place for, and where PostgreSQL is too old for one."""
        with engine_cursor(self._wrapper.alias, prepared=True) as cursor:
            for tenant_id, entry in queued:
                if tenant_id != self._entered:
                    self._entered = tenant_id
                    cursor.execute(_ENTER, (str(tenant_id),))
                cursor.execute(entry.text, entry.parameters)
                if entry.kept:
                    entry.rows = cursor.fetchall()
