"""Taking in a file: looked over first, then stored as it came, then noted."""

from dataclasses import asdict
from typing import BinaryIO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db.models import Sum

from tenants import audit, erasure
from tenants.errors import Conflict, InvalidInput
from tenants.ids import uuid7
from tenants.scope import require_tenant_id, tenant_scope
from workflows.catalog import TEMPLATES
from workflows.csv_in import Inspection, UploadRejected, inspect
from workflows.errors import UploadRefused
from workflows.field_text import storable
from workflows.models import Upload

DEFAULT_TEMPLATE = "email-waterfall"
_MAX_NAME = 200


def look_over(
    *, file: BinaryIO, filename: str, size: int | None, template: str = DEFAULT_TEMPLATE
) -> Inspection:
    """Read a whole file and say what is in it; seconds for a large one, so call it outside any scope.

    Raises UploadRefused, with one of the codes of `csv_in.inspect` or `payload_too_large`, and InvalidInput for a
    template that there is not.
    """
    if template not in TEMPLATES:
        raise InvalidInput(
            f"There is no template “{storable(template[:40])}”. Known: {', '.join(TEMPLATES)}.",
            errors=[{"field": "template", "message": f"Known: {', '.join(TEMPLATES)}."}],
        )
    try:
        return inspect(
            file,
            filename=filename,
            size=size,
            template=template,
            max_rows=settings.UPLOAD_MAX_ROWS,
            max_bytes=settings.UPLOAD_MAX_BYTES,
        )
    except UploadRejected as error:
        code = "payload_too_large" if error.code == "too_large" else error.code
        raise UploadRefused(error.message, code=code, line=error.line) from error


def create_upload(
    *,
    file: BinaryIO,
    filename: str,
    size: int | None,
    actor: str,
    template: str = DEFAULT_TEMPLATE,
    found: Inspection | None = None,
) -> Upload:
    """Store a file for the open tenant, with what `look_over` found in it (looked over here when not given).

    A refused file leaves nothing behind. Raises as `look_over` does, and Conflict when the tenant keeps too much already.
    """
    found = found or look_over(file=file, filename=filename, size=size, template=template)
    tenant_id = require_tenant_id()
    kept = Upload.objects.filter(purged_at=None).aggregate(bytes=Sum("size"))["bytes"] or 0
    if kept + (size or 0) > settings.UPLOADS_MAX_BYTES:
        raise Conflict(
            f"With this one your files come to more than {settings.UPLOADS_MAX_BYTES / 1024**3:g} GiB. They are deleted "
            "after the days that your tenant keeps its data: shorten them, or wait."
        )
    upload = Upload(
        id=uuid7(),
        filename=_shortened(storable(filename)) or "upload.csv",
        template=template,
        dialect=found.dialect.to_dict(),
        columns=[storable(column) for column in found.columns],
        rows=found.rows,
        blank_lines=found.blank_lines,
        mapping=found.guessed_mapping,
        sample=found.sample,
        errors=[asdict(error) for error in found.errors],
        error_count=found.error_count,
        created_by=actor,
    )
    file.seek(0)
    upload.stored_as = default_storage.save(f"{tenant_id}/{upload.pk}.csv", File(file))
    try:
        upload.size = default_storage.size(upload.stored_as)
        with tenant_scope(tenant_id):
            upload.save(force_insert=True)
            audit.record(actor=actor, verb="upload.created", subject=upload, rows=upload.rows)
    except BaseException:
        erasure.take_back(upload.stored_as, tenant_id)
        raise
    return upload


def _shortened(name: str) -> str:
    """A name that fits, with the end that says what kind of file it is."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 21]}…{name[-20:]}"
