"""A flush that PostgreSQL refuses for what is in it, not for being away: written piece by piece, so that one answer that
cannot be kept (a character that PostgreSQL does not take, a run that is gone) does not hold up every lane of a worker."""

import uuid
from dataclasses import replace

import structlog
from django.db import DataError, IntegrityError

from workflows.catalog import Final
from workflows.lanes import settle
from workflows.lanes.work import Batch, Flushed, Settlement

log = structlog.get_logger(__name__)

REFUSED = (DataError, IntegrityError)
UNKEPT = {
    "code": "internal_error",
    "message": "The vendor's answer could not be stored. Retry the record to ask the vendor again.",
}


def flush_apart(batch: Batch, holder: uuid.UUID) -> Flushed:
    """Write what can be written. A settlement that is refused ends its record without the answer; one that is refused
    even so is dropped and logged. Raises django.db.Error when the database is away, and may then be called again."""
    done = Flushed()
    for settlement in batch.settlements:
        _add(done, _settled(settlement, holder))
    rest = Batch(stamps=batch.stamps, unstamps=batch.unstamps, starts=batch.starts, retried=True)
    try:
        _add(done, settle.flush(rest, holder))
    except REFUSED as error:
        log.error("starts_refused", error=type(error).__name__, starts=len(rest.stamps))  # noqa: TRY400 - may hold data
    return done


def _settled(settlement: Settlement, holder: uuid.UUID) -> Flushed:
    for attempt in (settlement, _without_answer(settlement)):
        try:
            return settle.flush(Batch(settlements=[attempt], retried=True), holder)
        except REFUSED as error:
            log.error("settlement_refused", step=str(settlement.work.id), error=type(error).__name__)  # noqa: TRY400
    return Flushed(late=1)


def _without_answer(settlement: Settlement) -> Settlement:
    return replace(
        settlement, status="dead", outcome="error", answer=None, reason="The answer could not be stored.", ask=None,
        ask_fingerprint="", final=Final("failed", None, UNKEPT), again_after=None, again_reason="", skipped=[],
        job=None, goes_on=False,
    )  # fmt: skip


def _add(done: Flushed, more: Flushed) -> None:
    done.stamped |= more.stamped
    done.parked |= more.parked
    done.woken |= more.woken
    done.completed += more.completed
    done.late += more.late
