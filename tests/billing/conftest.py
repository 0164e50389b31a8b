"""The console, for what operators see of billing; a client of Stripe that does not wait for long."""

import pytest

from billing import stripe_gateway
from tests.admin.conftest import console, staff

__all__ = ["console", "staff"]
PATIENCE_S = 0.2


@pytest.fixture
def impatient(monkeypatch):
    """The client gives up after PATIENCE_S, in place of its seconds."""
    monkeypatch.setattr(stripe_gateway, "TIMEOUT_S", PATIENCE_S)
    stripe_gateway._client.cache_clear()
    yield
    stripe_gateway._client.cache_clear()
