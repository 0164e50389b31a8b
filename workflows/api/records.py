"""The routes of a run's records and results."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView, choice_of, read_body
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.scope import tenant_scope
from workflows import exports, queries
from workflows.api.serializers import RecordSerializer, RecordWithStepsSerializer, RetryRecordBody
from workflows.models import Record, Run
from workflows.operations.failed_records import discard_record
from workflows.operations.retry import retry_record
from workflows.states import RecordStatus

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class RecordsView(ApiView):
    resource = "runs"

    @extend_schema(
        operation_id="records_list",
        tags=["records"],
        parameters=[*PAGING, OpenApiParameter("status", str, enum=RecordStatus.values)],
        responses={200: page_of(RecordSerializer), **problems(404, 422)},
    )
    def get(self, request: Request, run_id: uuid.UUID) -> Response:
        """The records of a run by position, without their steps."""
        status = choice_of(request, "status", RecordStatus.values)
        with tenant_scope(self.tenant_id):
            queries.get_run(run_id, test_only=self.test_mode)
            page = paginate(request, queries.records(run_id, status), key="position", parse=_position)
        return Response(page.answer(RecordSerializer(page.items, many=True).data))


class RecordView(ApiView):
    resource = "runs"

    @extend_schema(
        operation_id="records_retrieve",
        tags=["records"],
        responses={200: RecordWithStepsSerializer, **problems(404)},
    )
    def get(self, request: Request, run_id: uuid.UUID, record_id: uuid.UUID) -> Response:
        """One record with its steps: what was asked of whom, what came back, and what it waits for."""
        with tenant_scope(self.tenant_id):
            queries.get_run(run_id, test_only=self.test_mode)
            return Response(_with_steps(queries.get_record(run_id, record_id)))


class RetryRecordView(ApiView):
    resource = "runs"

    @extend_schema(
        operation_id="records_retry",
        tags=["records"],
        request=RetryRecordBody,
        responses={200: RecordWithStepsSerializer, **problems(402, 404, 409, 422)},
    )
    def post(self, request: Request, run_id: uuid.UUID, record_id: uuid.UUID) -> Response:
        """Ask again for a record that failed, was skipped or was not found, with other input where some is given.

        It goes on from the step that failed, and what was answered is not paid for twice; or it begins anew, and is.
        A record that is under way already is answered as it is.
        """
        body = read_body(RetryRecordBody, request.data)
        with tenant_scope(self.tenant_id):
            queries.get_run(run_id, test_only=self.test_mode)
            record = retry_record(
                run_id=run_id,
                record_id=record_id,
                actor=self.actor,
                restart=body["mode"] == "restart",
                changes=body.get("input"),
            )
            return Response(_with_steps(record))


class DiscardRecordView(ApiView):
    resource = "runs"

    @extend_schema(
        operation_id="records_discard",
        tags=["records"],
        request=None,
        responses={200: RecordWithStepsSerializer, **problems(404, 409)},
    )
    def post(self, request: Request, run_id: uuid.UUID, record_id: uuid.UUID) -> Response:
        """Put a failed record aside: it counts as skipped, and a retry of the run leaves it."""
        with tenant_scope(self.tenant_id):
            queries.get_run(run_id, test_only=self.test_mode)
            return Response(_with_steps(discard_record(run_id=run_id, record_id=record_id, actor=self.actor)))


def _with_steps(record: Record) -> dict[str, Any]:
    steps = queries.record_steps(record)
    return dict(RecordWithStepsSerializer(record, context={"steps": steps}).data)


class _ResultsView(ApiView):
    resource = "runs"
    media_type: str
    ending: str
    lines: Callable[[uuid.UUID, Run], Iterator[bytes]]

    def stream(self, run_id: uuid.UUID) -> HttpResponseBase:
        with tenant_scope(self.tenant_id):
            run = queries.get_run(run_id, test_only=self.test_mode)
        name = f"{run.name.rsplit('.', 1)[0] or run.workflow.slug}-results.{self.ending}"
        response = StreamingHttpResponse(type(self).lines(self.tenant_id, run), content_type=self.media_type)
        response["Content-Disposition"] = (
            content_disposition_header(as_attachment=True, filename=name) or "attachment"
        )
        return response


class ResultsCsvView(_ResultsView):
    media_type = "text/csv; charset=utf-8"
    ending = "csv"
    lines = staticmethod(exports.results_csv)

    @extend_schema(
        operation_id="results_csv",
        tags=["records"],
        responses={(200, "text/csv"): OpenApiTypes.BINARY, **problems(404)},
    )
    def get(self, request: Request, run_id: uuid.UUID) -> HttpResponseBase:
        """All records as CSV: the input columns as they came, then the results. Cells that a spreadsheet would take
        for a formula get a leading quote."""
        return self.stream(run_id)


class ResultsJsonlView(_ResultsView):
    media_type = "application/jsonl; charset=utf-8"
    ending = "jsonl"
    lines = staticmethod(exports.results_jsonl)

    @extend_schema(
        operation_id="results_jsonl",
        tags=["records"],
        responses={(200, "application/jsonl"): OpenApiTypes.BINARY, **problems(404)},
    )
    def get(self, request: Request, run_id: uuid.UUID) -> HttpResponseBase:
        """All records as JSON lines, one record a line, values as they are."""
        return self.stream(run_id)


class ResultsXlsxView(_ResultsView):
    media_type = XLSX
    ending = "xlsx"
    lines = staticmethod(exports.results_xlsx)

    @extend_schema(
        operation_id="results_xlsx",
        tags=["records"],
        responses={(200, XLSX): OpenApiTypes.BINARY, **problems(404, 409)},
    )
    def get(self, request: Request, run_id: uuid.UUID) -> HttpResponseBase:
        """All records as an Excel workbook, with the columns of the CSV. Texts of more than 32,767 characters are cut."""
        return self.stream(run_id)


def _position(text: str) -> int:
    if not text.isdigit() or len(text) > 9:
        raise ValueError(text)
    return int(text)
