"""GET, POST and DELETE /suppressions."""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.models import Suppression
from integrations.suppression_keys import HELP, KINDS, MAX_VALUE, read_entry
from integrations.suppressions import add_suppressions, remove_suppressions
from tenants.api.base import ApiView, Body, choice_of, read_body
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.errors import InvalidInput
from tenants.scope import tenant_scope

MOST = 1_000
_FILTERS = [
    OpenApiParameter("kind", str, enum=list(KINDS)),
    OpenApiParameter("value", str, description="Exactly this one, however it is written."),
]


class SuppressionSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(KINDS)
    value = serializers.CharField(help_text="As it is kept: normalised.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()


class AddedSerializer(serializers.Serializer):
    data = SuppressionSerializer(many=True, help_text="What is new on the list.")  # type: ignore[assignment]
    added = serializers.IntegerField()
    known = serializers.IntegerField(help_text="How many were on the list already.")


class SuppressionBody(Body):
    value = serializers.CharField(max_length=MAX_VALUE, required=False, help_text=HELP)
    values = serializers.ListField(
        child=serializers.CharField(max_length=MAX_VALUE), min_length=1, max_length=MOST, required=False,
        help_text=f"Up to {MOST:,} at once, in place of `value`.",
    )  # fmt: skip
    kind = serializers.ChoiceField(KINDS, required=False, help_text="Told by the text when left out.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("value" in attrs) == ("values" in attrs):
            raise serializers.ValidationError({"value": ["Give either value or values."]})
        return attrs


class SuppressionsView(ApiView):
    resource = "suppressions"

    @extend_schema(
        operation_id="suppressions_list",
        tags=["suppressions"],
        parameters=[*PAGING, *_FILTERS],
        responses={200: page_of(SuppressionSerializer), **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """Who is never to be looked up or delivered, in the order in which they were added."""
        kind, value = choice_of(request, "kind", KINDS), request.query_params.get("value")
        with tenant_scope(self.tenant_id):
            rows = Suppression.objects.all()
            if kind:
                rows = rows.filter(kind=kind)
            if value is not None:
                entry = read_entry(value)
                rows = rows.filter(key=entry.key) if entry else rows.none()
            page = paginate(request, rows, key="id", parse=uuid.UUID)
        return Response(page.answer(SuppressionSerializer(page.items, many=True).data))

    @extend_schema(
        operation_id="suppressions_create",
        tags=["suppressions"],
        request=SuppressionBody,
        responses={201: AddedSerializer, **problems(400, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """Add one or up to 1,000 of them; those that are there already stay as they are. In effect with the next call."""
        body = read_body(SuppressionBody, request.data)
        lines = body.get("values") or [body["value"]]
        with tenant_scope(self.tenant_id):
            added = add_suppressions(lines=lines, kind=body.get("kind", ""), actor=self.actor)
        data = SuppressionSerializer(added.new, many=True).data
        return Response({"data": data, "added": len(added.new), "known": added.known}, status=201)

    @extend_schema(
        operation_id="suppressions_delete",
        tags=["suppressions"],
        parameters=[
            OpenApiParameter("value", str, required=True, description="Whom, however it is written.")
        ],
        responses={204: OpenApiResponse(description="Taken off the list."), **problems(404, 422)},
    )
    def delete(self, request: Request) -> Response:
        """Take one off the list by what it says."""
        value = request.query_params.get("value") or ""
        if read_entry(value) is None:
            raise InvalidInput(f"value: {HELP}", errors=[{"field": "value", "message": HELP}])
        with tenant_scope(self.tenant_id):
            remove_suppressions(actor=self.actor, values=[value])
        return Response(status=204)


class SuppressionView(ApiView):
    resource = "suppressions"

    @extend_schema(
        operation_id="suppressions_delete_one",
        tags=["suppressions"],
        responses={204: OpenApiResponse(description="Taken off the list."), **problems(404)},
    )
    def delete(self, request: Request, suppression_id: uuid.UUID) -> Response:
        """Take one off the list."""
        with tenant_scope(self.tenant_id):
            remove_suppressions(actor=self.actor, ids=[suppression_id])
        return Response(status=204)
