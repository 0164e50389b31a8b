"""What is set half, said at start-up."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks


def check_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """W001: a key, and no secret of webhooks: nothing can be trusted, so billing is off."""
    if not settings.STRIPE_SECRET_KEY or settings.STRIPE_WEBHOOK_SECRET:
        return []
    return [
        checks.Warning(
            "STRIPE_SECRET_KEY is set and STRIPE_WEBHOOK_SECRET is not: billing is off.",
            hint="manage.py stripe_setup --webhook https://<your host>/hooks/stripe prints it.",
            id="billing.W001",
        )
    ]
