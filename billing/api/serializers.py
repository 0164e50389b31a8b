"""The shapes of usage."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tenants.api.fields import CreditsField


class QuotaSerializer(serializers.Serializer):
    records_included = serializers.IntegerField()
    records_used = serializers.IntegerField()
    records_remaining = serializers.IntegerField()


class VendorUsageSerializer(serializers.Serializer):
    provider = serializers.CharField()
    calls = serializers.IntegerField()
    credits = CreditsField()


@extend_schema_field({"type": "string", "pattern": r"^\d{4}-\d{2}$"})
class MonthField(serializers.DateField):
    """A calendar month as YYYY-MM."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="%Y-%m", **kwargs)


class UsageSerializer(serializers.Serializer):
    period = MonthField(help_text="The calendar month, UTC.")
    records = serializers.IntegerField(help_text="Records accepted: what the plan includes.")
    vendor_calls = serializers.IntegerField()
    credits = CreditsField(help_text="The vendors' own credits.")
    api_calls = serializers.IntegerField(allow_null=True, help_text="null while nobody can tell.")
    quota = QuotaSerializer()
    vendors = VendorUsageSerializer(many=True)
