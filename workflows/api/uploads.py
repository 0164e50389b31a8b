"""POST /uploads."""

import hashlib
from typing import BinaryIO, cast

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from tenants.api.base import ApiView
from tenants.api.once import Answer, as_response, check_key, hash_of, rendered
from tenants.api.schema import problems
from tenants.errors import InvalidInput
from tenants.scope import tenant_scope
from workflows.api.serializers import UploadForm, UploadSerializer
from workflows.csv_in import Inspection
from workflows.errors import UploadRefused
from workflows.operations.answer_once import answer_once, earlier_answer
from workflows.operations.create_upload import DEFAULT_TEMPLATE, create_upload, look_over
from workflows.upload_handler import announces_too_much, payload_too_large, refusal_of


class UploadsView(ApiView):
    resource = "runs"
    keeps_answers = True  # hashes the file, not the form around it
    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="uploads_create",
        tags=["uploads"],
        request={"multipart/form-data": UploadForm},
        responses={201: UploadSerializer, **problems(400, 409, 413, 415, 422)},
    )
    def post(self, request: Request) -> HttpResponse:
        """Bring a CSV file. Faulty rows are listed; they become failed records and do not stop the others.

        Start it with POST /runs and `"upload": id`, and a `mapping` where the guessed one is not right.
        """
        key = check_key(request.headers.get("Idempotency-Key"))
        file, template = self._form(request)
        request_hash = hash_of("POST /uploads", self.owner.livemode, template, file.name, _digest(file))
        with tenant_scope(self.tenant_id):
            earlier = earlier_answer(key, request_hash)
        if earlier:
            return as_response(earlier)
        stream = cast(BinaryIO, file.file)
        found = look_over(file=stream, filename=file.name or "", size=file.size, template=template)
        with tenant_scope(self.tenant_id):
            answer = answer_once(
                key=key, request_hash=request_hash, make=lambda: self._create(file, template, found)
            )
        return as_response(answer)

    def _create(self, file: UploadedFile, template: str, found: Inspection) -> Answer:
        upload = create_upload(
            file=cast(BinaryIO, file.file),
            filename=file.name or "",
            size=file.size,
            actor=self.actor,
            template=template,
            found=found,
        )
        return Answer(201, rendered(UploadSerializer(upload).data))

    def _form(self, request: Request) -> tuple[UploadedFile, str]:
        """The file, and the template that it is for. Raises UploadRefused and InvalidInput."""
        if announces_too_much(request._request):
            raise payload_too_large()  # nothing of the body has been read
        data, files = request.POST, request.FILES
        if refusal := refusal_of(request._request):
            raise refusal
        file = files.get("file")
        if file is None:
            message = "Send the CSV file in the form field “file”."
            raise InvalidInput(message, errors=[{"field": "file", "message": message}])
        if len(files) > 1 or len(files.getlist("file")) > 1:
            raise UploadRefused("One file at a time: this form holds several.", code="too_many_files")
        return file, data.get("template") or DEFAULT_TEMPLATE


def _digest(file: UploadedFile) -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()
