"""Takes a file out of a request while it streams in, and stops at the size that is allowed.

For `settings.FILE_UPLOAD_HANDLERS`. A body that is too large is refused before it is read where the caller announced
its length, and else as soon as the bytes have come. The request goes on without the file: the view finds the reason
in `refusal_of(request)`.
"""

from tempfile import SpooledTemporaryFile
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest

from workflows.csv_in.encoding import too_large
from workflows.errors import UploadRefused

IN_MEMORY = 1024 * 1024
# What a form may add around its file: boundaries, headers, other fields.
_ENVELOPE = 64 * 1024


def payload_too_large() -> UploadRefused:
    return UploadRefused(str(too_large(settings.UPLOAD_MAX_BYTES)), code="payload_too_large")


def refusal_of(request: HttpRequest) -> UploadRefused | None:
    """Why the request's file was not taken; None where it was, or where there was none."""
    return getattr(request, "upload_refusal", None)


def announces_too_much(request: HttpRequest) -> bool:
    """Whether the request's own Content-Length is more than any upload may have. Reads nothing of the body."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0) > settings.UPLOAD_MAX_BYTES + _ENVELOPE
    except ValueError:
        return False


class BoundedUploadHandler(FileUploadHandler):
    """Keeps small files in memory and others on disk, none of them larger than an upload may be."""

    def handle_raw_input(
        self, input_data: Any, meta: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        self.hopeless = content_length > settings.UPLOAD_MAX_BYTES + _ENVELOPE

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.taken = 0
        if self.hopeless:
            self._refuse()
        # Closed with the request, which owns it once the file is complete.
        self.file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.taken += len(raw_data)
        if self.taken > settings.UPLOAD_MAX_BYTES:
            self._refuse()
        self.file.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile:
        self.file.seek(0)
        return UploadedFile(
            file=self.file,
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )

    def upload_interrupted(self) -> None:
        if hasattr(self, "file"):
            self.file.close()

    def _refuse(self) -> None:
        self.upload_interrupted()
        self.request.upload_refusal = payload_too_large()  # type: ignore[union-attr]
        raise StopUpload(connection_reset=True)  # the rest is not read
