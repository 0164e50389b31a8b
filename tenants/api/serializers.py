"""The shape of a tenant."""

from rest_framework import serializers

from tenants.api.fields import CreditsField


class TenantSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    plan = serializers.CharField()
    monthly_credit_limit = CreditsField(
        allow_null=True, help_text="The vendors' credits per month; null: no limit."
    )
    retention_days = serializers.IntegerField()
    created_at = serializers.DateTimeField()
