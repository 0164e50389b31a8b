"""CSV in, as real tools export it: `inspect` a file, `check_mapping` of its columns, `read_rows` one by one.

Pure Python over a seekable binary stream; no database, no settings. Every data row of a file comes out
exactly once, good or with its faults.
"""

from workflows.csv_in.inspection import MAX_BYTES, MAX_ROWS, check_rows, inspect
from workflows.csv_in.mapping import check_mapping
from workflows.csv_in.reading import read_rows
from workflows.csv_in.results import Dialect, Inspection, MappingFault, RowFault, RowIn, UploadRejected

__all__ = [
    "MAX_BYTES",
    "MAX_ROWS",
    "Dialect",
    "Inspection",
    "MappingFault",
    "RowFault",
    "RowIn",
    "UploadRejected",
    "check_mapping",
    "check_rows",
    "inspect",
    "read_rows",
]
