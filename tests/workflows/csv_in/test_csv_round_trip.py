"""Any table that a writer of CSV can write comes back to the letter: nothing dropped, nothing changed."""

import csv
import io

from hypothesis import example, given, settings
from hypothesis import strategies as st

from workflows.csv_in import Dialect, check_mapping, inspect, read_rows

ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])
DELIMITERS = st.sampled_from([",", ";", "\t", "|"])
HEADING = (
    st.text(alphabet="abcdefghijklmnopqrstuvwxyzäé ", min_size=1, max_size=8).map(str.strip).filter(bool)
)
WORDS = st.text(st.characters(exclude_categories=["Cc"]), max_size=12)
AWKWARD = st.sampled_from(
    ['"', '""', ",", ";", "\t", "\n", "\r\n", '","', '";"', "sep=;", " ", "\u2028", "\x0b", "=1+1"]
)


def cells(encoding: str) -> st.SearchStrategy[str]:
    # Control characters by the dozen are what tells a program from a text, so there are none.
    words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=6)
    if encoding == "cp1252":
        # Accents in long runs are what tells another script from Windows-1252, so each stands alone.
        words = st.characters(codec="cp1252", exclude_categories=["Cc"]).map(lambda letter: f"a{letter}e")
    parts = words | AWKWARD.filter(lambda text: encodable(text, encoding))
    return st.lists(parts, max_size=4).map("".join)


def encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@st.composite
def tables(draw):
    encoding = draw(ENCODINGS)
    width = draw(st.integers(2, 5))
    headings = draw(
        st.lists(HEADING, min_size=width, max_size=width, unique_by=lambda text: " ".join(text.split()))
    )
    row = st.lists(cells(encoding), min_size=width, max_size=width)
    return (
        encoding,
        [" ".join(heading.split()) for heading in headings],
        draw(st.lists(row, min_size=1, max_size=12)),
    )


def written(headings, rows, *, encoding, delimiter, line_end, quoting):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([headings, *rows])
    return io.BytesIO(out.getvalue().encode(encoding))


@settings(max_examples=300, deadline=None)
@example(("utf-8", ["a", "b"], [["", ";First"]]), ",", "\r\n", False)
@example(("utf-8", ["a", "b"], [["", "First;Last"]] * 3), ",", "\r\n", False)
@given(tables(), DELIMITERS, st.sampled_from(["\r\n", "\n", "\r"]), st.booleans())
def test_any_table_written_is_read_back(table, delimiter, line_end, quote_all):
    encoding, headings, rows = table
    # Python's writer quotes a line break only if it is in its own line end: with others, all is quoted.
    quoting = csv.QUOTE_ALL if quote_all or line_end != "\r\n" else csv.QUOTE_MINIMAL
    stream = written(
        headings, rows, encoding=encoding, delimiter=delimiter, line_end=line_end, quoting=quoting
    )
    found = inspect(stream, filename="x.csv")
    assert (found.delimiter, found.columns, found.rows, found.blank_lines) == (
        delimiter,
        headings,
        len(rows),
        0,
    )
    back = list(read_rows(stream, found.dialect, {}, form_only=True))
    assert [list(row.values.values()) for row in back] == rows
    assert [row.faults for row in back] == [[]] * len(rows)
    assert [row.position for row in back] == list(range(len(rows)))


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400) | st.text(alphabet='a,;"\n\r\t\x00é ', max_size=200).map(str.encode), DELIMITERS
)
def test_any_bytes_at_all_are_refused_by_name_or_read_without_loss(data, delimiter):
    """No exception but UploadRejected, and each line is in some row or is blank."""
    stream = io.BytesIO(
        b"Name" + delimiter.encode() + b"Company\nAda" + delimiter.encode() + b"Acme\n" + data
    )
    dialect = Dialect("utf-8", delimiter)
    rows = list(read_rows(stream, dialect, {"full_name": "Name", "company": "Company"}))
    text = data.decode("utf-8", errors="surrogateescape")
    lines = list(io.StringIO(text, newline=""))
    starts = [row.line for row in rows]
    assert starts == sorted(set(starts))
    letters = sum(text.count(letter) for letter in "aé")
    back = "".join("".join(row.values.values()) for row in rows[1:])
    assert sum(back.count(letter) for letter in "aé") == letters
    assert len(rows) <= len(lines) + 1


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), WORDS)
def test_guessing_never_fails_and_never_names_a_column_that_is_not_there(headings, value):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["Name", *headings], [value] * (len(headings) + 1), ["x", *headings]])
    found = inspect(io.BytesIO(out.getvalue().encode("utf-8", errors="replace")), filename="x.csv")
    assert len(set(found.columns)) == len(found.columns)
    assert set(found.guessed_mapping.values()) <= set(found.columns)
    known = {"missing_name_column", "missing_company_column"}
    assert {fault.code for fault in check_mapping(found.columns, found.guessed_mapping)} <= known
