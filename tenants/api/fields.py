"""Fields that several shapes of the API have."""

from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tenants.secret import Secret


@extend_schema_field(OpenApiTypes.DOUBLE)
class CreditsField(serializers.Field):
    """A vendor's credits: kept in thousandths, shown as a number with at most three decimal places."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: int) -> float:
        return round(value / 1000, 3)


@extend_schema_field(
    {
        "type": ["number", "string"],
        "minimum": 0,
        "maximum": 9_999_999_999,
        "pattern": r"^\d{1,10}(\.\d{1,3})?$",
    }
)
class CreditsInput(serializers.DecimalField):
    """Credits in a body, as a number or text with at most three decimal places; comes out in thousandths."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=13, decimal_places=3, min_value=Decimal(0), **kwargs)

    def to_internal_value(self, data: Any) -> int:  # type: ignore[override]
        return int(self.quantize(super().to_internal_value(data)) * 1000)

    def run_validators(self, value: int) -> None:
        super().run_validators(Decimal(value) / 1000)


class SecretField(serializers.CharField):
    """A secret in a body: comes out as a `Secret`, and is never shown."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "write_only": True, "trim_whitespace": False})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        return Secret(value) if isinstance(value, str) else value
