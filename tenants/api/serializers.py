"""The shapes of a tenant, its keys and its trail."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tenants.api.base import Body
from tenants.api.fields import CreditsField, CreditsInput
from tenants.models import RETENTION_DAYS, ApiKey
from tenants.operations.keys import MAX_NAME, MAX_OVERLAP_SECONDS, OVERLAP_SECONDS
from tenants.operations.tenant_settings import MAX_CREDIT_LIMIT

MODES = (("live", "live"), ("test", "test"))
MAX_EXPIRES_IN = 10 * 366 * 86_400


class TenantSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    plan = serializers.CharField()
    monthly_credit_limit = CreditsField(
        allow_null=True, help_text="The vendors' credits per month; null: no limit."
    )
    retention_days = serializers.IntegerField()
    suppress_subdomains = serializers.BooleanField(
        help_text="Whether a suppressed domain covers the domains below it."
    )
    created_at = serializers.DateTimeField()


class TenantPatch(Body):
    name = serializers.CharField(max_length=120, required=False)
    monthly_credit_limit = CreditsInput(
        required=False,
        allow_null=True,
        max_value=MAX_CREDIT_LIMIT // 1000,
        help_text="The vendors' credits per month; null: no limit.",
    )
    retention_days = serializers.IntegerField(
        min_value=RETENTION_DAYS.start, max_value=RETENTION_DAYS.stop - 1, required=False
    )
    suppress_subdomains = serializers.BooleanField(required=False)


class KeySerializer(serializers.Serializer):
    """A key as it is known afterwards: by its name and hint."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    hint = serializers.CharField(help_text="Start and end of the key, to recognise it by.")
    livemode = serializers.BooleanField()
    scopes = serializers.ListField(child=serializers.ChoiceField(ApiKey.Scope.choices))
    status = serializers.ChoiceField(ApiKey.Status.choices)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    revoked_at = serializers.DateTimeField(allow_null=True)
    replaces = serializers.UUIDField(
        source="replaces_id", allow_null=True, help_text="The key that this one was made to replace."
    )


class NewKeySerializer(KeySerializer):
    key = serializers.SerializerMethodField(
        help_text="The key itself: shown this once and kept nowhere; null where an answer is repeated."
    )

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_key(self, key: ApiKey) -> str:
        return str(self.context["plain"])


class KeyBody(Body):
    name = serializers.CharField(max_length=MAX_NAME)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(ApiKey.Scope.choices),
        min_length=1,
        required=False,
        help_text="Those of the calling key when left out.",
    )
    mode = serializers.ChoiceField(
        MODES, required=False, help_text="That of the calling key when left out; test keys make test keys."
    )
    livemode = serializers.BooleanField(required=False, help_text="The same as `mode`, as a truth value.")
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    expires_in = serializers.IntegerField(
        min_value=1, max_value=MAX_EXPIRES_IN, required=False, help_text="Seconds, in place of `expires_at`."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "mode" in attrs:
            livemode = attrs.pop("mode") == "live"
            if attrs.setdefault("livemode", livemode) != livemode:
                raise serializers.ValidationError({"mode": ["Differs from livemode: give one of them."]})
        if "expires_in" in attrs:
            if attrs.get("expires_at") is not None:
                raise serializers.ValidationError(
                    {"expires_in": ["Give expires_at or expires_in, not both."]}
                )
            attrs["expires_at"] = timezone.now() + timedelta(seconds=attrs.pop("expires_in"))
        return attrs


class RotateBody(Body):
    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=MAX_OVERLAP_SECONDS,
        default=OVERLAP_SECONDS,
        help_text="How long the old key stays valid; 0 ends it at once.",
    )


class AuditEventSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    actor = serializers.CharField(help_text="user:<e-mail>, key:<hint>, staff:<e-mail> or system:<name>.")
    verb = serializers.CharField()
    subject_type = serializers.CharField()
    subject_id = serializers.CharField()
    detail = serializers.DictField()
    request_id = serializers.CharField()
    ip = serializers.CharField(allow_null=True)
