"""Where vendors post the results of calls: /hooks/callback/<signed token>."""

import time

import structlog
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from prometheus_client import Counter

from tenants.context import current
from workflows import callback_tokens
from workflows.operations.receive_callback import receive_callback

MOST_BYTES = 1024 * 1024
# From one address in a minute: what is signed by us, and what is not.
MOST_POSTS, MOST_GUESSES = 6_000, 30
MINUTE = 60
_log = structlog.get_logger(__name__)
_refused = Counter(
    "weir_callbacks_refused_total", "Posts to callback addresses that were not taken.", ["why"]
)


@csrf_exempt
@require_POST
def callback(request: HttpRequest, token: str) -> HttpResponse:
    """202 once the body is stored; what it says is read by the engine. 404 for an address that is none, or no more."""
    found = callback_tokens.read(token)
    over = _many("guesses", MOST_GUESSES) if found is None else _many("posts", MOST_POSTS)
    if over:
        return _refuse("rate", HttpResponse(status=429, headers={"Retry-After": str(MINUTE)}))
    if found is None:
        raise _unknown("token")
    body = request.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        return _refuse("size", HttpResponse(status=413))
    if not receive_callback(token=found, body=body):
        raise _unknown("gone")
    return HttpResponse(status=202)


def _unknown(why: str) -> Http404:
    _refuse(why, HttpResponse(status=404))
    return Http404()


def _refuse(why: str, answer: HttpResponse) -> HttpResponse:
    _refused.labels(why).inc()
    _log.warning("callback_refused", why=why, status=answer.status_code)
    return answer


def _many(kind: str, most: int) -> bool:
    """Count this post of the caller; whether it is one too many in this minute."""
    key = f"callback-{kind}:{current().ip}:{int(time.time()) // MINUTE}"
    cache.add(key, 0, 2 * MINUTE)
    return int(cache.incr(key)) > most
