"""The routes of workflows, and of the templates that they are made from."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView, read_body
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.errors import NotFound
from tenants.scope import tenant_scope
from workflows import queries
from workflows.api.serializers import TemplateSerializer, WorkflowBody, WorkflowPatch, WorkflowSerializer
from workflows.catalog import TEMPLATES, Template
from workflows.operations import edit_workflow


class WorkflowsView(ApiView):
    resource = "workflows"

    @extend_schema(
        operation_id="workflows_list",
        tags=["workflows"],
        parameters=PAGING,
        responses={200: page_of(WorkflowSerializer), **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """The workflows, in the order in which they were made."""
        with tenant_scope(self.tenant_id):
            page = paginate(request, queries.workflows(), key="id", parse=uuid.UUID)
        return Response(page.answer(WorkflowSerializer(page.items, many=True).data))

    @extend_schema(
        operation_id="workflows_create",
        tags=["workflows"],
        request=WorkflowBody,
        responses={201: WorkflowSerializer, **problems(400, 409, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """Make a workflow from a template. GET /templates lists them with their settings."""
        body = read_body(WorkflowBody, request.data)
        with tenant_scope(self.tenant_id):
            made = edit_workflow.create_workflow(**{"config": {}, **body}, actor=self.actor)
            made.refresh_from_db()
        return Response(WorkflowSerializer(made).data, status=201)


class WorkflowView(ApiView):
    resource = "workflows"

    @extend_schema(
        operation_id="workflows_retrieve",
        tags=["workflows"],
        responses={200: WorkflowSerializer, **problems(404)},
    )
    def get(self, request: Request, workflow_id: uuid.UUID) -> Response:
        """One workflow."""
        with tenant_scope(self.tenant_id):
            found = queries.workflows().filter(pk=workflow_id).first()
        if found is None:
            raise NotFound("There is no such workflow.")
        return Response(WorkflowSerializer(found).data)

    @extend_schema(
        operation_id="workflows_update",
        tags=["workflows"],
        request=WorkflowPatch,
        responses={200: WorkflowSerializer, **problems(400, 404, 413, 415, 422)},
    )
    def patch(self, request: Request, workflow_id: uuid.UUID) -> Response:
        """Change what is named. Runs that were accepted keep the settings they were accepted with."""
        body = read_body(WorkflowPatch, request.data)
        with tenant_scope(self.tenant_id):
            changed = edit_workflow.change_workflow(workflow_id=workflow_id, actor=self.actor, **body)
            changed.refresh_from_db()
        return Response(WorkflowSerializer(changed).data)


class TemplatesView(ApiView):
    resource = "workflows"

    @extend_schema(
        operation_id="templates_list",
        tags=["workflows"],
        responses={200: page_of(TemplateSerializer), **problems()},
    )
    def get(self, request: Request) -> Response:
        """The templates that workflows are made from, with their settings. All on one page."""
        data = TemplateSerializer([_shown(template) for template in TEMPLATES.values()], many=True).data
        return Response({"data": data, "next": None, "previous": None})


def _shown(template: Template) -> dict[str, object]:
    return {
        "slug": template.slug,
        "title": template.title,
        "description": template.description,
        "fields": template.fields,
        "config_schema": template.config_schema,
        "default_config": template.default_config(),
    }
