"""The data rows of a file, streamed: each comes out once, in order, with its values and its faults."""

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from workflows.contacts import clean_contact, clean_verify_contact
from workflows.csv_in.encoding import text_of
from workflows.csv_in.layout import column_names
from workflows.csv_in.mapping import DEFAULT_TEMPLATE, check_mapping, value_names
from workflows.csv_in.records import Cells, Records
from workflows.csv_in.results import Dialect, RowFault, RowIn
from workflows.field_text import FieldFault, free_name, storable

_CLEAN = {"email-waterfall": clean_contact, "email-verify": clean_verify_contact}


def read_rows(
    stream: BinaryIO,
    dialect: Dialect,
    mapping: Mapping[str, str | None],
    *,
    template: str = DEFAULT_TEMPLATE,
    form_only: bool = False,
) -> Iterator[RowIn]:
    """Every data row of the file, good or faulty; lines with nothing on them are no rows.

    `stream` must be seekable; it is read from its start in constant memory and left open. With `form_only`
    the mapping may be one that cannot be used: no field is judged then, and the values are the cells as they
    stand. Raises ValueError for a mapping that `check_mapping` finds fault with, before the first row.
    """
    with text_of(stream, encoding=dialect.encoding, skip_bytes=dialect.skip_bytes) as text:
        records = Records(text, dialect)
        rows = iter(records)
        header = next(rows, None)
        if header is None:
            return
        columns = column_names(header.cells, line=header.line)
        records.width = len(columns)
        if form_only:
            names = columns
        else:
            faults = check_mapping(columns, mapping, template=template)
            if faults:
                raise ValueError(" ".join(fault.message for fault in faults))
            names = value_names(columns, mapping, template=template)
        position = 0
        for row in rows:
            if is_blank(row, len(names)):
                continue
            yield _row_in(row, position, names, dialect, None if form_only else template)
            position += 1


def is_blank(row: Cells, width: int) -> bool:
    """Whether there is nothing on the line. Spaces alone are a cell only in a file of one column."""
    return not row.cells or (width > 1 and len(row.cells) == 1 and not row.cells[0].strip())


def _row_in(row: Cells, position: int, names: Sequence[str], dialect: Dialect, template: str | None) -> RowIn:
    faults: list[FieldFault | RowFault] = []
    if not row.closed or len(row.cells) != len(names):
        faults.extend(_faults_of_form(row, len(names), dialect))
        names = _names_for(row.cells, names)
    raw = {name: cell for name, cell in zip(names, row.cells, strict=False) if name}
    if template is None:
        values = {name: storable(cell) for name, cell in raw.items()}
        if values != raw:
            message = "This row contains a NUL byte, or characters that could not be read. Type it again."
            faults.append(RowFault(row.line, "bad_text", message))
    else:
        values, field_faults = _CLEAN[template](raw)
        faults.extend(field_faults)
    originals = {name: storable(cell) for name, cell in raw.items() if cell != values.get(name, "")}
    return RowIn(row.line, position, values, faults, originals)


def _faults_of_form(row: Cells, width: int, dialect: Dialect) -> list[RowFault]:
    faults = []
    count = len(row.cells)
    counts = f"This row has {count:,} cells, but there are {width:,} columns."
    if not row.closed:
        message = "A quotation mark opens in this row and never closes. Close it, or remove it."
        faults.append(RowFault(row.line, "unclosed_quote", message))
    if count < width and count not in dialect.short_widths:
        message = f"{counts} A line break in the middle of a row, or a missing separator, does this."
        faults.append(RowFault(row.line, "too_few_cells", message))
    if any(cell.strip() for cell in row.cells[width:]):
        message = f"{counts} Put quotation marks around the cell that contains the separator."
        faults.append(RowFault(row.line, "too_many_cells", message))
    return faults


def _names_for(cells: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names for as many cells as there are. Past the last column they are places; an empty cell there has none."""
    found = list(names[: len(cells)])
    taken = set(names)
    for index in range(len(names), len(cells)):
        if cells[index]:
            found.append(free_name(f"Column {index + 1}", taken))
            taken.add(found[-1])
        else:
            found.append("")
    return found
