"""Files that cannot be used at all: each is refused by name, with advice, and without reading more than needed."""

import io
import zipfile
from typing import Any

import pytest

from workflows.csv_in import UploadRejected, inspect

ROW = b"Ada,Acme\n"


def rejection(data, *, filename="contacts.csv", **limits):
    stream: Any = data if isinstance(data, io.IOBase) else io.BytesIO(data)
    with pytest.raises(UploadRejected) as caught:
        inspect(stream, filename=filename, **limits)
    assert not stream.closed
    return caught.value


def zipped(*names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 50)
    return out.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"\n\r\n  \t\n", b"\xef\xbb\xbf", b"\xff\xfe", "\ufeff \r\n".encode("utf-16-le")]
)
def test_a_file_with_nothing_in_it(data):
    assert rejection(data).code == "empty_file"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF"),
        (b"\n\njunk first %PDF-1.4\n", "a PDF"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook"),
        (zipped("[Content_Types].xml", "word/document.xml"), "a Word document"),
        (zipped("contacts.csv"), "a compressed file (zip)"),
        (b"PK\x03\x04" + b"\x00" * 26 + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "(.ods)"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 500, "an old Excel"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 50, "an image (PNG)"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "an image (JPEG)"),
        (b"GIF89a\x01\x00", "an image (GIF)"),
        (b"BM\x36\x00\x00\x00\x00\x00", "an image (BMP)"),
        (b"\x7fELF\x02\x01\x01" + b"\x00" * 50, "a program"),
        (b"MZ\x90\x00\x03\x00\x00\x00", "a program"),
        (b"\x1f\x8b\x08\x00", "a compressed file (gzip)"),
        (b"{\\rtf1\\ansi", "RTF"),
        (b"<!DOCTYPE html><html><table><tr><td>Name</td></tr></table>", "a web page"),
        (b"\xef\xbb\xbf<html xmlns:x='urn:schemas-microsoft-com:office:excel'>", "a web page"),
        (b"<?xml version='1.0'?><Workbook/>", "an XML file"),
        (b'[\n {"name": "Ada"}]', "JSON"),
        (b'{"name": "Ada"}', "JSON"),
        (bytes(range(256)) * 40, "not text at all"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(data, said):
    refused = rejection(data)
    assert refused.code == "not_csv"
    assert said in refused.message
    assert str(refused) == refused.message


def test_a_workbook_is_told_how_to_become_a_csv():
    assert "Save as" in rejection(zipped("[Content_Types].xml", "xl/x.xml"), filename="contacts.csv").message


@pytest.mark.parametrize(
    "first", [b"BMW,Munich", b"MZ Group,Ulm", b"RIFF Ltd,Bonn", b"{Acme},x", b"[Acme],x", b"PKW,y"]
)
def test_text_that_begins_like_something_else_is_text(first):
    found = inspect(io.BytesIO(b"Company,City\n" + first + b"\n"), filename="x.csv")
    assert found.rows == 1
    assert inspect(io.BytesIO(first + b"\nAda,Acme\n"), filename="x.csv").rows == 1


class Endless(io.RawIOBase):
    """A stream of two gigabytes that counts what was read of it."""

    size = 2 * 1024**3

    def __init__(self):
        self.at = 0
        self.most = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        self.at = offset
        return offset

    def read(self, size=-1):
        size = min(size if size >= 0 else self.size, self.size - self.at)
        self.at += size
        self.most = max(self.most, self.at)
        return (ROW * (size // len(ROW) + 1))[:size]


def test_a_file_that_says_it_is_too_large_is_not_read():
    stream = Endless()
    assert rejection(stream, size=stream.size).code == "too_large"
    assert stream.most == 0


def test_a_file_that_does_not_say_so_is_read_up_to_the_limit_and_no_further():
    stream = Endless()
    refused = rejection(stream, max_bytes=5 * 1024**2)
    assert refused.code == "too_large"
    assert "5 MiB" in refused.message
    assert stream.most <= 6 * 1024**2 + 1


def test_blank_space_without_end_is_too_large_too():
    assert rejection(b" " * 3_000_000, max_bytes=1_000_000).code == "too_large"


def test_a_file_of_exactly_the_limits_is_taken():
    data = b"Name,Company\n" + ROW * 10
    assert (
        inspect(io.BytesIO(data), filename="x", size=len(data), max_bytes=len(data), max_rows=10).rows == 10
    )
    refused = rejection(data + ROW, max_rows=10)
    assert (refused.code, refused.line) == ("too_many_rows", 12)
    assert "10 rows" in refused.message


def test_more_columns_than_500():
    headings = [f"c{n}" for n in range(501)]
    data = (",".join(headings) + "\n" + ",".join("x" for _ in headings) + "\n").encode()
    assert rejection(data).code == "too_many_columns"
    data = (",".join(headings[:500]) + "\n" + ",".join("x" for _ in headings[:500]) + "\n").encode()
    assert len(inspect(io.BytesIO(data), filename="x").columns) == 500


@pytest.mark.parametrize(
    "data",
    [
        b"Ada,Lovelace,acme.example\nBob,Brown,brown.example\n",
        b"Ada,ada@acme.example\nBob,bob@brown.example\n",
        b"Ada,https://www.linkedin.com/in/ada\nBob,x\n",
        b"1,2,3\n4,5,6\n",
        b",,\nAda,Lovelace,Acme\n",
    ],
)
def test_a_file_that_begins_with_a_contact_has_no_headings(data):
    refused = rejection(data)
    assert (refused.code, refused.line) == ("no_header", 1)


def test_odd_headings_are_headings():
    data = b"person.first,person.last,org.title\nAda,Lovelace,Acme\n"
    assert inspect(io.BytesIO(data), filename="x").columns == ["person.first", "person.last", "org.title"]


@pytest.mark.parametrize(
    "data", [b"Name,Company", b"Name,Company\n", b"Name,Company\r\n\r\n  \r\n", b"sep=;\nName;Company\n"]
)
def test_headings_alone_are_not_enough(data):
    assert rejection(data).code == "no_data_rows"


@pytest.mark.parametrize(
    "data",
    [
        "Name,Company\nAda,Acme\n".encode("utf-32"),
        ("Имя,Компания\n" + "Лев Толстой,Ясная Поляна\n" * 20).encode("cp1251"),
        ("名前,会社\n" + "紫式部,源氏物語\n" * 20).encode("shift_jis"),
        b"\xff\xfe" + b"\x00\xd8\x41\x00" * 500,
    ],
)
def test_text_in_an_encoding_that_cannot_be_told_is_not_guessed_at(data):
    refused = rejection(data)
    assert refused.code == "unreadable_text"
    assert "UTF-8" in refused.message
