"""The shapes of connections."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.models import Connection
from tenants.api.base import Body
from tenants.api.fields import CreditsField, CreditsInput, SecretField


class WindowBody(Body):
    """At most `rate` calls start in any `period` seconds; of one operation only where `group` names it."""

    rate = serializers.IntegerField(min_value=1, max_value=1_000_000)
    period = serializers.FloatField(min_value=0.1, max_value=2_678_400)
    group = serializers.ChoiceField(["", "find", "verify"], required=False)


class LimitsBody(Body):
    """Limits as bodies give them: several windows, or `rate` and `period` for one."""

    windows = serializers.ListField(child=WindowBody(), required=False, max_length=8)
    rate = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False)
    period = serializers.FloatField(min_value=0.1, max_value=2_678_400, required=False)
    parallelism = serializers.IntegerField(min_value=1, max_value=1_000, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        short = {name: attrs.pop(name) for name in ("rate", "period") if name in attrs}
        if short and "windows" in attrs:
            raise serializers.ValidationError({"windows": ["Give windows, or rate and period, not both."]})
        if len(short) == 1:
            missing = ({"rate", "period"} - set(short)).pop()
            raise serializers.ValidationError({missing: ["rate and period go together."]})
        if short:
            attrs["windows"] = [short]
        return attrs


class ConnectionBody(LimitsBody):
    provider = serializers.CharField(max_length=32)
    secret = SecretField(
        max_length=4_000,
        help_text="The vendor's API key; never shown again.",
    )
    name = serializers.CharField(max_length=80, required=False, allow_blank=True)
    mode = serializers.ChoiceField(Connection.Mode.choices, required=False, help_text="live when left out.")
    price_per_credit = serializers.DecimalField(
        max_digits=12, decimal_places=6, min_value=0, required=False, allow_null=True
    )
    currency = serializers.RegexField(
        r"^[A-Z]{3}\Z", required=False, help_text="ISO 4217; USD when left out."
    )
    on_ambiguous = serializers.ChoiceField(
        Connection.OnAmbiguous.choices,
        required=False,
        help_text="What to do about calls whose outcome is not known.",
    )


class ConnectionPatch(LimitsBody):
    """Whatever is left out stays as it is."""

    secret = SecretField(max_length=4_000, required=False, help_text="Another key of the same vendor.")
    name = serializers.CharField(max_length=80, required=False, allow_blank=True)
    price_per_credit = serializers.DecimalField(
        max_digits=12, decimal_places=6, min_value=0, required=False, allow_null=True
    )
    currency = serializers.RegexField(r"^[A-Z]{3}\Z", required=False, help_text="ISO 4217.")
    on_ambiguous = serializers.ChoiceField(
        Connection.OnAmbiguous.choices,
        required=False,
        help_text="What to do about calls whose outcome is not known.",
    )
    low_balance = CreditsInput(
        required=False,
        allow_null=True,
        help_text="Tell the admins when fewer credits are left; null: fewer than waiting work may cost.",
    )


class WindowSerializer(serializers.Serializer):
    rate = serializers.IntegerField()
    period = serializers.FloatField(help_text="Seconds.")
    group = serializers.CharField(required=False)


class ConnectionSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    provider = serializers.CharField()
    name = serializers.CharField()
    mode = serializers.ChoiceField(Connection.Mode.choices)
    secret_hint = serializers.CharField(help_text="The last four characters of the secret.")
    windows = WindowSerializer(many=True)
    parallelism = serializers.IntegerField()
    price_per_credit = serializers.DecimalField(max_digits=12, decimal_places=6, allow_null=True)
    currency = serializers.CharField()
    on_ambiguous = serializers.ChoiceField(Connection.OnAmbiguous.choices)
    status = serializers.ChoiceField(Connection.Status.choices)
    balance = CreditsField(allow_null=True, help_text="The vendor's credits that are left; null: not known.")
    balance_at = serializers.DateTimeField(allow_null=True, help_text="When the vendor told it.")
    low_balance = CreditsField(
        allow_null=True, help_text="Below this the admins are told; null: below what waiting work may cost."
    )
    runs_out_at = serializers.DateTimeField(
        allow_null=True, help_text="About when it is used up at the pace of late; null: nobody can tell."
    )
    last_ok_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()
    lane = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_lane(self, connection: Connection) -> str | None:
        lane_id = self.context["lanes"].get(connection.pk)
        return str(lane_id) if lane_id else None
