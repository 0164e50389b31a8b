"""What separates the cells of a file, where its headings are, and what its columns are called."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflows.csv_in.guessing import looks_like_data
from workflows.csv_in.headings import is_known
from workflows.csv_in.records import Cells, Records
from workflows.csv_in.results import Dialect, UploadRejected
from workflows.field_text import MAX_FIELD_CHARS, free_name, storable

MAX_COLUMNS = 500
SAMPLE_CHARS = 262_144

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_ROWS = 200
_PREAMBLE_ROWS = 30
# Excel writes empty last columns off in blocks of 16 rows; fewer rows than that are no pattern.
_EXCEL_BLOCK = 16
_SEP_LINE = re.compile(r'^"?sep=([^\r\nA-Za-z0-9"])"?[;,\t]*\r?\n?$', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Candidate:
    dialect: Dialect
    score: tuple[float, ...]


def find_layout(sample: str, dialect: Dialect) -> Dialect:
    """The dialect with delimiter, spacing and line of the headings filled in from the beginning of the text.

    Excel's first line `sep=;` is obeyed. Lines above the headings, as reports have them, are passed over if
    the headings are known ones.
    """
    first_line = sample.splitlines(keepends=True)[0] if sample else ""
    told = _SEP_LINE.match(first_line)
    delimiters = (told.group(1),) if told else _DELIMITERS
    first = 2 if told else 1
    candidates = []
    for delimiter in delimiters:
        for skip_space in (False, True) if f'{delimiter} "' in sample else (False,):
            tried = replace(dialect, delimiter=delimiter, skip_initial_space=skip_space, header_line=first)
            candidates.append(_try(sample, tried))
    best = max(candidates, key=lambda candidate: candidate.score)
    return best.dialect


def column_names(header: Sequence[str], *, line: int) -> list[str]:
    """Headings made unique: `Email`, `Email (2)`; a blank one is called by its place, `Column 3`.

    Raises UploadRejected(`too_many_columns`, `no_header`).
    """
    if len(header) > MAX_COLUMNS:
        message = f"This file has {len(header):,} columns; {MAX_COLUMNS} are allowed. Export fewer of them."
        raise UploadRejected("too_many_columns", message, line)
    if not any(cell.strip() for cell in header):
        raise _no_header("The first line has no headings.", line)
    tidy = [_tidy(cell) for cell in header]
    taken: set[str] = set()
    names: list[str] = []
    for index, heading in enumerate(tidy):
        # A later column that really is called "Email (2)" keeps its name.
        others = set(tidy[index + 1 :]) - {heading}
        name = free_name(heading or f"Column {index + 1}", taken | others)
        taken.add(name)
        names.append(name)
    return names


def reject_data_as_headings(header: Sequence[str], rows: Sequence[Sequence[str]], *, line: int) -> None:
    """Raise UploadRejected(`no_header`) if the file begins with its first contact."""
    if not any(map(is_known, header)) and looks_like_data(header, rows):
        raise _no_header("The first line is a contact already, not headings.", line)


def regular_short_widths(widths: Counter[int], full: int) -> tuple[int, ...]:
    """Numbers of cells that come from cut-off empty columns, not from rows broken in two.

    A row broken in two leaves both of its parts, of which one cell is shared between them.
    """
    return tuple(
        sorted(
            width
            for width, count in widths.items()
            if 2 <= width < full and count >= _EXCEL_BLOCK - 1 and not widths[full + 1 - width]
        )
    )


def _try(sample: str, dialect: Dialect) -> _Candidate:
    rows = []
    for row in Records(io.StringIO(sample, newline=""), dialect):
        rows.append(row)
        if len(rows) >= _SAMPLE_ROWS:
            break
    if len(rows) > 2 and len(sample) >= SAMPLE_CHARS:
        rows.pop()  # the sample may end inside it
    rows = [row for row in rows if row.cells]
    at = _find_header(rows)
    if at is None:
        return _Candidate(dialect, (0, 0, 0, 0, 0))
    header, body = rows[at], rows[at + 1 :]
    width = len(header.cells)
    fitting = sum(1 for row in body if len(row.cells) == width and row.closed)
    known = sum(1 for cell in header.cells if is_known(cell))
    share = fitting / len(body) if body else 1.0
    found = replace(dialect, header_line=header.line)
    plain = width > 1 and at == 0 and share >= 0.9
    return _Candidate(found, (plain, width > 1, round(share, 1), known, width))


def _find_header(rows: Sequence[Cells]) -> int | None:
    """The first row, unless it is not one of headings and a row soon after it is."""
    if not rows:
        return None
    if sum(1 for cell in rows[0].cells if cell.strip()) > 1 and _known_share(rows[0].cells) > 0:
        return 0
    for index, row in enumerate(rows[1:_PREAMBLE_ROWS], start=1):
        filled = [cell for cell in row.cells if cell.strip()]
        above = [sum(1 for cell in other.cells if cell.strip()) for other in rows[:index]]
        known = sum(map(is_known, filled))
        if known >= 2 and known >= len(filled) / 2 and max(above) < len(filled):
            return index
    return 0


def _known_share(cells: Sequence[str]) -> float:
    filled = [cell for cell in cells if cell.strip()]
    return sum(map(is_known, filled)) / len(filled) if filled else 0


def _tidy(heading: str) -> str:
    text = " ".join(storable(heading).replace("\ufeff", "").split())
    return text if len(text) <= MAX_FIELD_CHARS else text[: MAX_FIELD_CHARS - 1] + "…"


def _no_header(what: str, line: int) -> UploadRejected:
    message = f"{what} Put a line of headings on top, such as “First name, Last name, Company”."
    return UploadRejected("no_header", message, line)
