"""Finding a secret in bytes, however it was written down."""

import base64
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus


@dataclass(frozen=True)
class Trace:
    """Something that the tour left: where it is, what it holds."""

    where: str
    content: bytes


def search(secrets: Mapping[str, str], traces: Iterable[Trace]) -> set[tuple[str, str]]:
    """(name, where) of every secret that is found: plain, in an address, in JSON, in hexadecimal, in base64."""
    wanted = {name: shapes(value) for name, value in secrets.items()}
    return {
        (name, trace.where)
        for trace in traces
        for content in unpacked(trace.content)
        for name, forms in wanted.items()
        if any(form in content for form in forms)
    }


def shapes(value: str) -> set[bytes]:
    escaped = json.dumps(value)[1:-1]
    texts = {
        value, quote(value, safe=""), quote(value), quote_plus(value), escaped, json.dumps(escaped)[1:-1],
        repr(value)[1:-1], value.encode().hex(), value.encode().hex().upper(),
        value.replace('"', "&quot;").replace("+", "&#x2B;"), value.replace('"', "&quot;"),
    }  # fmt: skip
    return {text.encode() for text in texts} | _base64(value.encode())


def _base64(raw: bytes) -> set[bytes]:
    """Its base64 wherever it stands in what was encoded: at each of the three offsets, less what neighbours decide."""
    found = set()
    for offset in range(3):
        whole = (8 * (offset + len(raw))) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(bytes(offset) + raw)[-(-8 * offset // 6) : whole])
    return found


def unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield archive.read(name)
