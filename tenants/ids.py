"""Identifiers: UUIDv7 everywhere, so that keys are unguessable and still ordered by time."""

import uuid
from datetime import UTC, datetime, timedelta

import uuid_utils.compat

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7() -> uuid.UUID:
    """A new time-ordered UUID; two made in one process never go backwards within a millisecond."""
    return uuid_utils.compat.uuid7()


def moment_of(id_: uuid.UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=id_.int >> 80)


def first_id_at(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7 that was made at a moment or later: ids are ordered by time, so their index is one over time."""
    milliseconds = -((_EPOCH - moment) // timedelta(milliseconds=1))
    return uuid.UUID(int=max(0, milliseconds) << 80)
