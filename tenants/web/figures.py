"""Figures as people read them. Pure functions."""

from datetime import datetime
from typing import Any

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def count(value: Any) -> str:
    """A whole number with its thousands grouped."""
    return f"{int(value or 0):,}"


def credit(thousandths: int | None) -> str:
    """Thousandths of a credit as credits, without empty decimals; a dash for unknown."""
    if thousandths is None:
        return "–"
    whole, rest = divmod(abs(thousandths), 1000)
    decimals = f".{rest:03d}".rstrip("0") if rest else ""
    return f"{'-' if thousandths < 0 else ''}{whole:,}{decimals}"


def percent(part: int, whole: int) -> str:
    """A share in whole per cent; never 0 % or 100 % where it is not quite so."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 1:
        return "<1%"
    if 99 < share < 100:
        return ">99%"
    return f"{share:.0f}%"


def span(seconds: float | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{round(seconds * 1000):,} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < MINUTE:
        return f"{total} s"
    if total < HOUR:
        return _two(total, MINUTE, "min", 1, "s")
    if total < DAY:
        return _two(total, HOUR, "h", MINUTE, "min")
    return _two(total, DAY, "d", HOUR, "h")


def _two(total: int, large: int, large_name: str, small: int, small_name: str) -> str:
    first, rest = divmod(total, large)
    second = rest // small
    return f"{first} {large_name} {second} {small_name}" if second else f"{first} {large_name}"


def ago(seconds: float) -> str:
    """How long ago, in words that weir.js repeats."""
    if seconds < 10:
        return "just now"
    for size, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {name}{'s' if number != 1 else ''} ago"
    return "just now"


def day(moment: datetime) -> str:
    return f"{moment.day} {moment:%b %Y}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """1 row, 2 rows."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(words: list[str], joiner: str = "and") -> str:
    """a; a and b; a, b and c."""
    return f" {joiner} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def every(rate: int, period: float) -> str:
    """A rate window in words: 5 per second, 300 per minute, 20 per 10 seconds."""
    named = {1: "second", MINUTE: "minute", HOUR: "hour", DAY: "day"}
    return f"{rate:,} per {named[int(period)] if period in named else f'{period:g} seconds'}"


def axis(length: float, marks: int = 5) -> list[str]:
    """The labels of an axis of so many seconds, all in one unit."""
    steps = [length * mark / (marks - 1) for mark in range(marks)]
    if length < 2:
        return [f"{step * 1000:,.0f} ms" for step in steps]
    if length < 2 * MINUTE:
        return [f"{step:.1f} s" for step in steps]
    return [f"{step / MINUTE:,.1f} min" for step in steps]
