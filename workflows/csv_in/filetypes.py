"""Telling files that are not CSV by their first bytes, so that each gets advice of its own."""

import re

from workflows.csv_in.results import UploadRejected

HEAD_BYTES = 65_536

_EXPORT = "Open it where it came from and export it as CSV."
_SPREADSHEET = "Open it in your spreadsheet program and choose “Save as”, “CSV UTF-8”."

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Office file (.xls)", _SPREADSHEET),
    (b"{\\rtf", "a formatted text document (RTF)", _EXPORT),
    (b"%!PS", "a PostScript document", _EXPORT),
    (b"\x89PNG\r\n\x1a\n", "an image (PNG)", "Export the table itself as CSV."),
    (b"\xff\xd8\xff", "an image (JPEG)", "Export the table itself as CSV."),
    (b"GIF87a", "an image (GIF)", "Export the table itself as CSV."),
    (b"GIF89a", "an image (GIF)", "Export the table itself as CSV."),
    (b"II*\x00", "an image (TIFF)", "Export the table itself as CSV."),
    (b"MM\x00*", "an image (TIFF)", "Export the table itself as CSV."),
    (b"\x7fELF", "a program", _EXPORT),
    (b"\xca\xfe\xba\xbe", "a program", _EXPORT),
    (b"\xcf\xfa\xed\xfe", "a program", _EXPORT),
    (b"\x1f\x8b", "a compressed file (gzip)", "Unpack it and upload the CSV inside."),
    (b"BZh", "a compressed file (bzip2)", "Unpack it and upload the CSV inside."),
    (b"7z\xbc\xaf\x27\x1c", "a compressed file (7z)", "Unpack it and upload the CSV inside."),
    (b"Rar!\x1a\x07", "a compressed file (RAR)", "Unpack it and upload the CSV inside."),
    (b"\xfd7zXZ\x00", "a compressed file (xz)", "Unpack it and upload the CSV inside."),
    (b"\x28\xb5\x2f\xfd", "a compressed file (zstd)", "Unpack it and upload the CSV inside."),
    (b"PAR1", "a Parquet file", _EXPORT),
    (b"SQLite format 3\x00", "a database", _EXPORT),
    (b"BEGIN:VCARD", "a set of contact cards (vCard)", _EXPORT),
)
# Honest text may begin with these short marks too ("BMW,Munich"): they count only beside NUL bytes.
_MAGIC_IF_BINARY = (
    (b"MZ", "a program", _EXPORT),
    (b"BM", "an image (BMP)", "Export the table itself as CSV."),
    (b"RIFF", "an image, sound or film", "Export the table itself as CSV."),
)
_TABLES_IN_MARKUP = re.compile(rb"(?i)^\s*(?:<!doctype html|<html|<table|<head|<meta|<style)")
_CONTROL_BYTES = bytes(set(range(0x20)) - set(b"\t\n\v\f\r\x1a")) + b"\x7f"


def reject_known_formats(head: bytes, *, filename: str) -> None:
    """Raise UploadRejected(`not_csv`) if these first bytes are those of a PDF, workbook, image or archive."""
    if b"%PDF-" in head[:1024]:
        raise _not_csv("a PDF", "Open the table it was made from and export that as CSV.")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        raise _not_csv(*_kind_of_zip(head, filename))
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            raise _not_csv(what, advice)
    for magic, what, advice in _MAGIC_IF_BINARY:
        if head.startswith(magic) and b"\x00" in head[:64]:
            raise _not_csv(what, advice)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _TABLES_IN_MARKUP.match(text):
        raise _not_csv("a web page (some programs call it .xls)", _SPREADSHEET)
    if text.startswith(b"<?xml"):
        raise _not_csv("an XML file", _SPREADSHEET)
    if re.match(rb"(?:\{\s*[\"}]|\[\s*[\[{])", text):
        raise _not_csv("JSON", "Export it as CSV, or send it to the API as records.")


def looks_binary(head: bytes) -> bool:
    """Whether too many of these bytes are control characters for any text that is not in UTF-16."""
    controls = len(head) - len(head.translate(None, _CONTROL_BYTES))
    return controls > 8 and controls > len(head) * 0.08


def not_text() -> UploadRejected:
    return _not_csv("not text at all", _EXPORT)


def _kind_of_zip(head: bytes, filename: str) -> tuple[str, str]:
    name = filename.casefold()
    if b"xl/" in head or b"[Content_Types].xml" in head[:200] or name.endswith((".xlsx", ".xlsm")):
        if b"word/" in head or name.endswith(".docx"):
            return "a Word document", _EXPORT
        return "an Excel workbook (.xlsx)", "In Excel choose File, Save as, “CSV UTF-8 (comma delimited)”."
    if b"opendocument.spreadsheet" in head[:200]:
        return "a LibreOffice spreadsheet (.ods)", "Choose File, Save as, “Text CSV”, with UTF-8."
    if name.endswith(".numbers") or b"Index/Document.iwa" in head:
        return "a Numbers spreadsheet", "Choose File, Export to, CSV, with UTF-8."
    return "a compressed file (zip)", "Unpack it and upload the CSV inside."


def _not_csv(what: str, advice: str) -> UploadRejected:
    return UploadRejected("not_csv", f"This is {what}, not a CSV file, whatever its name says. {advice}")
