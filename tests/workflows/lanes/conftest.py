"""A real runner against the real sandbox vendors, in the test's own process; commits are real."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox import Sandbox
    from workflows.lanes.runner import Runner


@pytest.fixture
def runner(committed: None) -> "Iterator[Runner]":
    from workflows.lanes.runner import Runner

    made = Runner()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def vendors(committed: None, sandbox: "Sandbox", connect: Callable[..., Any]) -> "Sandbox":
    """The three vendors of the email waterfall, connected; limits far away unless a test sets others."""
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, secret=f"key-{provider}", mode="sandbox", windows=[], parallelism=20)
        sandbox.set_key(provider, f"key-{provider}", windows=[{"rate": 100_000, "period": 1}], parallelism=20)
    return sandbox
