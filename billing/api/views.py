"""GET /usage."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing import queries
from billing.api.serializers import UsageSerializer
from tenants.api.base import ApiView
from tenants.api.schema import problems
from tenants.errors import InvalidInput
from tenants.scope import tenant_scope

WorkflowsOf = Callable[[date, bool], Sequence[Any]]


class UsageView(ApiView):
    resource = "usage"
    # Workflows belong to an app above this one, so whoever composes the routes says how to find what they used.
    workflows_of: WorkflowsOf = staticmethod(lambda period, livemode: [])

    @extend_schema(
        operation_id="usage_retrieve",
        tags=["usage"],
        parameters=[
            OpenApiParameter(
                "period",
                {"type": "string", "pattern": r"^[1-9]\d{3}-(0[1-9]|1[0-2])$"},
                description="Month as YYYY-MM; this month when left out.",
            )
        ],
        responses={200: UsageSerializer, **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """What was used in a month, by vendor, workflow and day, and what the plan includes."""
        period = _period(request.query_params.get("period"))
        with tenant_scope(self.tenant_id):
            found = queries.usage(period, livemode=self.owner.livemode)
            workflows = self.workflows_of(period, self.owner.livemode)
        return Response(UsageSerializer({**_shallow(found), "workflows": workflows}).data)


def _shallow(found: queries.Usage) -> dict[str, Any]:
    return {entry.name: getattr(found, entry.name) for entry in fields(found)}


def _period(text: str | None) -> date:
    if text is None:
        return queries.current_period()
    year, dash, month = text.partition("-")
    if dash and len(text) == 7 and text.isascii() and year.isdigit() and month.isdigit() and year >= "1000":
        try:
            return date(int(year), int(month), 1)
        except ValueError:
            pass
    message = "Write the month as YYYY-MM, like 2026-03."
    raise InvalidInput(f"period: {message}", errors=[{"field": "period", "message": message}])
