"""Identifiers: UUIDv7 everywhere, so that keys are unguessable and still ordered by time."""

import uuid

import uuid_utils.compat


def uuid7() -> uuid.UUID:
    """A new time-ordered UUID; two made in one process never go backwards within a millisecond."""
    return uuid_utils.compat.uuid7()
