"""Identifiers: UUIDv7 everywhere, so that keys are unguessable and still ordered by time."""

import uuid
from datetime import datetime

import uuid_utils.compat


def uuid7() -> uuid.UUID:
    """A new time-ordered UUID; two made in one process never go backwards within a millisecond."""
    return uuid_utils.compat.uuid7()


def first_id_at(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of a moment: ids are ordered by time, so their index is one over time, too."""
    return uuid.UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)
