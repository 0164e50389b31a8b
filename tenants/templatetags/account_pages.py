"""What the pages about one's own account use."""

import json
from typing import Any

from django import template
from django.core.serializers.json import DjangoJSONEncoder

from tenants.web import figures

register = template.Library()

# First match wins: most browsers name others beside themselves.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


@register.filter
def browser(user_agent: str) -> str:
    """“Firefox on Windows”; what cannot be told is left out."""
    name = next((word for mark, word in _BROWSERS if mark in user_agent), "")
    system = next((word for mark, word in _SYSTEMS if mark in user_agent), "")
    if name and system:
        return f"{name} on {system}"
    return name or system or (user_agent[:60] or "A browser without a name")


@register.filter
def counted(number: int, noun: str) -> str:
    """3 -> 3 sessions."""
    return figures.counted(number, noun)


@register.filter
def as_json(value: Any) -> str:
    """For an attribute that weir.js reads; escaped there like any text."""
    return json.dumps(value, cls=DjangoJSONEncoder)
