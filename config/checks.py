"""What `manage.py check --deploy` says beside what Django says."""

from typing import Any

from django.conf import settings
from django.core import checks

NO_PROXY = checks.Info(
    "No proxy of ours is said to stand before the web process.",
    hint="It needs one that reads whole requests before it passes them on: see “Before the web process” in README.md. "
    "Say how many there are in WEIR_TRUSTED_PROXIES.",
    id="weir.I001",
)


def proxy_said(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """The server gives a thread to a request whose body is still on its way, and waits for it without limit."""
    return [NO_PROXY] if settings.HARDENED and not settings.TRUSTED_PROXIES else []


def register() -> None:
    """Join Django's deployment checks."""
    checks.register(proxy_said, deploy=True)
