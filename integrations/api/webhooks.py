"""The routes of outbound webhooks: endpoints, their secrets, what was sent to them."""

import uuid

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.api.webhook_serializers import (
    DeliveryDetailSerializer,
    DeliverySerializer,
    EndpointBody,
    EndpointPatch,
    NewWebhookEndpointSerializer,
    RotateSecretBody,
    TestEventBody,
    WebhookEndpointSerializer,
)
from integrations.models import WebhookDelivery, WebhookEndpoint
from integrations.webhooks import operations, queries
from tenants.api.base import ApiView, choice_of, read_body
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.scope import tenant_scope

_STATUSES = tuple(WebhookDelivery.Status.values)


def _detail(delivery: WebhookDelivery, *, status: int = 200) -> Response:
    attempts = queries.attempts_of([delivery.pk])
    return Response(DeliveryDetailSerializer(delivery, context={"attempts": attempts}).data, status=status)


class WebhookEndpointsView(ApiView):
    resource = "webhooks"
    shown_once = ("secret",)

    def before_post(self, request: Request) -> None:
        """The name servers are asked, which takes its time."""
        body = read_body(EndpointBody, request.data)
        if body.get("kind") != WebhookEndpoint.Kind.CALLBACK:
            operations.check_url(body["url"])

    @extend_schema(
        operation_id="webhook_endpoints_list",
        tags=["webhooks"],
        parameters=PAGING,
        responses={200: page_of(WebhookEndpointSerializer), **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """The endpoints, in the order in which they were made."""
        with tenant_scope(self.tenant_id):
            page = paginate(request, WebhookEndpoint.objects.all(), key="id", parse=uuid.UUID)
        return Response(page.answer(WebhookEndpointSerializer(page.items, many=True).data))

    @extend_schema(
        operation_id="webhook_endpoints_create",
        tags=["webhooks"],
        request=EndpointBody,
        responses={201: NewWebhookEndpointSerializer, **problems(400, 409, 413, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """Have an address told of events, or make the secret that signs the callbacks of runs (`kind`: `callback`).

        The secret is in this answer and nowhere else.
        """
        body = read_body(EndpointBody, request.data)
        if body.pop("kind", "") == WebhookEndpoint.Kind.CALLBACK:
            with tenant_scope(self.tenant_id):
                endpoint, secret = operations.create_callback_secret(actor=self.actor)
                endpoint.refresh_from_db()
        else:
            with tenant_scope(self.tenant_id):
                endpoint, secret = operations.create_endpoint(actor=self.actor, **body)
                endpoint.refresh_from_db()
        context = {"secret": secret.reveal()}
        return Response(NewWebhookEndpointSerializer(endpoint, context=context).data, status=201)


class WebhookEndpointView(ApiView):
    resource = "webhooks"
    one_transaction = False  # a long log is deleted piece by piece

    @extend_schema(
        operation_id="webhook_endpoints_retrieve",
        tags=["webhooks"],
        responses={200: WebhookEndpointSerializer, **problems(404)},
    )
    def get(self, request: Request, endpoint_id: uuid.UUID) -> Response:
        """One endpoint."""
        with tenant_scope(self.tenant_id):
            endpoint = queries.get_endpoint(endpoint_id)
        return Response(WebhookEndpointSerializer(endpoint).data)

    @extend_schema(
        operation_id="webhook_endpoints_update",
        tags=["webhooks"],
        request=EndpointPatch,
        responses={200: WebhookEndpointSerializer, **problems(400, 404, 409, 413, 415, 422)},
    )
    def patch(self, request: Request, endpoint_id: uuid.UUID) -> Response:
        """Change the address, the events or the description, or switch the endpoint off and on. What waits for an endpoint
        that is off goes out when it is on again; what happens meanwhile is not sent afterwards."""
        body = read_body(EndpointPatch, request.data)
        status = body.pop("status", None)
        with tenant_scope(self.tenant_id):
            queries.get_endpoint(endpoint_id)
        if "url" in body:
            operations.check_url(body["url"])
        with tenant_scope(self.tenant_id):
            endpoint = operations.change_endpoint(endpoint_id=endpoint_id, actor=self.actor, **body)
            if status is not None:
                endpoint = operations.switch_endpoint(
                    endpoint_id=endpoint_id, on=status == WebhookEndpoint.Status.ENABLED, actor=self.actor
                )
        return Response(WebhookEndpointSerializer(endpoint).data)

    @extend_schema(
        operation_id="webhook_endpoints_delete",
        tags=["webhooks"],
        responses={204: OpenApiResponse(description="Deleted."), **problems(404)},
    )
    def delete(self, request: Request, endpoint_id: uuid.UUID) -> Response:
        """Delete an endpoint with its secret and the log of its deliveries."""
        operations.delete_endpoint(tenant_id=self.tenant_id, endpoint_id=endpoint_id, actor=self.actor)
        return Response(status=204)


class RotateWebhookSecretView(ApiView):
    resource = "webhooks"
    shown_once = ("secret",)

    @extend_schema(
        operation_id="webhook_endpoints_rotate",
        tags=["webhooks"],
        request=RotateSecretBody,
        responses={201: NewWebhookEndpointSerializer, **problems(400, 404, 409, 413, 415, 422)},
    )
    def post(self, request: Request, endpoint_id: uuid.UUID) -> Response:
        """Give the endpoint a new secret, which is in this answer and nowhere else. For `overlap_seconds` each delivery is
        signed with the old one as well."""
        body = read_body(RotateSecretBody, request.data or {})
        with tenant_scope(self.tenant_id):
            endpoint, secret = operations.rotate_secret(endpoint_id=endpoint_id, actor=self.actor, **body)
        context = {"secret": secret.reveal()}
        return Response(NewWebhookEndpointSerializer(endpoint, context=context).data, status=201)


class TestWebhookView(ApiView):
    resource = "webhooks"
    permissions = {"POST": "webhooks.send"}

    @extend_schema(
        operation_id="webhook_endpoints_test",
        tags=["webhooks"],
        request=TestEventBody,
        responses={202: DeliveryDetailSerializer, **problems(400, 404, 409, 413, 415, 422)},
    )
    def post(self, request: Request, endpoint_id: uuid.UUID) -> Response:
        """Send a made-up event to this endpoint, whether it listens to it or not. Its body says `"test": true`."""
        body = read_body(TestEventBody, request.data or {})
        with tenant_scope(self.tenant_id):
            delivery = operations.send_test(endpoint_id=endpoint_id, actor=self.actor, **body)
            return _detail(delivery, status=202)


class WebhookDeliveriesView(ApiView):
    resource = "webhooks"

    @extend_schema(
        operation_id="webhook_deliveries_list",
        tags=["webhooks"],
        parameters=[*PAGING, OpenApiParameter("status", str, enum=_STATUSES)],
        responses={200: page_of(DeliverySerializer), **problems(404, 422)},
    )
    def get(self, request: Request, endpoint_id: uuid.UUID) -> Response:
        """What was sent or is to be sent to this endpoint in the last 30 days, the newest first."""
        status = choice_of(request, "status", _STATUSES)
        with tenant_scope(self.tenant_id):
            rows = queries.deliveries(endpoint_id, status=status).defer("message__body")
            page = paginate(request, rows, key="id", parse=uuid.UUID, descending=True)
            attempts = queries.attempts_of([row.pk for row in page.items], with_answers=False)
        data = DeliverySerializer(page.items, many=True, context={"attempts": attempts}).data
        return Response(page.answer(data))


class WebhookDeliveryView(ApiView):
    resource = "webhooks"

    @extend_schema(
        operation_id="webhook_deliveries_retrieve",
        tags=["webhooks"],
        responses={200: DeliveryDetailSerializer, **problems(404)},
    )
    def get(self, request: Request, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> Response:
        """One delivery, with its body and the beginning of each answer."""
        with tenant_scope(self.tenant_id):
            return _detail(queries.get_delivery(endpoint_id, delivery_id))


class ResendWebhookView(ApiView):
    resource = "webhooks"
    permissions = {"POST": "webhooks.send"}

    @extend_schema(
        operation_id="webhook_deliveries_resend",
        tags=["webhooks"],
        request=None,
        responses={202: DeliveryDetailSerializer, **problems(404, 409)},
    )
    def post(self, request: Request, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> Response:
        """Send a delivery once more, whatever came of it before: the same `webhook-id`, the same body."""
        with tenant_scope(self.tenant_id):
            operations.resend(endpoint_id=endpoint_id, delivery_id=delivery_id, actor=self.actor)
            return _detail(queries.get_delivery(endpoint_id, delivery_id), status=202)
