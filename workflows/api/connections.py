"""The routes of one connection: other settings, another key, a test of it, its end."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations import connection_changes
from integrations.api.serializers import ConnectionPatch, ConnectionSerializer
from integrations.models import Connection
from tenants.api.base import ApiView, read_body
from tenants.api.schema import problems
from tenants.errors import NotFound
from tenants.scope import tenant_scope
from workflows.lane_queries import lanes_of_connections
from workflows.operations.try_connection import try_connection


class TestedSerializer(serializers.Serializer):
    ok = serializers.BooleanField(help_text="Whether the vendor took the key.")
    message = serializers.CharField(help_text="What the vendor said against it; empty where nothing.")
    latency_ms = serializers.IntegerField()
    connection = ConnectionSerializer()


def _required(view: ApiView, connection_id: uuid.UUID) -> Connection:
    """The connection, for a key that sees it: a test key, those of the sandbox alone. Raises NotFound."""
    found = connection_changes.find_connection(connection_id)
    if view.test_mode and found.mode != Connection.Mode.SANDBOX:
        raise NotFound("There is no such connection.")
    return found


def _shown(connection: Connection) -> dict[str, object]:
    lanes = lanes_of_connections([connection.pk])
    return dict(ConnectionSerializer(connection, context={"lanes": lanes}).data)


class ConnectionView(ApiView):
    resource = "connections"

    @extend_schema(
        operation_id="connections_retrieve",
        tags=["connections"],
        responses={200: ConnectionSerializer, **problems(404)},
    )
    def get(self, request: Request, connection_id: uuid.UUID) -> Response:
        """One connection."""
        with tenant_scope(self.tenant_id):
            return Response(_shown(_required(self, connection_id)))

    @extend_schema(
        operation_id="connections_update",
        tags=["connections"],
        request=ConnectionPatch,
        responses={200: ConnectionSerializer, **problems(400, 404, 409, 413, 415, 422)},
    )
    def patch(self, request: Request, connection_id: uuid.UUID) -> Response:
        """Change what is named, another key included. Its lane follows the limits within 2 s, unless others are pinned."""
        body = read_body(ConnectionPatch, request.data)
        with tenant_scope(self.tenant_id):
            _required(self, connection_id)
            connection = connection_changes.change_connection(
                connection_id=connection_id, actor=self.actor, **body
            )
            connection.refresh_from_db()
            return Response(_shown(connection))

    @extend_schema(
        operation_id="connections_delete",
        tags=["connections"],
        responses={204: None, **problems(404, 409)},
    )
    def delete(self, request: Request, connection_id: uuid.UUID) -> Response:
        """Destroy the key and remove the connection; what it was asked stays in the history. Refused with 409 while runs
        that are under way will ask it."""
        with tenant_scope(self.tenant_id):
            _required(self, connection_id)
            connection_changes.remove_connection(connection_id=connection_id, actor=self.actor)
        return Response(status=204)


class TryConnectionView(ApiView):
    resource = "connections"
    one_transaction = False  # the vendor is asked

    @extend_schema(
        operation_id="connections_test",
        tags=["connections"],
        request=None,
        responses={200: TestedSerializer, **problems(404, 409)},
    )
    def post(self, request: Request, connection_id: uuid.UUID) -> Response:
        """Ask the vendor what the key has left, which costs nothing; at most every 5 seconds. A lane that stood still for
        its key or for credits goes on where both are there again."""
        with tenant_scope(self.tenant_id):
            _required(self, connection_id)
        tested = try_connection(tenant_id=self.tenant_id, connection_id=connection_id, actor=self.actor)
        with tenant_scope(self.tenant_id):
            shown = _shown(tested.connection)
        answer = {"ok": tested.ok, "message": tested.message, "latency_ms": tested.latency_ms}
        return Response(answer | {"connection": shown})
