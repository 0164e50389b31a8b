"""A server that is told of events."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integrations.receiver import Receiver, receiving


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOKS_TO_LOOPBACK = True
    with receiving() as server:
        yield server
