"""A hundred thousand rows are streamed: they are never in memory together, and take seconds."""

import io
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from workflows.csv_in import inspect, read_rows

ROWS = 100_000
MEASURED = """
import resource, sys
from workflows.csv_in import inspect, read_rows
with open(sys.argv[1], "rb") as stream:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = inspect(stream, filename="contacts.csv")
    read = sum(1 for _ in read_rows(stream, found.dialect, found.guessed_mapping))
print(found.rows, read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def large() -> io.BytesIO:
    lines = ["First Name,Last Name,Job Title,Company,Website,Notes"]
    lines += [
        f'Zoë{n},Lovelace,"Head, of {n}",Acme {n % 5000},https://www.acme{n % 5000}.example/,"one\ntwo"'
        for n in range(ROWS)
    ]
    return io.BytesIO("\n".join(lines).encode())


def test_100_000_rows_are_never_in_memory_together(large, tmp_path):
    """A process of its own looks the file over and reads it; the system says how much it grew at most."""
    file = tmp_path / "contacts.csv"
    file.write_bytes(large.getvalue())
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(file)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    rows, read, grown_kib = map(int, done.stdout.split())
    assert (rows, read) == (ROWS, ROWS)
    assert grown_kib < 30 * 1024


def test_nothing_is_kept_of_a_row_that_was_passed_on(large):
    """The same in Python's own count, on a tenth of the rows, as it is slow: they would take 15 MiB if kept."""
    tenth = io.BytesIO(large.getvalue()[: len(large.getvalue()) // 10])
    tracemalloc.start()
    try:
        found = inspect(tenth, filename="contacts.csv")
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in read_rows(tenth, found.dialect, found.guessed_mapping):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept < 2 * 1024**2
    assert peak - kept < 2 * 1024**2


def test_100_000_rows_take_seconds(large):
    """The bound is generous, as other work may share the machine: it is there to catch what grows with the square."""
    start = time.process_time()
    found = inspect(large, filename="contacts.csv")
    count = sum(1 for _ in read_rows(large, found.dialect, found.guessed_mapping))
    assert count == ROWS
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "line", ['a,"b\n', 'a,"b\n\n', '"a\n', 'a,""""b\n', '"a""\n', 'a, "b\n', 'a,"b","c\n'], ids=repr
)
def test_a_file_full_of_stray_quotes_takes_no_longer(line):
    data = ("Name,Company\n" + line * 60_000).encode()
    start = time.process_time()
    found = inspect(io.BytesIO(data), filename="x.csv")
    assert found.rows + found.blank_lines >= 60_000
    assert time.process_time() - start < 20
