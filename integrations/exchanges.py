"""The requests that a connector makes beside the plain question: for a job's result, with an address of ours, or to
find out what became of a call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from integrations.connectors.base import (
    Clarify,
    Connector,
    Operation,
    Query,
    VendorRequest,
    VendorResponse,
)
from integrations.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, made from the secret, and the reading of its answer."""

    request: Callable[[str], VendorRequest]
    interpret: Callable[[VendorResponse], Outcome | Clarify]


def polling(connector: Connector, operation: Operation, state: Mapping[str, Any]) -> Exchange:
    """Ask for the result of a job that the vendor took."""
    return Exchange(
        lambda secret: connector.poll(operation, state, secret),
        lambda response: connector.interpret_poll(operation, state, response),
    )


def looking_up(connector: Connector, operation: Operation, query: Query) -> Exchange:
    """Ask what became of a call whose outcome is not known."""
    return Exchange(
        lambda secret: connector.look_up(operation, query, secret),
        lambda response: connector.interpret_look_up(operation, response),
    )


def with_callback(connector: Connector, operation: Operation, query: Query, address: str) -> Exchange:
    """Ask the question, and give the address to which the vendor posts what it finds."""
    return Exchange(
        lambda secret: connector.request_with_callback(operation, query, secret, address),
        lambda response: connector.interpret(operation, response),
    )
