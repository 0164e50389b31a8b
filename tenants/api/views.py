"""GET and PATCH /tenant."""

from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView, read_body
from tenants.api.schema import problems
from tenants.api.serializers import TenantPatch, TenantSerializer
from tenants.operations.tenant_settings import TenantChanges, change_tenant
from tenants.operations.tenants import get_tenant
from tenants.scope import tenant_scope


class TenantView(ApiView):
    resource = "tenant"

    @extend_schema(
        operation_id="tenant_retrieve", tags=["tenant"], responses={200: TenantSerializer, **problems()}
    )
    def get(self, request: Request) -> Response:
        """The tenant that the key belongs to."""
        with tenant_scope(self.tenant_id):
            tenant = get_tenant(self.tenant_id)
        return Response(TenantSerializer(tenant).data)

    @extend_schema(
        operation_id="tenant_update",
        tags=["tenant"],
        request=TenantPatch,
        responses={200: TenantSerializer, **problems(400, 415, 422)},
    )
    def patch(self, request: Request) -> Response:
        """Change what is named. Takes a live key: these settings hold for live work too."""
        body = read_body(TenantPatch, request.data)
        with tenant_scope(self.tenant_id):
            tenant = change_tenant(actor=self.actor, changes=cast(TenantChanges, body))
        return Response(TenantSerializer(tenant).data)
