"""What a process believes for a moment of what others may change, read anew for all that are in use at once."""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values by key, each believed for `seconds` at most. Safe to use from any thread.

    Who finds one too old reads with it those that were asked for since they were read and will soon be too old: with a
    hundred keys in use a second takes a few reads and not a hundred. `read` is given keys and returns what there is of
    them; `nothing` stands for what there is not. What `read` raises is raised, and nothing changes then.
    """

    MOST, AT_ONCE = 10_000, 500

    def __init__(
        self, read: Callable[[Sequence[Key]], Mapping[Key, Value]], *, seconds: float, nothing: Value
    ) -> None:
        self._read, self._seconds, self._nothing = read, seconds, nothing
        self._known: dict[Key, tuple[float, Value]] = {}
        self._in_use: set[Key] = set()
        self._reading = threading.Lock()
        self._writing = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> Value:
        """What is known of the key, or what there is of it now."""
        known = self._fresh(key)
        if known is None:
            with self._reading:
                # Whoever read while this thread waited has most likely read this one too.
                known = self._fresh(key) or self._read_with_others(key)
        if known[1] is not self._nothing:
            self._in_use.add(key)
        return known[1]

    def put(self, key: Key, value: Value, *, read_at: float) -> None:
        """Remember what was read elsewhere, at this time of the monotonic clock."""
        with self._writing:
            if len(self._known) > self.MOST:
                self._known.clear()
                self._in_use.clear()
            self._known[key] = (read_at, value)

    def forget(self, key: Key | None = None) -> None:
        """Read this one, or all of them, when they are asked for next."""
        with self._writing:
            if key is None:
                self._known.clear()
            else:
                self._known.pop(key, None)

    def _fresh(self, key: Key) -> tuple[float, Value] | None:
        known = self._known.get(key)
        return known if known and time.monotonic() - known[0] < self._seconds else None

    def _read_with_others(self, key: Key) -> tuple[float, Value]:
        now = time.monotonic()
        soon = [other for other in list(self._in_use) if other != key and self._is_soon_too_old(other, now)]
        soon = soon[: self.AT_ONCE - 1]
        found = self._read([key, *soon])
        self._in_use.difference_update(soon)
        for other, value in found.items():
            self.put(other, value, read_at=now)
        if key not in found:
            # Of the others too there may be nothing any more: whoever asks for one of those finds out.
            self.put(key, self._nothing, read_at=now)
        return now, found.get(key, self._nothing)

    def _is_soon_too_old(self, key: Key, now: float) -> bool:
        known = self._known.get(key)
        return known is None or now - known[0] >= self._seconds / 2
