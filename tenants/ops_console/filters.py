"""Filters that use an index, or stay within a stretch of time that does."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    BooleanRadioFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    TextFilter,
)

from tenants.ids import first_id_at

# Chosen by typing: tenants are too many for a list.
TENANT = ("tenant", AutocompleteSelectFilter)


def choice(field: str) -> tuple[str, type]:
    """One of a field's choices."""
    return (field, ChoicesDropdownFilter)


def yes_or_no(field: str) -> tuple[str, type]:
    return (field, BooleanRadioFilter)


def as_uuid(text: str) -> uuid.UUID | None:
    """The id that somebody typed or pasted; None when it is none."""
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        return None


def id_filter(column: str, label: str) -> type[TextFilter]:
    """A filter for an id that is pasted, or brought by a link from the row that it belongs to."""

    class ById(TextFilter):
        title = label
        parameter_name = column

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            wanted = self.value()
            if not wanted:
                return queryset
            key = as_uuid(wanted)
            if key is None:
                raise IncorrectLookupParameters
            return queryset.filter(**{column: key})

    return ById


class MadeFilter(DropdownFilter):
    """When the row was made, told by its id."""

    title = "age"
    parameter_name = "made"
    stretches = {
        "15m": ("Last 15 minutes", timedelta(minutes=15)),
        "1h": ("Last hour", timedelta(hours=1)),
        "24h": ("Last 24 hours", timedelta(days=1)),
        "7d": ("Last 7 days", timedelta(days=7)),
        "30d": ("Last 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(key, label) for key, (label, _) in self.stretches.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in self.stretches:
            return queryset
        return queryset.filter(pk__gte=first_id_at(timezone.now() - self.stretches[self.value()][1]))
