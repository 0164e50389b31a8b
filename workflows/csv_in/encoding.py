"""Which encoding a file is in, decided by reading all of it once, and the file as text in that encoding.

Bytes that do not belong to the encoding are not an end: they come out as lone surrogates, which a well-formed
text cannot contain, so that the one row that holds them can be named.
"""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from workflows.csv_in.filetypes import HEAD_BYTES, looks_binary, not_text, reject_known_formats
from workflows.csv_in.results import UploadRejected

CHUNK_BYTES = 1_048_576

BAD_CHARACTER = re.compile("[\ud800-\udfff]")

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAVE_AS_UTF8 = "Save it again as “CSV UTF-8” and upload that."
_FOREIGN_RUN = re.compile(rb"[\x80-\xff]{3,}")
_ASCII = bytes(range(0x80))


@dataclass(frozen=True, slots=True)
class Encoding:
    name: str
    skip_bytes: int


@dataclass(slots=True)
class _Utf8Census:
    good: int = 0
    bad: int = 0


def find_encoding(stream: BinaryIO, *, filename: str, max_bytes: int) -> Encoding:
    """Read the whole stream and say how it is encoded: UTF-8, UTF-16 or Windows-1252, with or without a mark.

    Raises UploadRejected: `empty_file`, `too_large` (having read no more than `max_bytes` and a chunk),
    `not_csv`, `unreadable_text`. A text that is UTF-8 but for a few bytes counts as UTF-8.
    """
    _reject_empty(stream, max_bytes)
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    reject_known_formats(head, filename=filename)
    for mark, name in _BOMS:
        if head.startswith(mark):
            if name == "utf-32":
                raise _unreadable("This file is in UTF-32, which hardly any program reads.")
            _reject_damaged(stream, Encoding(name, len(mark)), max_bytes)
            return Encoding(name, len(mark))
    wide = _utf16_without_mark(head)
    if wide:
        _reject_damaged(stream, Encoding(wide, 0), max_bytes)
        return Encoding(wide, 0)
    if looks_binary(head):
        raise not_text()
    census = _take_utf8_census(stream, max_bytes)
    if census.bad == 0 or census.good > census.bad:
        return Encoding("utf-8", 0)
    _reject_unlike_windows_1252(stream)
    return Encoding("cp1252", 0)


@contextmanager
def text_of(stream: BinaryIO, *, encoding: str, skip_bytes: int) -> Iterator[io.TextIOWrapper]:
    """The stream as text, line ends as they are, bad bytes as lone surrogates. The stream is left open."""
    stream.seek(skip_bytes)
    errors = "weir.mark" if encoding.startswith("utf-16") else "surrogateescape"
    text = io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline="")
    try:
        yield text
    finally:
        if not stream.closed:
            text.detach()


def chunks_of(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """The whole stream in chunks; raises UploadRejected(`too_large`) once there is more than `max_bytes`."""
    stream.seek(0)
    total = 0
    while chunk := stream.read(CHUNK_BYTES):
        total += len(chunk)
        if total > max_bytes:
            raise too_large(max_bytes)
        yield chunk


def too_large(max_bytes: int) -> UploadRejected:
    limit = f"{max_bytes / 1_048_576:,.0f} MiB" if max_bytes >= 1_048_576 else f"{max_bytes:,} bytes"
    return UploadRejected("too_large", f"This file is larger than {limit}. Split it and upload the parts.")


def _reject_empty(stream: BinaryIO, max_bytes: int) -> None:
    for chunk in chunks_of(stream, max_bytes):
        if chunk.strip(b" \t\r\n\x00\xef\xbb\xbf\xff\xfe"):
            return
    raise UploadRejected("empty_file", "This file is empty. Export it again and upload the new file.")


def _reject_damaged(stream: BinaryIO, encoding: Encoding, max_bytes: int) -> None:
    for _ in chunks_of(stream, max_bytes):
        pass
    characters = bad = 0
    with text_of(stream, encoding=encoding.name, skip_bytes=encoding.skip_bytes) as text:
        while chunk := text.read(CHUNK_BYTES):
            characters += len(chunk)
            bad += len(BAD_CHARACTER.findall(chunk))
    if bad > 10 and bad > characters * 0.01:
        raise _unreadable(f"This file says that it is in {encoding.name.upper()}, but much of it is not.")


def _utf16_without_mark(head: bytes) -> str | None:
    """UTF-16 shows by NUL bytes at every other place, which leave legible ASCII when taken away."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 20 * even:
        name = "utf-16-le"
    elif even > 20 * odd:
        name = "utf-16-be"
    else:
        return None
    text = head[: len(head) // 2 * 2].decode(name, errors="ignore")
    plain = sum(1 for char in text if char.isascii())
    return name if plain > len(text) * 0.2 and any(mark in text for mark in "\r\n,;\t") else None


def _take_utf8_census(stream: BinaryIO, max_bytes: int) -> _Utf8Census:
    census = _Utf8Census()
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in chunks_of(stream, max_bytes):
        if not chunk.isascii():
            _count_utf8(decoder.decode(chunk), census)
    _count_utf8(decoder.decode(b"", final=True), census)
    return census


def _count_utf8(text: str, census: _Utf8Census) -> None:
    foreign = len(text) - len(text.encode("ascii", errors="ignore"))
    try:
        text.encode("utf-8")
        bad = 0
    except UnicodeEncodeError:
        bad = len(BAD_CHARACTER.findall(text))
    census.bad += bad
    census.good += foreign - bad


def _reject_unlike_windows_1252(stream: BinaryIO) -> None:
    """Raise if this reads as Windows-1252 by accident: Western languages have their accents one by one."""
    foreign = in_runs = undefined = 0
    stream.seek(0)
    while chunk := stream.read(CHUNK_BYTES):
        high = chunk.translate(None, _ASCII)
        foreign += len(high)
        undefined += sum(high.count(byte) for byte in b"\x81\x8d\x8f\x90\x9d")
        in_runs += sum(len(run) for run in _FOREIGN_RUN.findall(chunk))
    if undefined > 10 and undefined > foreign * 0.01:
        raise _unreadable("This file is neither in UTF-8 nor in UTF-16 nor in Windows-1252.")
    if foreign >= 30 and in_runs > foreign * 0.5:
        raise _unreadable(
            "This file is in an older encoding of a non-Latin script, which cannot be told for sure."
        )


def _unreadable(what: str) -> UploadRejected:
    return UploadRejected("unreadable_text", f"{what} {_SAVE_AS_UTF8}")


def _mark_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in bad), error.end


codecs.register_error("weir.mark", _mark_bad_bytes)
