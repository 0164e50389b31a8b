"""Where higher apps tell the console's pages of lower ones what belongs to their rows."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from django.db import models
from django.utils.safestring import SafeString

from tenants.ops_console import cells


@dataclass(frozen=True)
class Related:
    """A list that belongs to a row: its label, its model ("app.model"), and the filter that takes the row's id."""

    label: str
    model: str
    filter: str


_related: dict[str, list[Related]] = defaultdict(list)
_choices: dict[str, Callable[[], list[tuple[str, str]]]] = {}


def relate(to: str, *lists: Related) -> None:
    """Show these lists on every row of a model ("app.model")."""
    _related[to].extend(lists)


def offer(field: str, choices: Callable[[], list[tuple[str, str]]]) -> None:
    """Name what may be chosen for a field ("app.model.field") whose values a higher app owns."""
    _choices[field] = choices


def choices_of(field: str) -> list[tuple[str, str]]:
    return _choices[field]() if field in _choices else []


def links_of(instance: models.Model, most: int | None = None) -> SafeString:
    """The lists that belong to a row, or the first of them, beside each other. Asks the database nothing."""
    return cells.inline(
        [
            cells.rows(related.model, related.label, **{related.filter: instance.pk})
            for related in _related[instance._meta.label_lower][:most]
        ]
    )
