"""The one place that keeps secrets out of logs and error reports."""

import re
import uuid
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from tenants.secret import MASK, mask

DEEPEST = 8

_SECRET_NAMES = re.compile(
    r"(pass(word|wd)?|secret|token|authori[sz]ation|cookie|api[-_]?key|x-key|^key$|vault|dsn|credential|session|signature|"
    r"csrf|(database|redis|broker|email)[-_]?\w*url)",
    re.IGNORECASE,
)
_SECRET_VALUES = re.compile(
    r"""(?x)
    \b(?:wk|sk|rk|pk)_(?:live|test)_[A-Za-z0-9]+   # our API keys, Stripe's
    | \bwhsec_[A-Za-z0-9+/=_-]+
    | (?<=://)[^\s/:@]*:[^\s/@]+(?=@)              # user and password of an address
    | (?<=/hooks/)[^\s'"?]+ | (?<=/key/)[^\s'"?]+   # paths that are keys
    | (?<=/invitations/)[A-Za-z0-9_-]{43}[A-Za-z0-9_.-]*
    | (?i:(?<=bearer\s)|(?<=basic\s))[A-Za-z0-9._~+/=-]+
    | (?i:(?<=apikey=)|(?<=api_key=)|(?<=apiid=)|(?<=token=)|(?<=secret=)|(?<=password=))[^\s&"']+
    """
)
# A header or a field as it stands in the repr of a dict, in JSON, or in a message.
_NAMED_VALUES = re.compile(
    r"""(?ix)
    (?P<name> \b(?: x-key | x-api-key | (?:proxy-)?authorization | (?:set-)?cookie | api[-_]?key | apiid
              | client[-_]secret | (?:access|refresh|id|csrf)[-_]?token | secret | password )
      \\?["']? \s* [:=] \s* (?:b?\\?["'])? (?:(?:bearer|basic)\s)? )
    (?P<value> [^\s"'\\,;&}\])]+ )
    """
)
_PLAIN = (bool, int, float, Decimal, date, time, timedelta, uuid.UUID, type(None))


def scrub_text(text: str) -> str:
    """The text without secrets that are alive in this process, follow a telling name, or have a known form."""
    text = _SECRET_VALUES.sub(MASK, mask(text))
    return _NAMED_VALUES.sub(lambda found: found["name"] + MASK, text)


@lru_cache(1024)
def _gives_away(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def scrub(value: Any, *, name: str = "", depth: int = 0) -> Any:
    """A copy without secrets: those that are alive, that a name gives away, or that can be told by their form.

    What is neither plain nor a container becomes text, as whoever writes it down would make of it later.
    """
    if name and _gives_away(name) and value not in (None, "", True, False):
        return MASK
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return scrub_text(bytes(value).decode(errors="replace"))
    if isinstance(value, _PLAIN):
        return value
    if depth > DEEPEST:
        return MASK
    if isinstance(value, Mapping):
        return {
            scrub_text(key) if isinstance(key, str) else key: scrub(item, name=str(key), depth=depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [scrub(item, depth=depth + 1) for item in value]
    return scrub_text(str(value))
