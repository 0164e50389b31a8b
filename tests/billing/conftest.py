"""The console, for what operators see of billing; a client of Stripe that does not wait for long."""

import pytest
import stripe

from billing import stripe_gateway
from tenants.scope import OPS_ALIAS, ops_scope
from tests.admin.conftest import console, staff

__all__ = ["console", "staff"]
PATIENCE_S = 0.2


@pytest.fixture
def impatient(monkeypatch):
    """The client gives up after PATIENCE_S, in place of its seconds, and tries again at once."""
    monkeypatch.setattr(stripe_gateway, "TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.02)
    stripe_gateway._client.cache_clear()
    yield
    stripe_gateway._client.cache_clear()


@pytest.fixture
def plans_stay(committed):
    """Plans are reference data: what a test writes on them is taken back."""
    from billing.models import Plan

    with ops_scope("tests"):
        before = list(Plan.objects.using(OPS_ALIAS).values())
    yield
    with ops_scope("tests"):
        for row in before:
            Plan.objects.using(OPS_ALIAS).filter(slug=row.pop("slug")).update(**row)


@pytest.fixture
def paying(rig):
    """Subscribed to Pro, with nothing used."""
    rig.buy("pro")
    rig.deliver()
    return rig
