"""How values look in the console: links, states, times, credits. All of it is escaped here, once."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

NOTHING = "–"

_PILL = (
    "inline-block font-semibold rounded-default text-[11px] uppercase whitespace-nowrap h-6 leading-6 px-2 "
)
_COLOURS = {
    "good": "bg-green-100 text-green-700 dark:bg-green-500/20 dark:text-green-400",
    "busy": "bg-blue-100 text-blue-700 dark:bg-blue-500/20 dark:text-blue-400",
    "warn": "bg-orange-100 text-orange-700 dark:bg-orange-500/20 dark:text-orange-400",
    "bad": "bg-red-100 text-red-700 dark:bg-red-500/20 dark:text-red-400",
    "plain": "bg-base-500/8 text-base-700 dark:bg-base-500/20 dark:text-base-200",
}
_KIND_OF = {
    **dict.fromkeys(("active", "ok", "completed", "found", "done", "hit", "closed", "live"), "good"),
    **dict.fromkeys(("running", "queued", "waiting", "cached", "half_open", "in flight"), "busy"),
    **dict.fromkeys(
        ("paused", "degraded", "no_credits", "reauth_needed", "rate_limited", "late", "ambiguous"), "warn"
    ),
    **dict.fromkeys(
        ("failed", "auth_failed", "suspended", "closing", "revoked", "dead", "error", "timeout", "open"),
        "bad",
    ),
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def pill(value: str, text: str = "") -> SafeString | str:
    """A state as a coloured word."""
    if not value:
        return NOTHING
    colour = _COLOURS[_KIND_OF.get(value, "plain")]
    return format_html('<span class="{}">{}</span>', _PILL + colour, text or value.replace("_", " "))


def short(key: uuid.UUID | str | None) -> str:
    """An id, short: its last eight digits, the random ones."""
    return f"\u2026\u2060{str(key)[-8:]}" if key else NOTHING


def anchor(url: str, text: object, title: object = "") -> SafeString:
    return format_html('<a class="text-link whitespace-nowrap" href="{}" title="{}">{}</a>', url, title, text)


def page(model: str, key: object, text: object = "") -> SafeString | str:
    """A link to the page of one row; `model` is "app.model". The row need not be loaded."""
    if not key:
        return NOTHING
    try:
        url = reverse(f"admin:{model.replace('.', '_')}_change", args=[key])
    except NoReverseMatch:
        return str(text or short(str(key)))
    return anchor(url, text or short(str(key)), key)


def row(instance: models.Model | None) -> SafeString | str:
    """A link to the page of a row that is loaded."""
    return page(instance._meta.label_lower, instance.pk, str(instance)) if instance else NOTHING


def rows(model: str, text: object, **filters: object) -> SafeString:
    """A link to a list, filtered."""
    url = reverse(f"admin:{model.replace('.', '_')}_changelist")
    query = urlencode({name: str(value) for name, value in filters.items()})
    return anchor(f"{url}?{query}" if query else url, text)


def inline(parts: list[SafeString | str]) -> SafeString:
    """Links beside each other."""
    return nowrap(format_html_join(" · ", "{}", ((part,) for part in parts)))


def nowrap(text: SafeString | str) -> SafeString:
    """On one line; the table scrolls where it is too wide."""
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


def seconds(duration: float, units: int = 2) -> str:
    """A duration in its biggest units: 1 d 4 h, 3 min 20 s."""
    left = max(0, int(duration))
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(parts) < units:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts) or "0 s"


def when(moment: datetime | None) -> SafeString | str:
    """A time as seen from now, the exact one on hover."""
    if moment is None:
        return NOTHING
    away = (timezone.now() - moment).total_seconds()
    text = f"{seconds(away, 1)} ago" if away >= 0 else f"in {seconds(-away, 1)}"
    exact = moment.isoformat(sep=" ", timespec="seconds")
    return format_html(
        '<time class="whitespace-nowrap" datetime="{}" title="{}">{}</time>', exact, exact, text
    )


def credit(thousandths: int | None) -> str:
    """The vendor's credits, kept in thousandths."""
    return NOTHING if thousandths is None else f"{thousandths / 1000:,.3f}".rstrip("0").rstrip(".")


def limits(windows: list[Mapping[str, Any]], parallelism: int) -> str:
    """A lane's limits in short: 5/s, 300/min, 2,000/d, 10 at once."""
    parts = [
        f"{window['rate']:,}/{_period(window['period'])}"
        + (f" {window['group']}" if window.get("group") else "")
        for window in windows
    ]
    return ", ".join([*parts, f"{parallelism:,} at once"])


def _period(length: float) -> str:
    """A window's length: s, 10 s, min, 0.5 s."""
    text = seconds(length) if length >= 1 and length == int(length) else f"{length:g} s"
    return text.removeprefix("1 ")


def address(url: str) -> str:
    """Where a URL goes, without what may be secret in it: credentials and the query."""
    if not url:
        return NOTHING
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}" + ("?…" if parts.query else "")
