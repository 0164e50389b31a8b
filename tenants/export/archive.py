"""Writing the archive: a file per table, what other apps add, a README, and a manifest with counts and checksums."""

import hashlib
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from tenants.export import tables
from tenants.export.registry import extras
from tenants.models import Tenant

FORMAT = 1
Progress = Callable[[int], None]

_README = """\
{name}: everything that Weir holds for this tenant, as of {when} UTC.

tables/      one file per table, one row per line, each a JSON object; rows in the order of their ids, which is the
             order in which they were made. Credits are the vendors' own, in thousandths.
people.jsonl who belongs to the tenant; other files name people by the ids in it
results/     the results of every run as CSV, safe to open in a spreadsheet
uploads/     the files as they were uploaded
manifest.json  rows per table, size and SHA-256 of every file

Rows that were written while the export was being made may be missing.

Not in here, as it is kept from everybody: the vendors' keys and other secrets ({secret}), and digests of API keys and
invitations ({digests}).
"""


@dataclass(slots=True)
class Archive:
    """A ZIP being written. Holds one chunk in memory at a time."""

    zip: zipfile.ZipFile
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, path: str, chunks: Iterator[bytes]) -> None:
        """Add one file. Raises ValueError for a path that is there already or leads out of the archive."""
        if path in self.files or path.startswith("/") or ".." in path.split("/"):
            raise ValueError("A file of the archive needs a path of its own, inside it.")
        digest, size = hashlib.sha256(), 0
        entry = zipfile.ZipInfo(path, self._now)
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        with self.zip.open(entry, "w", force_zip64=True) as out:
            for chunk in chunks:
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self.files[path] = {"bytes": size, "sha256": digest.hexdigest()}

    @property
    def _now(self) -> tuple[int, int, int, int, int, int]:
        now = datetime.now().astimezone()
        return now.year, now.month, now.day, now.hour, now.minute, now.second


def write_archive(tenant: Tenant, out: IO[bytes], *, when: datetime, progress: Progress) -> None:
    """Write everything that the tenant holds to a file. Call it outside any scope; `progress` is told how many rows
    were written since it was told last, and may raise to stop."""
    chosen = tables.exported()
    counts: dict[str, int] = {}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as opened:
        archive = Archive(opened)
        archive.write("README.txt", iter([_readme(tenant, chosen, when)]))
        archive.write("people.jsonl", tables.people(tenant.pk))
        for entry in chosen:
            archive.write(f"tables/{entry.table}.jsonl", _lines(tenant.pk, entry, counts, progress))
        for extra in extras():
            for path, chunks in extra(tenant.pk):
                archive.write(path, _watched(chunks, progress))
        manifest = {
            "format": FORMAT,
            "tenant": {"id": str(tenant.pk), "name": tenant.name, "plan": tenant.plan},
            "made_at": when.isoformat(),
            "rows": counts,
            "left_out": {entry.table: list(entry.left_out) for entry in chosen if entry.left_out},
            "not_included": tables.secret_tables(),
            "files": archive.files,
        }
        opened.writestr("manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))


def _lines(
    tenant_id: uuid.UUID, entry: tables.Exported, counts: dict[str, int], progress: Progress
) -> Iterator[bytes]:
    counts[entry.table] = 0
    for chunk in tables.rows(tenant_id, entry):
        counts[entry.table] += len(chunk)
        progress(len(chunk))
        yield "".join(f"{line}\n" for line in chunk).encode()


def _watched(chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        progress(0)
        yield chunk


def _readme(tenant: Tenant, chosen: list[tables.Exported], when: datetime) -> bytes:
    digests = ", ".join(f"{entry.table}.{column}" for entry in chosen for column in entry.left_out)
    text = _README.format(
        name=tenant.name,
        when=f"{when:%Y-%m-%d %H:%M}",
        secret=", ".join(tables.secret_tables()) or "none",
        digests=digests or "none",
    )
    return text.encode()
