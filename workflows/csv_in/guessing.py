"""Which column fills which field, guessed from the headings and, where they leave it open, the values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from workflows.csv_in.headings import is_plain_name, rank
from workflows.csv_in.mapping import fields_of
from workflows.links import (
    is_page_on_social_site,
    is_sales_navigator_url,
    normalise_domain,
    normalise_linkedin_url,
)

# The order in which fields choose: those that values can prove come before those that are only named.
_ORDER = ("linkedin_url", "email", "domain", "first_name", "last_name", "company", "full_name")
_PROVED_BY_VALUES = {"linkedin_url": 0.6, "email": 0.6}
_MAX_VALUES = 50

_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_LINK_OR_ADDRESS = re.compile(r"^(?:https?://|www\.)|^[^\s@]+@[^\s@]+\.[^\s@]+$", re.IGNORECASE)
_NUMBER = re.compile(r"[\d\s.,+%/:-]+")


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    values: list[str]


def guess_mapping(columns: Sequence[str], rows: Sequence[Sequence[str]], *, template: str) -> dict[str, str]:
    """The most likely column for each field of the template; a field for which none is likely is left out.

    `rows` are some of the data rows, in the order of `columns`; a shorter row counts as empty at its end.
    """
    fields = fields_of(template)
    free = [_Column(heading, _values(rows, index)) for index, heading in enumerate(columns)]
    mapping: dict[str, str] = {}
    for field in _ORDER:
        if field not in fields:
            continue
        scored = [
            (score, -index, column) for index, column in enumerate(free) if (score := _score(field, column))
        ]
        if scored:
            best = max(scored, key=lambda entry: entry[:2])[2]
            mapping[field] = best.heading
            free.remove(best)
    if "full_name" in fields:
        _place_plain_name(mapping, free)
    return {field: mapping[field] for field in fields if field in mapping}


def looks_like_data(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether what should be headings are the values of one more contact like those in the rows below."""
    filled = [(index, cell.strip()) for index, cell in enumerate(cells) if cell.strip()]
    if all(_NUMBER.fullmatch(cell) for _, cell in filled):
        return True
    if any(_LINK_OR_ADDRESS.match(cell) for _, cell in filled):
        return True
    # "person.name" could be a domain; it is one if the cells below it are domains too.
    dotted = [index for index, cell in filled if normalise_domain(cell)]
    return any(_likeness("domain", _values(rows, index)) for index in dotted)


def _values(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    values = (row[index].strip() for row in rows[:_MAX_VALUES] if index < len(row))
    return [value for value in values if value]


def _score(field: str, column: _Column) -> float:
    """How well a column suits a field; 0 for not at all."""
    likeness = _likeness(field, column.values)
    position = rank(field, column.heading)
    if position is None:
        proof = _PROVED_BY_VALUES.get(field)
        return 50 + 50 * likeness if proof and column.values and likeness >= proof else 0
    if not column.values:
        return 20 - position / 10
    return 200 - position + 100 * likeness if likeness > 0 else 0


def _likeness(field: str, values: list[str]) -> float:
    """The share of values that could be in this field; for fields that take any words, all or nothing."""
    if not values:
        return 0
    if field == "linkedin_url":
        people = sum(1 for value in values if normalise_linkedin_url(value))
        return (people + 0.1 * sum(map(is_sales_navigator_url, values))) / len(values)
    if field == "email":
        return sum(1 for value in values if _ADDRESS.search(value)) / len(values)
    if field == "domain":
        share = sum(map(_is_own_domain, values)) / len(values)
        return share if share >= 0.5 else 0
    unlike = sum(1 for value in values if _LINK_OR_ADDRESS.match(value) or _NUMBER.fullmatch(value))
    return 1 if unlike <= len(values) / 2 else 0


def _is_own_domain(value: str) -> bool:
    domain = normalise_domain(value)
    return domain is not None and not is_page_on_social_site(value, domain)


def _place_plain_name(mapping: dict[str, str], free: list[_Column]) -> None:
    """`Name` beside a first name is the last name, beside a last name the first, and alone the full name."""
    plain = [
        column for column in free if is_plain_name(column.heading) and _likeness("full_name", column.values)
    ]
    if not plain:
        return
    has_first, has_last = "first_name" in mapping, "last_name" in mapping
    if has_first and not has_last:
        mapping["last_name"] = plain[0].heading
    elif has_last and not has_first:
        mapping["first_name"] = plain[0].heading
    elif not has_first and "full_name" not in mapping:
        mapping["full_name"] = plain[0].heading
