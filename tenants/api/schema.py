"""What the OpenAPI description says about keys and errors, written once."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from tenants.api.paging import DEFAULT_LIMIT, MAX_LIMIT


class FieldErrorSerializer(serializers.Serializer):
    field = serializers.CharField()
    message = serializers.CharField()


class ProblemSerializer(serializers.Serializer):
    """An error, as RFC 9457 has them; `code` is for programs and stays the same."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    errors = FieldErrorSerializer(many=True)  # type: ignore[assignment]
    request_id = serializers.CharField()


_MEANINGS = {
    400: "The body cannot be read (`invalid_json`, `invalid_body`).",
    401: "No API key, or one that is not valid (`missing_api_key`, `invalid_api_key`).",
    402: "The plan has no room for it (`quota_exceeded`, `no_lane_left`).",
    403: "The key may not do this (`missing_scope`, `tenant_suspended`).",
    404: "There is no such object for this tenant (`not_found`, `unknown_workflow`).",
    409: "The object's state does not allow it (`conflict`, `run_is_final`, `idempotency_in_progress`).",
    411: "The body came without a Content-Length (`length_required`).",
    413: "The body is too large (`payload_too_large`).",
    415: "The body is in another media type (`unsupported_media_type`).",
    422: "The input cannot be accepted (`invalid_input` and others); `errors` names the fields.",
    429: "Too many requests (`rate_limited`, `too_many_unknown`); `Retry-After` says for how long.",
}


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """The error answers of a route: these, and those that every route has."""
    return {
        (status, "application/problem+json"): OpenApiResponse(ProblemSerializer, _MEANINGS[status])
        for status in sorted({401, 403, 429, *statuses})
    }


PAGING = [
    OpenApiParameter("cursor", str, description="From `next` or `previous` of another page."),
    OpenApiParameter(
        "limit", int, description=f"Rows per page, 1 to {MAX_LIMIT}; {DEFAULT_LIMIT} when left out."
    ),
]


def page_of(shape: type[serializers.Serializer]) -> serializers.Serializer:
    """The list answer with items of this shape."""
    name = f"{shape.__name__.removesuffix('Serializer')}Page"
    fields: dict[str, serializers.Field] = {
        "data": shape(many=True),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
    }
    made: serializers.Serializer = inline_serializer(name, fields)
    return made


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tenants.api.authentication.ApiKeyAuthentication"
    name = ["bearer", "apiKey"]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "wk_live_… or wk_test_…"},
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[str]]]:
        return [{"bearer": []}, {"apiKey": []}]  # either of them
