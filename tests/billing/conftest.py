"""Billing against the double of Stripe: keys, prices and an endpoint whose deliveries the tests hand over themselves."""

import pytest
from django.conf import settings

from tests.admin.conftest import console, staff

__all__ = ["console", "staff"]


@pytest.fixture
def double(sandbox_process, monkeypatch):
    """The double, empty, with Weir pointed at it; what it would send waits to be fetched."""
    from billing import stripe_gateway
    from tests.billing.stripe_rig import SECRET
    from tests.stripe_double import KEY, Double

    sandbox_process.reset()
    found = Double(sandbox_process)
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", KEY)
    monkeypatch.setattr(settings, "STRIPE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setattr(settings, "STRIPE_API_BASE", found.url)
    monkeypatch.setattr(stripe_gateway, "RETRIES", 0)
    stripe_gateway.forget_meter()
    found.control("POST", "hold_hooks", {"hold": True})
    found.control("POST", "endpoint", {"url": "http://127.0.0.1:9/hooks/stripe", "secret": SECRET})
    return found


@pytest.fixture
def rig(committed, double):
    """A tenant that pays nothing yet, and everything that happens to it. Commits are real."""
    from tests.billing.stripe_rig import Rig

    return Rig(double)
