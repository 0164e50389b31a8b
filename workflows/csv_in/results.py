"""What reading a CSV gives: how the file is written, what is in it, and what is wrong with it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from workflows.field_text import FieldFault


class UploadRejected(ValueError):
    """The file as a whole cannot be used; no row was taken. `code` is for programs, `message` for people."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class RowFault:
    """One thing wrong with the row that starts on physical line `line` of the file."""

    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class MappingFault:
    """One thing wrong with a choice of columns, about `field` or, if that is empty, about all of it."""

    code: str
    message: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one file is written: all that is needed to read it again, and nothing that JSON could not hold.

    `skip_bytes` is the length of the byte order mark, `header_line` the physical line (from 1) of the
    headings. `short_widths` are numbers of cells below the full width that whole blocks of rows have, as
    Excel leaves empty last columns off; such rows are good.
    """

    encoding: str
    delimiter: str
    skip_bytes: int = 0
    quote: str = '"'
    skip_initial_space: bool = False
    header_line: int = 1
    short_widths: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"short_widths": list(self.short_widths)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Dialect":
        return cls(**(data | {"short_widths": tuple(data.get("short_widths", ()))}))


@dataclass(frozen=True, slots=True)
class RowIn:
    """One data row.

    `line` is the physical line (from 1) on which it starts, `position` its place among the data rows (from 0,
    without gaps), `values` the cleaned fields and all other columns under their headings. A row with `faults`
    is not to be run.
    """

    line: int
    position: int
    values: dict[str, str]
    faults: list[FieldFault | RowFault]
    originals: dict[str, str] = field(default_factory=dict)
    """The cells that cleaning changed, as they stand in the file, under the names of `values`."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a file. `errors` has one entry for each of the first 200 faulty rows; `error_count` is of all.

    `blank_lines` are lines with nothing on them between or after the rows: the only ones that make no row.
    """

    dialect: Dialect
    columns: list[str]
    rows: int
    blank_lines: int
    guessed_mapping: dict[str, str]
    sample: list[dict[str, str]]
    errors: list[RowFault] = field(default_factory=list)
    error_count: int = 0

    @property
    def encoding(self) -> str:
        return self.dialect.encoding

    @property
    def delimiter(self) -> str:
        return self.dialect.delimiter

    @property
    def quote(self) -> str:
        return self.dialect.quote

    @property
    def ready_rows(self) -> int:
        return self.rows - self.error_count
