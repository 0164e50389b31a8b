"""The shapes of usage."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tenants.api.fields import CreditsField


class QuotaSerializer(serializers.Serializer):
    records_included = serializers.IntegerField()
    records_used = serializers.IntegerField()
    records_remaining = serializers.IntegerField()
    records_over = serializers.IntegerField(help_text="Beyond what the plan includes; billed one by one.")
    overage_allowed = serializers.BooleanField(
        help_text="Whether records beyond are accepted and billed, or refused (402 `quota_exceeded`)."
    )


class VendorUsageSerializer(serializers.Serializer):
    provider = serializers.CharField()
    calls = serializers.IntegerField()
    credits = CreditsField()


class DayUsageSerializer(serializers.Serializer):
    day = serializers.DateField(help_text="UTC.")
    records = serializers.IntegerField()
    vendor_calls = serializers.IntegerField()
    credits = CreditsField()


class WorkflowUsageSerializer(serializers.Serializer):
    workflow = serializers.CharField(help_text="The workflow's slug.")
    name = serializers.CharField()
    records = serializers.IntegerField()
    vendor_calls = serializers.IntegerField()
    credits = CreditsField()


class LimitsSerializer(serializers.Serializer):
    """What the tenant may do now. null: no limit."""

    plan = serializers.CharField()
    requests_per_second = serializers.IntegerField(help_text="In any second, of one key.")
    requests_per_minute = serializers.IntegerField(help_text="In any minute, of all keys together.")
    lanes = serializers.IntegerField(allow_null=True, help_text="Live connections.")
    seats = serializers.IntegerField(allow_null=True, help_text="Members and open invitations together.")


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
    limits = LimitsSerializer()
    vendors = VendorUsageSerializer(many=True)
    workflows = WorkflowUsageSerializer(many=True, help_text="Those that had runs, the most records first.")
    days = DayUsageSerializer(many=True, help_text="Days on which something was used.")
