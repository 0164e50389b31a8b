"""The routes of runs: start them, look at them, steer them."""

import uuid
from collections.abc import Callable
from typing import Any, cast

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView, choice_of, moment_of, read_body
from tenants.api.once import Answer, as_response, check_key, hash_of, rendered
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.errors import NotFound
from tenants.scope import tenant_scope
from workflows import queries
from workflows.api.quick import read_run_body, run_shape
from workflows.api.serializers import RetryBody, RunBody, RunPatch, RunSerializer
from workflows.estimates import first_finish
from workflows.models import Run, Upload
from workflows.operations import control_run
from workflows.operations.accept_run import accept_run, accept_upload, find_workflow
from workflows.operations.answer_once import answer_once
from workflows.operations.change_run import RunChanges, change_run
from workflows.operations.failed_records import FailedFilter
from workflows.operations.retry import retry_run
from workflows.operations.setup import Setup, find_setup, scope_for
from workflows.states import RunStatus

_FILTERS = [
    OpenApiParameter("workflow", str, description="Id or slug."),
    OpenApiParameter("created_since", OpenApiTypes.DATETIME, description="At this moment or later."),
    OpenApiParameter("created_before", OpenApiTypes.DATETIME, description="Earlier than this."),
]


def run_json(run: Run) -> dict[str, Any]:
    """A run as the API shows it; needs the tenant's scope."""
    return dict(RunSerializer(run, context={"finishes": queries.estimates([run])}).data)


class RunsView(ApiView):
    resource = "runs"
    keeps_answers = True

    @extend_schema(
        operation_id="runs_list",
        tags=["runs"],
        parameters=[*PAGING, OpenApiParameter("status", str, enum=RunStatus.values), *_FILTERS],
        responses={200: page_of(RunSerializer), **problems(404, 422)},
    )
    def get(self, request: Request) -> Response:
        """The runs, the newest first. Several filters may be given at once."""
        status = choice_of(request, "status", RunStatus.values)
        wanted = request.query_params.get("workflow")
        since, before = moment_of(request, "created_since"), moment_of(request, "created_before")
        with tenant_scope(self.tenant_id):
            page = paginate(
                request,
                queries.runs(
                    status,
                    find_workflow(wanted).pk if wanted is not None else None,
                    test_only=self.test_mode,
                    since=since,
                    before=before,
                ),
                key="id",
                parse=uuid.UUID,
                descending=True,
            )
            finishes = queries.estimates(page.items)
        data = RunSerializer(page.items, many=True, context={"finishes": finishes}).data
        return Response(page.answer(data))

    @extend_schema(
        operation_id="runs_create",
        tags=["runs"],
        request=RunBody,
        responses={202: RunSerializer, **problems(400, 402, 404, 409, 413, 415, 422)},
    )
    def post(self, request: Request) -> HttpResponse:
        """Start a run. It is accepted as a whole, and works through its records afterwards.

        A faulty record does not stop the others: it becomes a failed record with a named error.
        """
        key = check_key(request.headers.get("Idempotency-Key"))
        body = read_run_body(request.data)
        request_hash = hash_of("POST /runs", self.owner.livemode, request.data) if key else b""
        workflow = body.pop("workflow")
        with (scope := scope_for(self.tenant_id, workflow)):
            answer = answer_once(
                key=key,
                request_hash=request_hash,
                make=lambda: self._accept(find_setup(workflow, scope.answer), body),
            )
        return as_response(answer)

    def _accept(self, setup: Setup, body: dict[str, Any]) -> Answer:
        common: dict[str, Any] = {
            "actor": self.actor,
            "source": Run.Source.API,
            "livemode": self.owner.livemode,
        }
        if "upload" in body:
            upload = Upload.objects.filter(pk=body.pop("upload"), purged_at=None).first()
            if upload is None:
                raise NotFound("There is no such upload. POST /uploads makes one.")
            run = accept_upload(workflow=setup, upload=upload, **common, **body)
        else:
            run = accept_run(workflow=setup, **common, **body)
        return Answer(202, rendered(run_shape(run, first_finish(run))))


class RunView(ApiView):
    resource = "runs"
    one_transaction = False  # what was changed is committed before it is shown

    @extend_schema(
        operation_id="runs_retrieve", tags=["runs"], responses={200: RunSerializer, **problems(404)}
    )
    def get(self, request: Request, run_id: uuid.UUID) -> Response:
        """One run."""
        with tenant_scope(self.tenant_id):
            return Response(run_json(queries.get_run(run_id, test_only=self.test_mode)))

    @extend_schema(
        operation_id="runs_change",
        tags=["runs"],
        request=RunPatch,
        responses={200: RunSerializer, **problems(404, 409, 422)},
    )
    def patch(self, request: Request, run_id: uuid.UUID) -> Response:
        """Change the credit limit or the priority of a run that is under way. In effect within 2 s."""
        changes = cast(RunChanges, read_body(RunPatch, request.data))
        with tenant_scope(self.tenant_id):
            queries.get_run(run_id, test_only=self.test_mode)
        change_run(tenant_id=self.tenant_id, run_id=run_id, actor=self.actor, changes=changes)
        with tenant_scope(self.tenant_id):
            return Response(run_json(queries.get_run(run_id)))


def _control(name: str, operation: Callable[..., Run], what: str) -> type[ApiView]:
    """POST without a body: moves the run and answers with it."""

    @extend_schema(
        operation_id=f"runs_{name}",
        tags=["runs"],
        description=what,
        request=None,
        responses={200: RunSerializer, **problems(404, 409)},
    )
    def post(self: ApiView, request: Request, run_id: uuid.UUID) -> Response:
        with tenant_scope(self.tenant_id):
            queries.get_run(run_id, test_only=self.test_mode)
            operation(run_id=run_id, actor=self.actor)
            return Response(run_json(queries.get_run(run_id)))

    return type(f"{name.capitalize()}RunView", (ApiView,), {"post": post, "resource": "runs"})


CancelRunView = _control(
    "cancel",
    control_run.cancel_run,
    "End the run for good: what waits is cancelled, calls in flight are finished and kept.",
)
PauseRunView = _control(
    "pause", control_run.pause_run, "Start no more calls; those in flight are finished. In effect within 2 s."
)
ResumeRunView = _control("resume", control_run.resume_run, "Let a paused run go on.")


class RetryRunView(ApiView):
    resource = "runs"
    one_transaction = False  # commits a chunk at a time; asked twice, it retries once

    @extend_schema(
        operation_id="runs_retry",
        tags=["runs"],
        request=RetryBody,
        responses={200: RunSerializer, **problems(402, 404, 409, 422)},
    )
    def post(self, request: Request, run_id: uuid.UUID) -> Response:
        """Ask again for the failed records, and for those not found because a vendor gave up.

        Each goes on from the step that failed; answers that were paid for are kept. A run that had ended is running
        again. Faulty records are left: change their input, one by one. Asked twice, it retries once.
        """
        body = read_body(RetryBody, request.data)
        with tenant_scope(self.tenant_id):
            queries.get_run(run_id, test_only=self.test_mode)
        which = FailedFilter(body.get("error_code", ""), body.get("provider", ""))
        retry_run(tenant_id=self.tenant_id, run_id=run_id, actor=self.actor, which=which)
        with tenant_scope(self.tenant_id):
            return Response(run_json(queries.get_run(run_id)))
