"""A secret in memory: a type that shows nothing of itself, and a mask for text that such a secret got into.

Every `Secret` that is alive is known here, so logs and error reports can be rid of it even where a library put it into
a message of its own. Nothing is kept longer than the secret itself.
"""

import hmac
import json
import weakref
from typing import Any, Never, Self
from urllib.parse import quote, quote_plus

MASK = "****"
SHORTEST = 8
"""Shorter values are not looked for in text: they would be found in words that have nothing to do with them."""

# By id: a reference whose end removes the entry, and what the secret looks like in text.
_alive: "dict[int, tuple[weakref.ref[Secret], tuple[str, ...]]]" = {}


class Secret:
    """A plain secret. `reveal()` is for the moment of its use; everything else masks it or refuses."""

    __slots__ = ("__weakref__", "_value")

    _value: str

    def __init__(self, value: "str | Secret") -> None:
        plain = value._value if isinstance(value, Secret) else value
        object.__setattr__(self, "_value", plain)
        key = id(self)
        if len(plain) >= SHORTEST:
            _alive[key] = weakref.ref(self, lambda _: _alive.pop(key, None)), _shapes(plain)

    def reveal(self) -> str:
        return self._value

    def strip(self) -> "Secret":
        """The same without white space around it."""
        return Secret(self._value.strip())

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a set or a cache key would keep it for longer than it is needed

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError("A secret cannot be changed.")

    __delattr__ = __setattr__  # type: ignore[assignment]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> Never:
        raise TypeError("A secret cannot be pickled.")

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("A secret cannot be pickled.")

    __reduce__ = __reduce_ex__  # type: ignore[assignment]


def mask(text: str) -> str:
    """The text without the secrets that are alive now: plain, as in an address, and as in JSON."""
    for _, shapes in list(_alive.values()):  # one step for the interpreter: other threads may add meanwhile
        for shape in shapes:
            if shape in text:
                text = text.replace(shape, MASK)
    return text


def _shapes(value: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            (value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1])
        )
    )
