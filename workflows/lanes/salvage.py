"""A flush that PostgreSQL refuses though it is not away: written tenant by tenant, and where one tenant's share is refused,
piece by piece, so that nobody waits for what is wrong with another's rows.

Three kinds of errors. **Away**: the whole database, or the moment; the same is tried again. **Refused**: what was to be
written (a character that PostgreSQL does not take, a number too large, a constraint): it never will be, and its record
ends without it. **Anything else** (a missing grant or column, a damaged index): nothing is given up, that tenant's share is
tried again later, and the others go on. So is what somebody else has in hand for long: a request that stands still in
the middle holds up its own tenant alone.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace

import structlog
from django.db import DatabaseError, DataError, Error, IntegrityError, InterfaceError, OperationalError
from psycopg.errors import LockNotAvailable

from tenants.ids import uuid7
from workflows.catalog import Final
from workflows.lanes import settle
from workflows.lanes.stamp import Stamp
from workflows.lanes.work import Batch, Flushed, Settlement, Work

log = structlog.get_logger(__name__)

# By class of SQLSTATE (PostgreSQL's manual, appendix A).
AWAY_STATES = ("08", "25", "40", "53", "55", "57", "58")
REFUSED_STATES = ("21", "22", "23", "44", "54")
UNKEPT = {
    "code": "internal_error",
    "message": "The vendor's answer could not be stored. Retry the record to ask the vendor again.",
}
UNBEGUN = {"code": "internal_error", "message": "The step could not be begun. Retry the record."}


def is_away(error: Error) -> bool:
    """Whether the same flush may succeed later, unchanged and as a whole."""
    state = _state(error)
    away = isinstance(error, OperationalError | InterfaceError) and (not state or state in AWAY_STATES)
    return away and not isinstance(error.__cause__, LockNotAvailable)


def is_refused(error: Error) -> bool:
    """Whether the rows themselves are the trouble."""
    return isinstance(error, DataError | IntegrityError) or _state(error) in REFUSED_STATES


def _state(error: Error) -> str:
    return (getattr(error.__cause__, "sqlstate", None) or "")[:2]


class Apart:
    """One batch, written in parts. `write` may be called again after an error, and goes on where it was."""

    def __init__(self, batch: Batch) -> None:
        self._parts = [part for _, part in sorted(settle.by_tenant(batch).items())]
        self._done = Flushed()

    def write(self, holder: uuid.UUID) -> Flushed:
        """Write what can be written; `kept` in the result has what is to be tried again later. Raises django.db.Error when
        the database is away."""
        while self._parts:
            part = self._parts[-1]
            part.retried = True
            try:
                self._write(part, holder)
            except DatabaseError as error:
                if is_away(error):
                    raise
                log.error("tenant_not_written", error=type(error).__name__, state=_state(error))  # noqa: TRY400
                self._done.kept.append(part)
            self._parts.pop()
        return self._done

    def _write(self, part: Batch, holder: uuid.UUID) -> None:
        """One tenant's share, as a whole or, where that is refused, piece by piece."""
        if self._written(part, holder):
            return
        for settlement in part.settlements:
            self._settled(settlement, holder)
        self._written(Batch(unstamps=part.unstamps, starts=part.starts, retried=True), holder)
        self._begun(part.stamps, holder)

    def _settled(self, settlement: Settlement, holder: uuid.UUID) -> None:
        """A settlement that is refused ends its record without the answer; one that is refused even so is dropped."""
        for attempt in (settlement, _without_answer(settlement)):
            if self._written(Batch(settlements=[attempt], retried=True), holder):
                return
        self._done.late += 1

    def _begun(self, stamps: Sequence[Stamp], holder: uuid.UUID) -> None:
        """As many of these starts as can be stamped: halves, and halves of halves, until what is refused is alone."""
        if not stamps or self._written(Batch(stamps=list(stamps), retried=True), holder):
            return
        if len(stamps) == 1:
            self._settled(_given_up(stamps[0][0]), holder)
            return
        half = len(stamps) // 2
        self._begun(stamps[:half], holder)
        self._begun(stamps[half:], holder)

    def _written(self, piece: Batch, holder: uuid.UUID) -> bool:
        """False where it is refused. Raises every other error."""
        try:
            self._done.add(settle.flush(piece, holder))
        except DatabaseError as error:
            if not is_refused(error):
                raise
            steps = [*(s.work.id for s in piece.settlements), *(work.id for work, _, _ in piece.stamps)]
            log.error("flush_refused", error=type(error).__name__, steps=[str(step) for step in steps[:10]])  # noqa: TRY400
            return False
        return True


def flush_apart(batch: Batch, holder: uuid.UUID) -> Flushed:
    """`Apart` in one go."""
    return Apart(batch).write(holder)


def _without_answer(settlement: Settlement) -> Settlement:
    return replace(
        settlement, status="dead", outcome="error", answer=None, reason="The answer could not be stored.", ask=None,
        ask_fingerprint="", final=Final("failed", None, UNKEPT), again_after=None, again_reason="", skipped=[],
        job=None, goes_on=False,
    )  # fmt: skip


def _given_up(work: Work) -> Settlement:
    """A step that cannot be stamped: no call was made."""
    work.reserved = work.held
    return Settlement(
        work, uuid7(), None, "error", "dead", reason="The step could not be begun.", called=False,
        final=Final("failed", None, UNBEGUN),
    )  # fmt: skip
