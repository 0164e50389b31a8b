"""GET /workflows and GET /templates."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.scope import tenant_scope
from workflows import queries
from workflows.api.serializers import TemplateSerializer, WorkflowSerializer
from workflows.catalog import TEMPLATES, Template


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
