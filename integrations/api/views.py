"""GET and POST /connections."""

import uuid
from collections.abc import Callable, Collection, Mapping

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations import operations, queries
from integrations.api.serializers import ConnectionBody, ConnectionSerializer
from integrations.models import Connection
from tenants import context
from tenants.api.base import ApiView, read_body
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.errors import NotAllowed
from tenants.scope import tenant_scope

LanesOf = Callable[[Collection[uuid.UUID]], Mapping[uuid.UUID, uuid.UUID]]


class ConnectionsView(ApiView):
    resource = "connections"
    # Lanes belong to an app above this one, so whoever composes the routes says how to find them.
    lanes_of: LanesOf = staticmethod(lambda connection_ids: {})

    @extend_schema(
        operation_id="connections_list",
        tags=["connections"],
        parameters=PAGING,
        responses={200: page_of(ConnectionSerializer), **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """The connections, in the order in which they were made; for a test key, the sandbox's alone."""
        with tenant_scope(self.tenant_id):
            rows = queries.connections()
            if self.test_mode:
                rows = rows.filter(mode=Connection.Mode.SANDBOX)
            page = paginate(request, rows, key="id", parse=uuid.UUID)
            lanes = self.lanes_of([connection.pk for connection in page.items])
        return Response(
            page.answer(ConnectionSerializer(page.items, many=True, context={"lanes": lanes}).data)
        )

    @extend_schema(
        operation_id="connections_create",
        tags=["connections"],
        request=ConnectionBody,
        responses={201: ConnectionSerializer, **problems(400, 402, 403, 409, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """Connect a vendor with your own key. Limits default to what the vendor documents for its smallest plan."""
        body = read_body(ConnectionBody, request.data)
        if (
            not context.current().livemode
            and body.get("mode", Connection.Mode.LIVE) != Connection.Mode.SANDBOX
        ):
            raise NotAllowed(
                "A test key reaches sandbox connections alone: send “mode”: “sandbox”, or use a live key."
            )
        with tenant_scope(self.tenant_id):
            connection = operations.create_connection(actor=self.actor, **body)
            connection.refresh_from_db()
            lanes = self.lanes_of([connection.pk])
        return Response(ConnectionSerializer(connection, context={"lanes": lanes}).data, status=201)
