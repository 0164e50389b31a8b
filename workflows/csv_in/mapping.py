"""Whether a choice of columns can feed a workflow template, and the names under which their values go on."""

from collections.abc import Mapping, Sequence

from workflows.contacts import FIELDS, VERIFY_FIELDS
from workflows.csv_in.results import MappingFault
from workflows.field_text import LABELS, free_name

_FIELDS_OF = {"email-waterfall": FIELDS, "email-verify": VERIFY_FIELDS}
DEFAULT_TEMPLATE = "email-waterfall"


def fields_of(template: str) -> tuple[str, ...]:
    """The input fields of a template. Raises ValueError for a template that takes no contacts."""
    try:
        return _FIELDS_OF[template]
    except KeyError:
        raise ValueError(f"The template {template!r} takes no contacts from a CSV file.") from None


def check_mapping(
    columns: Sequence[str], mapping: Mapping[str, str | None], *, template: str = DEFAULT_TEMPLATE
) -> list[MappingFault]:
    """What is wrong with this choice of columns; empty if it can be used. A field may go without a column.

    Codes: `unknown_field`, `unknown_column`, `duplicate_column`, `missing_name_column`,
    `missing_company_column`, `missing_email_column`.
    """
    fields = fields_of(template)
    chosen = chosen_columns(mapping)
    faults = [_unknown_field(field, fields) for field in chosen if field not in fields]
    field_of: dict[str, str] = {}
    for field, column in chosen.items():
        if column not in columns:
            message = f"The file has no column “{column}”. Choose one of its columns for the {_label(field)}."
            faults.append(MappingFault("unknown_column", message, field))
        elif column in field_of:
            both = f"the {_label(field_of[column])} and the {_label(field)}"
            message = f"The column “{column}” is chosen for both {both}. Choose another for one of them."
            faults.append(MappingFault("duplicate_column", message, field))
        field_of.setdefault(column, field)
    return faults + _missing_columns(chosen, template)


def chosen_columns(mapping: Mapping[str, str | None]) -> dict[str, str]:
    return {field: column for field, column in mapping.items() if column}


def value_names(columns: Sequence[str], mapping: Mapping[str, str | None], *, template: str) -> list[str]:
    """The name under which each column's values go on: its field if it fills one, else its own heading.

    A heading that is a field's name but was not chosen for it gets a number, so that it cannot pass for the
    field.
    """
    field_of = {column: field for field, column in chosen_columns(mapping).items()}
    taken = {*fields_of(template), *(column for column in columns if column not in field_of)}
    names = []
    for column in columns:
        name = field_of.get(column, column)
        if column not in field_of and column in fields_of(template):
            name = free_name(column, taken)
            taken.add(name)
        names.append(name)
    return names


def _missing_columns(chosen: Mapping[str, str], template: str) -> list[MappingFault]:
    if template == "email-verify":
        if "email" in chosen:
            return []
        message = "No column is chosen for the e-mail address. Choose the one that holds it."
        return [MappingFault("missing_email_column", message, "email")]
    if "linkedin_url" in chosen:
        return []
    faults = []
    if "full_name" not in chosen and not ("first_name" in chosen and "last_name" in chosen):
        message = (
            "No column is chosen for the name. Choose one for the full name, or two for first and last name."
        )
        faults.append(MappingFault("missing_name_column", message, "full_name"))
    if "company" not in chosen and "domain" not in chosen:
        message = "No column is chosen for company or domain. Choose at least one of them."
        faults.append(MappingFault("missing_company_column", message, "company"))
    return faults


def _unknown_field(field: str, fields: Sequence[str]) -> MappingFault:
    message = f"There is no field “{field}”. The fields are {', '.join(fields)}."
    return MappingFault("unknown_field", message, field)


def _label(field: str) -> str:
    return LABELS.get(field, field)
