"""What other apps leave out of the tables, and what they add beside them."""

import uuid
from collections.abc import Callable, Iterator

# Called with the tenant outside any scope; (path in the archive, chunks of content), each chunk read in its own scope.
Extra = Callable[[uuid.UUID], Iterator[tuple[str, Iterator[bytes]]]]

_left_out: dict[str, set[str]] = {}
_extras: dict[str, Extra] = {}


def leave_out(table: str, *columns: str) -> None:
    """Register columns that say nothing outside this installation: keyed hashes, fingerprints."""
    _left_out.setdefault(table, set()).update(columns)


def add(name: str, extra: Extra) -> None:
    """Register files that go into every export beside the tables."""
    _extras[name] = extra


def left_out_of(table: str) -> set[str]:
    return _left_out.get(table, set())


def extras() -> list[Extra]:
    return list(_extras.values())
