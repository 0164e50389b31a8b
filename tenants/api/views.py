"""GET /tenant."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView
from tenants.api.schema import problems
from tenants.api.serializers import TenantSerializer
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
