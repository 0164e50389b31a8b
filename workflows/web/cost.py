"""What a run can cost at most, per vendor, before it is started; and which connection would pay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.connectors import registry
from integrations.models import Connection
from workflows.web import describe
from workflows.worst_case import most_calls


@dataclass(frozen=True, slots=True)
class VendorCost:
    """One vendor's part in a run. Credits in thousandths; `connection` is None where the vendor is not connected."""

    provider: str
    title: str
    operation: str
    calls: int
    credits: int
    connection: Connection | None

    @property
    def short_of(self) -> int:
        """By how many credits the last known balance falls short of the worst case; 0 when it does not, or is unknown."""
        balance = self.connection.balance if self.connection else None
        return max(0, self.credits - balance) if balance is not None else 0

    @property
    def money(self) -> str:
        """The worst case in money, where the connection has a price: “at most 12.40 USD”."""
        price = self.connection.price_per_credit if self.connection else None
        if not price or self.connection is None:
            return ""
        return f"{price * self.credits / 1000:,.2f} {self.connection.currency}"


def worst_case(
    template: str, config: Mapping[str, Any], rows: int, connections: Mapping[str, Connection]
) -> list[VendorCost]:
    """The most that a run over this many rows may ask of each vendor."""
    return [
        VendorCost(
            provider,
            describe.vendor_title(provider),
            operation,
            rows * calls,
            rows * calls * registry.get(provider).worst_credits(operation),
            connections.get(provider),
        )
        for operation, provider, calls in most_calls(template, config)
    ]


def total(costs: Sequence[VendorCost]) -> int:
    return sum(cost.credits for cost in costs)
