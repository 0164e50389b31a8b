"""What the workflows app adds to an export of everything: the results of each run as CSV, and the uploaded files."""

import re
import uuid
from collections.abc import Iterator

from django.core.files.storage import default_storage

from tenants.scope import tenant_scope
from workflows.exports import results_csv
from workflows.models import Run, Upload

CHUNK = 200
_BLOCK = 256 * 1024
_START = uuid.UUID(int=0)


def results(tenant_id: uuid.UUID) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Every run's results."""
    after = _START
    while True:
        with tenant_scope(tenant_id):
            runs = list(Run.objects.filter(id__gt=after).select_related("upload").order_by("id")[:CHUNK])
        for run in runs:
            yield f"results/{run.pk}-{_safe(run.name) or 'run'}.csv", results_csv(tenant_id, run)
        if len(runs) < CHUNK:
            return
        after = runs[-1].pk


def uploads(tenant_id: uuid.UUID) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Every file as it was brought; one that the storage has lost is left out."""
    after = _START
    while True:
        with tenant_scope(tenant_id):
            files = list(
                Upload.objects.filter(id__gt=after)
                .order_by("id")
                .values_list("id", "filename", "stored_as")[:CHUNK]
            )
        for upload_id, filename, stored_as in files:
            if default_storage.exists(stored_as):
                yield f"uploads/{upload_id}-{_safe(filename) or 'upload'}.csv", _content(stored_as)
        if len(files) < CHUNK:
            return
        after = files[-1][0]


def _content(stored_as: str) -> Iterator[bytes]:
    with default_storage.open(stored_as) as file:
        yield from file.chunks(_BLOCK)


def _safe(name: str) -> str:
    """A name that is one on every system: letters, digits, dots and dashes, at most 80 of them."""
    return re.sub(r"[^\w.-]+", "-", name.removesuffix(".csv")).strip("-.")[:80]
