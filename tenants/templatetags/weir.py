"""What the templates of every app use: icons, figures, times and the status words."""

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tenants.web import addresses, figures, icons, statuses

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    return icons.icon(name)


@register.filter
def count(value: Any) -> str:
    """1234567 -> 1,234,567."""
    return figures.count(value)


@register.filter("credits")
def credit(thousandths: int | None) -> str:
    """1204500 -> 1,204.5; None -> a dash."""
    return figures.credit(thousandths)


@register.filter
def plural_credits(thousandths: int) -> str:
    """The s of “1.5 credits”, and nothing for exactly one."""
    return "" if thousandths == 1000 else "s"


@register.filter
def percent(part: int, whole: int) -> str:
    return figures.percent(part, whole)


@register.filter
def span(seconds: float | None) -> str:
    """252 -> 4 min 12 s."""
    return figures.span(seconds)


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """“3 minutes ago”, with the exact time on hover; weir.js keeps it true."""
    if moment is None:
        return "never"
    return _time(moment, figures.ago((timezone.now() - moment).total_seconds()), attribute=" data-ago")


@register.filter
def clock(moment: datetime | None) -> SafeString | str:
    """14:32 in the viewer's zone, with the full time on hover."""
    if moment is None:
        return "–"
    return _time(moment, f"{timezone.localtime(moment):%H:%M:%S}")


@register.filter
def day(moment: datetime | None) -> SafeString | str:
    """20 Nov 2026, with the full time on hover."""
    if moment is None:
        return "–"
    return _time(moment, figures.day(timezone.localtime(moment)))


@register.filter
def spelled(email: str) -> SafeString | str:
    """A line to go under an address whose domain has letters of other scripts; nothing for any other."""
    other = addresses.other_spelling(email)
    return format_html('<span class="sub">The domain is {}</span>', other) if other else ""


@register.filter
def status_word(status: str) -> str:
    """catch_all -> Catch-all."""
    return statuses.shown(status).word if status else ""


@register.simple_tag
def pill(status: str, label: str = "") -> SafeString:
    """A status as icon, word and colour."""
    shown = statuses.shown(status)
    return format_html(
        '<span class="pill tone-{}">{}{}</span>', shown.tone, icons.icon(shown.icon), label or shown.word
    )


def _time(moment: datetime, words: str, *, attribute: str = "") -> SafeString:
    local = timezone.localtime(moment)
    exact = f"{figures.day(local)}, {local:%H:%M:%S} {local:%Z}"
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>', moment.isoformat(), exact, attribute, words
    )
