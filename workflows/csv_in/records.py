"""The rows of a CSV text, one by one, each exactly once, whatever is wrong with them.

The standard parser does the work. What it cannot do is survive a quote that opens and never closes: it would
take the rest of the file for one cell. Here the lines of the row under way are remembered; when the row turns
out not to be one, its first line becomes a faulty row and the lines after it are read again as rows of their
own.
"""

import csv
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, TextIO

from workflows.csv_in.results import Dialect, UploadRejected

MOST_CHARACTERS = 2_000_000
"""Of one line, which is held as a whole, several times over."""
MOST_CELLS = 250_000
"""Of one line: each is an object, and a line of a few megabytes would take a hundred of them."""


class Cells(NamedTuple):
    """The cells of one row; none for a line with nothing on it. `closed` tells whether every quote is."""

    line: int
    cells: list[str]
    closed: bool


class _Lines:
    """Lines that can be given back; `taken` are those handed out since the last row was finished."""

    def __init__(self, text: TextIO, delimiter: str) -> None:
        self._text = iter(lambda: text.readline(MOST_CHARACTERS + 1), "")
        self._delimiter = delimiter
        self._given_back: deque[str] = deque()
        self.taken: list[str] = []
        self.finished = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._text)
        self.taken.append(line)
        if len(line) > MOST_CHARACTERS:
            message = f"This line has more than {MOST_CHARACTERS:,} characters. A line break may be missing."
            raise UploadRejected("line_too_long", message, self.finished + len(self.taken))
        if len(line) > MOST_CELLS and line.count(self._delimiter) > MOST_CELLS:
            message = f"This line has more than {MOST_CELLS:,} cells. Export fewer columns."
            raise UploadRejected("too_many_columns", message, self.finished + len(self.taken))
        return line

    def finish(self) -> int:
        """Close the row under way; return the physical line on which it started."""
        start = self.finished + 1
        self.finished += len(self.taken)
        self.taken.clear()
        return start

    def give_back_all_but_first(self) -> None:
        self._given_back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def skip(self, count: int) -> None:
        for _ in range(count):
            if next(self._text, None) is None:
                return
            self.finished += 1


class Records:
    """Iterates over the rows of a text from `dialect.header_line` on.

    Set `width` to the number of columns once it is known: it helps to tell a row with line breaks from
    several rows that a stray quote has glued together.
    """

    def __init__(self, text: TextIO, dialect: Dialect) -> None:
        self.width: int | None = None
        self._dialect = dialect
        self._lines = _Lines(text, dialect.delimiter)
        self._lines.skip(dialect.header_line - 1)

    def __iter__(self) -> Iterator[Cells]:
        lines, dialect = self._lines, self._dialect
        reader = csv.reader(
            lines,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            skipinitialspace=dialect.skip_initial_space,
            strict=True,
        )
        while True:
            closed = True
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:  # also for a cell past csv.field_size_limit(), which bounds what is remembered
                cells, closed = self._first_line_alone()
            else:
                if (
                    len(lines.taken) > 1
                    and self.width
                    and len(cells) != self.width
                    and self._swallowed_rows()
                ):
                    cells, closed = self._first_line_alone()
            yield Cells(lines.finish(), cells, closed)

    def _first_line_alone(self) -> tuple[list[str], bool]:
        """The first line taken, as a row by itself; the others go back. A quote inside a cell is no fault."""
        self._lines.give_back_all_but_first()
        return split_line(self._lines.taken[0], self._dialect)

    def _swallowed_rows(self) -> bool:
        """Whether a line after the first would make a full row by itself."""
        for line in self._lines.taken[1:]:
            cells, closed = split_line(line, self._dialect)
            if closed and len(cells) == self.width:
                return True
        return False


def split_line(line: str, dialect: Dialect) -> tuple[list[str], bool]:
    """Split one line into cells, forgiving everything; also whether each quoted cell was closed.

    Text after a closing quote belongs to the cell. A quote that never closes is part of its cell's text.
    """
    line = line.rstrip("\r\n")
    cells: list[str] = []
    closed = True
    at = 0
    while True:
        while dialect.skip_initial_space and line.startswith(" ", at):
            at += 1
        quoted = _quoted(line, at, dialect.quote) if line.startswith(dialect.quote, at) else None
        if quoted is None:
            closed = closed and not line.startswith(dialect.quote, at)
            start, text = at, ""
        else:
            text, start = quoted
        end = line.find(dialect.delimiter, start)
        cells.append(text + line[start : end if end >= 0 else None])
        if end < 0:
            return cells, closed
        at = end + 1


def _quoted(line: str, at: int, quote: str) -> tuple[str, int] | None:
    """The text of the quoted cell that opens at `at` and the place after it; None if it never closes."""
    parts: list[str] = []
    start = at + 1
    while (end := line.find(quote, start)) >= 0:
        if line.startswith(quote, end + 1):
            parts.append(line[start : end + 1])
            start = end + 2
        else:
            parts.append(line[start:end])
            return "".join(parts), end + 1
    return None
