"""A run's results as CSV, JSON lines or a workbook: a chunk of records at a time, each read in a scope of its own.

CSV is written for Excel: UTF-8 with a mark, and no cell that a spreadsheet would take for a formula, whichever character
it takes for the separator. JSON lines hold the values as they are.
"""

import csv
import io
import json
import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import xlsxwriter
from django.db import connections

from tenants.errors import Conflict
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.catalog import TEMPLATES
from workflows.csv_in.mapping import value_names
from workflows.field_text import free_name
from workflows.models import Record, Run

CHUNK = 1_000
# Of a worksheet.
MOST_COLUMNS, MOST_ROWS, MOST_CHARACTERS = 16_384, 1_048_576, 32_767
CUT = "…"
RESULT_COLUMNS = ("status", "email", "email_status", "found_by", "verified_by", "credits", "error")
_READ = ("id", "position", "input", "original", "output", "status", "error", "credits")
_OUTPUT = ("email", "email_status", "found_by", "verified_by")
# A cell that begins with one of these is a formula to a spreadsheet, or hides one.
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
# What a spreadsheet that separates by other characters than ours would take for the beginning of a cell.
_INSIDE = re.compile(r"([\";|\t\r\n])(?=[=+\-@\t＝＋－＠])")

_KEYS = """
    SELECT DISTINCT key FROM record r, jsonb_object_keys(r.input) key WHERE r.tenant_id = %s AND r.run_id = %s
"""


@dataclass(frozen=True, slots=True)
class Columns:
    """The input columns of a run's results: the heading of each, and the key of its values in a record's input."""

    headings: list[str]
    keys: list[str]


def results_csv(tenant_id: uuid.UUID, run: Run) -> Iterator[bytes]:
    """The run's records as CSV, by position: its input columns, then RESULT_COLUMNS. Call it outside any scope.

    An input column that is called like a result column goes by "<name> (input)".
    """
    columns, headings = _table(tenant_id, run)
    yield b"\xef\xbb\xbf" + _csv_lines([headings])
    for chunk in _chunks(tenant_id, run.pk):
        yield _csv_lines([_csv_row(record, columns.keys) for record in chunk])


def results_jsonl(tenant_id: uuid.UUID, run: Run) -> Iterator[bytes]:
    """The run's records as JSON lines, by position, as the API shows records. Call it outside any scope."""
    with tenant_scope(tenant_id):
        keys = input_columns(run).keys
    for chunk in _chunks(tenant_id, run.pk):
        yield "".join(f"{_json_line(record, keys)}\n" for record in chunk).encode()


def results_xlsx(tenant_id: uuid.UUID, run: Run) -> Iterator[bytes]:
    """The run's records as a workbook with the columns of the CSV, all of them text but `credits`.

    Written row by row to a temporary file, which is then given out; memory is that of one row. Texts longer than a cell
    may be are cut, with “…” at their end. Raises Conflict for more columns or rows than a worksheet has. Call it outside
    any scope.
    """
    columns, headings = _table(tenant_id, run)
    if len(headings) > MOST_COLUMNS or run.total >= MOST_ROWS:
        raise Conflict("These results do not fit in a worksheet. Fetch results.csv or results.jsonl.")
    return _workbook(tenant_id, run.pk, columns, headings)


def _workbook(
    tenant_id: uuid.UUID, run_id: uuid.UUID, columns: Columns, headings: Sequence[str]
) -> Iterator[bytes]:
    with tempfile.TemporaryFile(prefix="weir-results-") as file:
        book = xlsxwriter.Workbook(
            file, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        )
        sheet = book.add_worksheet("Results")
        sheet.freeze_panes(1, 0)
        bold, number_at = book.add_format({"bold": True}), len(columns.keys) + RESULT_COLUMNS.index("credits")
        for number, heading in enumerate(headings):
            sheet.write_string(0, number, _cell(heading), bold)
        line = 0
        for chunk in _chunks(tenant_id, run_id):
            for record in chunk:
                line += 1
                for number, value in enumerate(_csv_row(record, columns.keys)):
                    if number == number_at:
                        sheet.write_number(line, number, record.credits / 1000)
                    elif value:
                        sheet.write_string(line, number, _cell(value))
        book.close()
        file.seek(0)
        while part := file.read(65_536):
            yield part


def _cell(value: str) -> str:
    value = neutral(value)
    return value if len(value) <= MOST_CHARACTERS else value[: MOST_CHARACTERS - 1] + CUT


def _table(tenant_id: uuid.UUID, run: Run) -> tuple[Columns, list[str]]:
    """The run's input columns, and the headings of its table: theirs, then RESULT_COLUMNS."""
    with tenant_scope(tenant_id):
        columns = input_columns(run)
    taken = {*RESULT_COLUMNS, *columns.headings}
    headings = [
        free_name(f"{heading} (input)", taken) if heading in RESULT_COLUMNS else heading
        for heading in columns.headings
    ]
    return columns, [*headings, *RESULT_COLUMNS]


def input_columns(run: Run) -> Columns:
    """The run's input columns: an upload's in their order and under their own headings, then whatever else records have.

    Records that came without a file have the template's fields first, and the others by name. Reads every record once.
    """
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(_KEYS, [require_tenant_id(), run.pk])
        present = {row[0] for row in cursor.fetchall()}
    if run.upload is None:
        headings = keys = [field for field in TEMPLATES[run.template].fields if field in present]
    else:
        headings = list(run.upload.columns)
        keys = value_names(headings, run.mapping, template=run.template)
    others = sorted(present.difference(keys))
    return Columns([*headings, *others], [*keys, *others])


def neutral(value: str) -> str:
    """The value as a cell that no spreadsheet runs: what looks like a formula gets a leading quote, inside as well."""
    value = _INSIDE.sub(r"\1'", value)
    return f"'{value}" if value[:1] in _FORMULA else value


def _chunks(tenant_id: uuid.UUID, run_id: uuid.UUID) -> Iterator[list[Any]]:
    """Rows with the fields of _READ."""
    position = -1
    while True:
        with tenant_scope(tenant_id):
            chunk = list(
                Record.objects.filter(run_id=run_id, position__gt=position)
                .order_by("position")
                .values_list(*_READ, named=True)[:CHUNK]
            )
        if chunk:
            yield chunk
        if len(chunk) < CHUNK:
            return
        position = chunk[-1].position


def _csv_row(record: Any, keys: Sequence[str]) -> list[str]:
    output = record.output or {}
    error = record.error or {}
    found = [str(output.get(name) or "") for name in _OUTPUT]
    problem = f"{error['code']}: {error['message']}" if error else ""
    brought = {**record.input, **(record.original or {})}
    values = [str(brought.get(key, "")) for key in keys]
    return [*values, record.status, *found, f"{record.credits / 1000:.3f}", problem]


def _csv_lines(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([neutral(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def _json_line(record: Any, keys: Sequence[str]) -> str:
    line: dict[str, Any] = {
        "id": str(record.id),
        "position": record.position,
        "status": record.status,
        "input": {key: record.input[key] for key in keys if key in record.input},
        "output": record.output,
        "error": record.error,
        "credits": round(record.credits / 1000, 3),
    }
    return json.dumps(line, ensure_ascii=False)
