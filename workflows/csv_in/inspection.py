"""Looking a file over before a run: what it is, how it is written, what is in it, which rows are faulty."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from workflows.csv_in.encoding import find_encoding, text_of, too_large
from workflows.csv_in.guessing import guess_mapping
from workflows.csv_in.layout import (
    SAMPLE_CHARS,
    column_names,
    find_layout,
    regular_short_widths,
    reject_data_as_headings,
)
from workflows.csv_in.mapping import DEFAULT_TEMPLATE, check_mapping
from workflows.csv_in.reading import is_blank, read_rows
from workflows.csv_in.records import Records
from workflows.csv_in.results import Dialect, Inspection, RowFault, UploadRejected
from workflows.field_text import storable

MAX_ROWS = 100_000
MAX_BYTES = 50 * 1_048_576
LISTED_ERRORS = 200
SAMPLE_ROWS = 5
SHOWN_CHARS = 200

_GUESS_ROWS = 50
_PROGRESS_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class _Survey:
    """What one quick pass over all rows tells."""

    columns: list[str]
    rows: int
    blank_lines: int
    widths: Counter[int]
    first_rows: list[list[str]]


def inspect(
    stream: BinaryIO,
    *,
    filename: str,
    size: int | None = None,
    template: str = DEFAULT_TEMPLATE,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
    progress: Callable[[int], None] | None = None,
) -> Inspection:
    """Read a whole file, keep none of it, and say what is in it.

    `stream` must be seekable; it is read from its start, more than once, and left open. `progress` is called
    with the number of rows looked over so far. Rows are judged by the guessed mapping, or, if that cannot be
    used, by their form alone. Raises UploadRejected with one of the codes `empty_file`, `not_csv`,
    `too_large`, `too_many_rows`, `too_many_columns`, `no_header`, `no_data_rows`, `unreadable_text`.
    """
    if size is not None and size > max_bytes:
        raise too_large(max_bytes)
    encoding = find_encoding(stream, filename=filename, max_bytes=max_bytes)
    dialect = Dialect(encoding.name, ",", skip_bytes=encoding.skip_bytes)
    with text_of(stream, encoding=dialect.encoding, skip_bytes=dialect.skip_bytes) as text:
        dialect = find_layout(text.read(SAMPLE_CHARS), dialect)
    survey = _survey(stream, dialect, max_rows=max_rows)
    dialect = replace(dialect, short_widths=regular_short_widths(survey.widths, len(survey.columns)))
    mapping = guess_mapping(survey.columns, survey.first_rows, template=template)
    errors, error_count = check_rows(
        stream, dialect, survey.columns, mapping, template=template, progress=progress
    )
    return Inspection(
        dialect=dialect,
        columns=survey.columns,
        rows=survey.rows,
        blank_lines=survey.blank_lines,
        guessed_mapping=mapping,
        sample=[_as_shown(survey.columns, cells) for cells in survey.first_rows[:SAMPLE_ROWS]],
        errors=errors,
        error_count=error_count,
    )


def check_rows(
    stream: BinaryIO,
    dialect: Dialect,
    columns: Sequence[str],
    mapping: Mapping[str, str | None],
    *,
    template: str = DEFAULT_TEMPLATE,
    limit: int = LISTED_ERRORS,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[RowFault], int]:
    """The first fault of each of the first `limit` faulty rows, and the number of all faulty rows.

    For use when the mapping was changed. With a mapping that cannot be used the rows' form alone is judged.
    """
    errors: list[RowFault] = []
    count = done = 0
    form_only = bool(check_mapping(columns, mapping, template=template))
    for row in read_rows(stream, dialect, mapping, template=template, form_only=form_only):
        done += 1
        if row.faults:
            count += 1
            if len(errors) < limit:
                fault = row.faults[0]
                errors.append(RowFault(row.line, fault.code, fault.message))
        if progress and done % _PROGRESS_ROWS == 0:
            progress(done)
    if progress:
        progress(done)
    return errors, count


def _survey(stream: BinaryIO, dialect: Dialect, *, max_rows: int) -> _Survey:
    with text_of(stream, encoding=dialect.encoding, skip_bytes=dialect.skip_bytes) as text:
        records = Records(text, dialect)
        rows = iter(records)
        header = next(rows, None)
        if header is None:
            raise UploadRejected("no_header", "This file has no line of headings. Put one on top.")
        columns = column_names(header.cells, line=header.line)
        records.width = len(columns)
        survey = _Survey(columns, 0, 0, Counter(), [])
        count = blank = 0
        for row in rows:
            if is_blank(row, len(columns)):
                blank += 1
                continue
            count += 1
            if count > max_rows:
                message = f"This file has more than {max_rows:,} rows. Split it and upload the parts."
                raise UploadRejected("too_many_rows", message, row.line)
            survey.widths[len(row.cells)] += 1
            if len(survey.first_rows) < _GUESS_ROWS:
                survey.first_rows.append(row.cells)
    reject_data_as_headings(header.cells, survey.first_rows, line=header.line)
    if not count:
        message = "This file has headings but no rows below them. Export it again with its contacts."
        raise UploadRejected("no_data_rows", message, header.line)
    return replace(survey, rows=count, blank_lines=blank)


def _as_shown(columns: list[str], cells: list[str]) -> dict[str, str]:
    filled = [*cells, *[""] * (len(columns) - len(cells))]
    return {column: _shortened(storable(cell)) for column, cell in zip(columns, filled, strict=False)}


def _shortened(cell: str) -> str:
    return cell if len(cell) <= SHOWN_CHARS else f"{cell[: SHOWN_CHARS - 1]}…"
