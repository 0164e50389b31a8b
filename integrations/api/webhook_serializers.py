"""The shapes of webhook endpoints, deliveries and attempts."""

from typing import Any

import orjson
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.models import WebhookDelivery, WebhookEndpoint
from integrations.webhooks.addresses import LONGEST
from integrations.webhooks.operations import LONGEST_OVERLAP, MAX_DESCRIPTION, OVERLAP_SECONDS
from integrations.webhooks.signing import message_id
from tenants.api.base import Body
from tenants.events import EVENTS

EVENT_NAMES = [(name, name) for name in EVENTS]
_URL_HELP = "https, port 443 or 8443, at an address of the public internet."
_EVENTS_HELP = "Which events to be told of; all but `record.completed` when left out."


class EndpointBody(Body):
    kind = serializers.ChoiceField(
        WebhookEndpoint.Kind.choices, required=False, help_text="endpoint when left out."
    )
    url = serializers.CharField(max_length=LONGEST, required=False, help_text=_URL_HELP)
    events = serializers.ListField(
        child=serializers.ChoiceField(EVENT_NAMES), min_length=1, required=False, help_text=_EVENTS_HELP
    )
    description = serializers.CharField(max_length=MAX_DESCRIPTION, required=False, allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("kind") == WebhookEndpoint.Kind.CALLBACK:
            if extra := attrs.keys() - {"kind"}:
                raise serializers.ValidationError(
                    {name: ["Runs say where their callbacks go."] for name in sorted(extra)}
                )
        elif "url" not in attrs:
            raise serializers.ValidationError({"url": ["Give the address to be told of events."]})
        return attrs


class EndpointPatch(Body):
    url = serializers.CharField(max_length=LONGEST, required=False, help_text=_URL_HELP)
    events = serializers.ListField(child=serializers.ChoiceField(EVENT_NAMES), min_length=1, required=False)
    description = serializers.CharField(max_length=MAX_DESCRIPTION, required=False, allow_blank=True)
    status = serializers.ChoiceField(WebhookEndpoint.Status.choices, required=False)


class RotateSecretBody(Body):
    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=LONGEST_OVERLAP,
        default=OVERLAP_SECONDS,
        help_text="How long the old secret signs as well; 0 ends it at once.",
    )


class TestEventBody(Body):
    event = serializers.ChoiceField(EVENT_NAMES, required=False, help_text="run.completed when left out.")


class WebhookEndpointSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(
        WebhookEndpoint.Kind.choices, help_text="callback: the one that signs the callbacks of runs."
    )
    url = serializers.SerializerMethodField(help_text="null for callbacks: each run says where.")
    description = serializers.CharField()
    events = serializers.ListField(child=serializers.CharField())
    status = serializers.ChoiceField(WebhookEndpoint.Status.choices)
    disabled_reason = serializers.SerializerMethodField(
        help_text="person, gone (it answered 410) or failing (every attempt failed for five days)."
    )
    disabled_at = serializers.DateTimeField(allow_null=True)
    failing_since = serializers.DateTimeField(allow_null=True, help_text="null: the last attempt succeeded.")
    last_ok_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_url(self, endpoint: WebhookEndpoint) -> str | None:
        return endpoint.url or None

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_disabled_reason(self, endpoint: WebhookEndpoint) -> str | None:
        return endpoint.reason or None


class NewWebhookEndpointSerializer(WebhookEndpointSerializer):
    secret = serializers.SerializerMethodField(
        help_text="Verifies what is sent; shown this once. null where an answer is repeated."
    )

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_secret(self, endpoint: WebhookEndpoint) -> str:
        return str(self.context["secret"])


class AttemptSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    latency_ms = serializers.IntegerField()
    http_status = serializers.IntegerField(allow_null=True, help_text="null: no answer.")
    error = serializers.CharField(help_text="Empty where it was taken.")


class AnsweredAttemptSerializer(AttemptSerializer):
    answer = serializers.CharField(help_text="The first 4 KiB of the answer's body.")


class DeliverySerializer(serializers.Serializer):
    """`context["attempts"]` has the attempts at each delivery by its id."""

    id = serializers.UUIDField()
    event = serializers.CharField(source="message.event")
    webhook_id = serializers.SerializerMethodField(
        help_text="The header `webhook-id`; the same for every attempt."
    )
    url = serializers.SerializerMethodField()
    status = serializers.ChoiceField(WebhookDelivery.Status.choices)
    attempts = serializers.SerializerMethodField()
    next_attempt_at = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_webhook_id(self, delivery: WebhookDelivery) -> str:
        return message_id(delivery.message_id)

    def get_url(self, delivery: WebhookDelivery) -> str:
        return delivery.url or delivery.endpoint.url

    @extend_schema_field(AttemptSerializer(many=True))
    def get_attempts(self, delivery: WebhookDelivery) -> Any:
        return AttemptSerializer(self.context["attempts"].get(delivery.pk, ()), many=True).data

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_attempt_at(self, delivery: WebhookDelivery) -> str | None:
        return (
            serializers.DateTimeField(allow_null=True).to_representation(delivery.due_at)
            if delivery.due_at and delivery.status == WebhookDelivery.Status.WAITING
            else None
        )


class DeliveryDetailSerializer(DeliverySerializer):
    attempts = serializers.SerializerMethodField()
    body = serializers.SerializerMethodField(help_text="What is sent, to the byte the same each time.")

    @extend_schema_field(AnsweredAttemptSerializer(many=True))
    def get_attempts(self, delivery: WebhookDelivery) -> Any:
        return AnsweredAttemptSerializer(self.context["attempts"].get(delivery.pk, ()), many=True).data

    @extend_schema_field(serializers.DictField())
    def get_body(self, delivery: WebhookDelivery) -> Any:
        return orjson.loads(delivery.message.body)
