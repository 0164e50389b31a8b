"""Error reports to Sentry, scrubbed. Imported only where SENTRY_DSN is set: the library takes a while to load."""

from typing import Any

import sentry_sdk
import structlog
from django.conf import settings
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration

from config.masking import scrub


def report_errors() -> None:
    """Send errors to Sentry: no bodies, no local variables, no personal data (which the library sends only when told to).

    Only the named integrations: others would keep the addresses of vendor calls, keys and people in them, as crumbs.
    """
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.WEIR_ENV,
        integrations=[DjangoIntegration(), CeleryIntegration(propagate_traces=False)],
        auto_enabling_integrations=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=before_send,
        before_breadcrumb=lambda crumb, _hint: scrub(crumb),
    )


def before_send(event: Any, _hint: Any) -> Any:
    """What leaves for Sentry, scrubbed, with the request id as a tag."""
    clean = scrub(event)
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id:
        clean.setdefault("tags", {})["request_id"] = request_id
    return clean
