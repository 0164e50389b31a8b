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
    PATIENCE_S = 0.25
    """For so long is another's read waited for: one that a silent database keeps must not keep everybody."""

    def __init__(
        self, read: Callable[[Sequence[Key]], Mapping[Key, Value]], *, seconds: float, nothing: Value
    ) -> None:
        self._read, self._seconds, self._nothing = read, seconds, nothing
        self._known: dict[Key, tuple[float, Value]] = {}
        self._in_use: set[Key] = set()
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> Value:
        """What is known of the key, or what there is of it now."""
        known = self._fresh(key)
        if known is None:
            turn = self._reading.acquire(timeout=self.PATIENCE_S)
            try:
                # Whoever read while this thread waited has most likely read this one too.
                known = self._fresh(key) or self._read_now(
                    key, self._in_use_soon_too_old(key) if turn else []
                )
            finally:
                if turn:
                    self._reading.release()
        if known[1] is not self._nothing:
            self._in_use.add(key)
        return known[1]

    def put(self, key: Key, value: Value, *, read_at: float) -> None:
        """Remember what was read elsewhere, at this time of the monotonic clock."""
        with self._writing:
            self._keep(key, value, read_at)

    def forget(self, key: Key | None = None) -> None:
        """Read this one, or all of them, when they are asked for next. What is being read meanwhile is not remembered."""
        with self._writing:
            self._forgotten += 1
            if key is None:
                self._known.clear()
            else:
                self._known.pop(key, None)

    def _fresh(self, key: Key) -> tuple[float, Value] | None:
        known = self._known.get(key)
        return known if known and time.monotonic() - known[0] < self._seconds else None

    def _keep(self, key: Key, value: Value, read_at: float) -> None:
        if len(self._known) > self.MOST:
            self._known.clear()
            self._in_use.clear()
        known = self._known.get(key)
        if known is None or known[0] <= read_at:
            self._known[key] = (read_at, value)

    def _read_now(self, key: Key, others: list[Key]) -> tuple[float, Value]:
        now, forgotten = time.monotonic(), self._forgotten
        found = self._read([key, *others])
        self._in_use.difference_update(others)
        with self._writing:
            if self._forgotten == forgotten:  # else this may be what was so before
                for other, value in found.items():
                    self._keep(other, value, now)
                if key not in found:
                    # Of the others too there may be nothing any more: whoever asks for one of those finds out.
                    self._keep(key, self._nothing, now)
        return now, found.get(key, self._nothing)

    def _in_use_soon_too_old(self, key: Key) -> list[Key]:
        now = time.monotonic()
        soon = [other for other in list(self._in_use) if other != key and self._is_soon_too_old(other, now)]
        return soon[: self.AT_ONCE - 1]

    def _is_soon_too_old(self, key: Key, now: float) -> bool:
        known = self._known.get(key)
        return known is None or now - known[0] >= self._seconds / 2
