"""Reading JSON bodies: bounded in size and depth, and nothing in them that JSON does not know."""

import json
import math
import re
from typing import Any, Never

from django.conf import settings
from rest_framework.parsers import BaseParser

from tenants.api.errors import InvalidJson, PayloadTooLarge

MAX_DEPTH = 32
MAX_VALUES = 250_000
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[,{[]', re.DOTALL)
_QUOTE = ord('"')


class StrictJSONParser(BaseParser):
    """Any JSON value of at most settings.DATA_UPLOAD_MAX_MEMORY_SIZE bytes, MAX_VALUES values and MAX_DEPTH levels.

    Raises InvalidJson and PayloadTooLarge. NUL characters and lone surrogates inside strings are let through: what to
    do about them is for the field that they are in.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if int(stream.META.get("CONTENT_LENGTH") or 0) > limit:
            raise _too_large(limit)
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise _too_large(limit)
        _weigh(raw)
        try:
            # Python would read UTF-16 and UTF-32 as well, which were not weighed.
            value = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
        except RecursionError:
            raise _too_deep() from None
        except json.JSONDecodeError as error:
            raise InvalidJson(
                f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            ) from None
        except UnicodeDecodeError:
            raise InvalidJson("The body is not text in UTF-8.") from None
        except ValueError as error:  # also a whole number of more than 4,300 digits
            raise InvalidJson(f"The body is not JSON that can be read: {error}.") from None
        _check(value)
        return value


def _weigh(raw: bytes) -> None:
    """Refuse what is small as text and large in memory: a value of two bytes takes sixty as an object of ours."""
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") <= MAX_VALUES:
        return
    values = 0
    for tokens, found in enumerate(_TOKEN.finditer(raw)):  # what stands inside texts is no value
        values += raw[found.start()] != _QUOTE
        if values > MAX_VALUES or tokens > 4 * MAX_VALUES:
            raise _too_many()


def _check(value: Any) -> None:
    """Refuse what is nested too deeply, and numbers that JSON can write and no number can hold."""
    level, depth = [value], 0
    while level:
        depth += 1
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper += item.values()
            elif isinstance(item, list):
                deeper += item
            elif isinstance(item, float) and math.isinf(item):
                raise InvalidJson("The body holds a number that is too large.")
        if deeper and depth > MAX_DEPTH:
            raise _too_deep()
        level = deeper


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON value")


def _too_deep() -> InvalidJson:
    return InvalidJson(f"The body is nested more than {MAX_DEPTH} levels deep.")


def _too_many() -> PayloadTooLarge:
    return PayloadTooLarge(f"The body holds more than {MAX_VALUES:,} values. Split it, or upload a CSV file.")


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The body is larger than {limit // 1_048_576} MiB. Split it, or upload a CSV file."
    )
