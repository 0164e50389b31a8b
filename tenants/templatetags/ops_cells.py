"""The console's cells, for templates."""

from typing import Any

from django import template

from tenants.ops_console import cells

register = template.Library()
register.filter("pill", cells.pill)
register.filter("when", cells.when)
register.filter("credit", cells.credit)
register.filter("row", cells.row)


@register.filter
def commas(text: str) -> list[str]:
    return text.split(",")


@register.filter
def words(name: str) -> str:
    """no_credits -> no credits"""
    return name.replace("_", " ")


@register.filter
def page_of(instance: Any, text: str) -> str:
    """A link to a row's page."""
    return cells.page(instance._meta.label_lower, instance.pk, text)


@register.filter
def page_in(key: object, model: str) -> str:
    """A link to the page of a row that is not loaded; `model` is "app.model"."""
    return cells.page(model, key)


@register.filter
def pill_as(text: str, state: str) -> str:
    """A word in the colour of another state."""
    return cells.pill(state, text)


@register.simple_tag
def page_link(model: str, key: object, text: str) -> str:
    """A link to the page of a row that is not loaded, by its name."""
    return cells.page(model, key, text)
