"""/hooks/stripe: an event whose signature is right is stored and answered at once; everything else leaves no trace."""

import time

import structlog
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from prometheus_client import Counter

from billing import stripe_gateway
from billing.operations import stripe_events

MOST_BYTES = 1024 * 1024
_log = structlog.get_logger(__name__)
_refused = Counter(
    "weir_stripe_webhooks_refused_total", "Posts to /hooks/stripe that were not taken.", ["why"]
)


@csrf_exempt
@require_POST
def stripe_hook(request: HttpRequest) -> HttpResponse:
    """202 once the event is stored, whether or not it was before. 400 for a signature that is not Stripe's over these
    bytes, or older or newer than five minutes."""
    body = request.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        return _refuse("size", 413)
    try:
        event = stripe_gateway.verified(body, request.headers.get("Stripe-Signature", ""), now=time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return _refuse("signature", 400)
    stripe_events.store(event)
    return HttpResponse(status=202)


def _refuse(why: str, status: int) -> HttpResponse:
    _refused.labels(why).inc()
    _log.warning("stripe_webhook_refused", why=why, status=status)
    return HttpResponse(status=status)
