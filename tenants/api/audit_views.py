"""GET /audit."""

import uuid

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.api.serializers import AuditEventSerializer
from tenants.audit_queries import events
from tenants.scope import tenant_scope

FILTERS = {
    "actor": "Who: “user:ada@example.com”, or “key:” for all keys, as for user:, staff: and system:.",
    "verb": "What: “key.created”, or “key.” for everything that was done to keys.",
    "subject": "The id of what it was done to.",
}


class AuditView(ApiView):
    resource = "audit"

    @extend_schema(
        operation_id="audit_list",
        tags=["audit"],
        parameters=[
            *PAGING,
            *(OpenApiParameter(name, str, description=text) for name, text in FILTERS.items()),
        ],
        responses={200: page_of(AuditEventSerializer), **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """Who did what to which object, the newest first. Kept for good: nobody can change or delete it."""
        given = request.query_params
        with tenant_scope(self.tenant_id):
            rows = events(
                actor=given.get("actor", ""), verb=given.get("verb", ""), subject=given.get("subject", "")
            )
            page = paginate(request, rows, key="id", parse=uuid.UUID, descending=True)
        return Response(page.answer(AuditEventSerializer(page.items, many=True).data))
