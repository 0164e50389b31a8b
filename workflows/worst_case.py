"""The most that a record of a workflow can cost. Pure."""

from collections.abc import Mapping
from typing import Any

from integrations.connectors import registry
from workflows.catalog import TEMPLATES


def most_calls(template: str, config: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(operation, provider, calls per record at most), in the order of first use.

    Each finder is asked once; the verifier once per address, so once per finder.
    """
    pairs = TEMPLATES[template].providers(config)
    finders = sum(1 for operation, _ in pairs if operation == "find")
    return [
        (operation, provider, max(1, finders) if operation == "verify" else 1)
        for operation, provider in pairs
    ]


def most_credits(template: str, config: Mapping[str, Any]) -> int:
    """The most credits, in thousandths, that one record may cost when no call has to be repeated."""
    return sum(
        calls * registry.get(provider).worst_credits(operation)
        for operation, provider, calls in most_calls(template, config)
    )
