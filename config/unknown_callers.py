"""How often one address may ask without a valid credential: of the API, the accounts' pages, checkout and the console.

By django-ratelimit, in the cache that goes on counting while Redis is away (config/cache.py): this limit never opens.
"""

from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_ratelimit.core import get_usage
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from config.problems import problem
from config.shortcut import API
from tenants import context
from tenants.api.authentication import ApiKeyAuthentication

# Each of them is counted by itself.
AREAS = {"/api/": "api", "/accounts/": "accounts", "/admin/": "admin", "/app/billing": "checkout"}
KEY_HEADERS = ("Authorization", "X-API-Key")


class UnknownCallersMiddleware:
    """Comes last: by then it is known who is signed in, and refusals get the headers that all answers have.

    The caller's address is the one that RequestContextMiddleware found: the peer, or what our own proxies say.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        area = next((name for prefix, name in AREAS.items() if request.path.startswith(prefix)), "")
        if not area:
            return self.get_response(request)
        if area == "api":
            # Beside the API itself no key is looked at: there, one is worth nothing.
            if not request.path.startswith(API) or not any(name in request.headers for name in KEY_HEADERS):
                return _refusal(request, area) or self.get_response(request)
            response = self.get_response(request)
            if response.status_code not in (401, 403, 404) or _has_valid_key(request):
                return response
            return _refusal(request, area) or response
        known = request.user.is_authenticated
        return (None if known else _refusal(request, area)) or self.get_response(request)


def _has_valid_key(request: HttpRequest) -> bool:
    """Whether the view found one, or would have: addresses that are none are answered without asking."""
    if context.current().key_id is not None:
        return True
    try:
        return ApiKeyAuthentication().authenticate(cast(Request, request)) is not None
    except APIException:
        return False


def _refusal(request: HttpRequest, area: str) -> HttpResponse | None:
    """Count the request; the answer to one that is too many, None for any other."""
    rate = f"{settings.UNKNOWN_CALLERS_PER_MINUTE}/m"
    usage: dict[str, Any] = get_usage(request, group=f"unknown-{area}", key="ip", rate=rate, increment=True)
    if not usage["should_limit"]:
        return None
    wait = max(1, usage["time_left"])
    if area == "api":
        return problem(
            request, 429, "too_many_unknown", "Too many requests without a valid key",
            f"More than {usage['limit']} requests a minute from your address came without a valid API key (limit "
            f"“address”). Nothing was done; try again in {wait} s, or with a valid key.",
            headers={
                "Retry-After": str(wait),
                "RateLimit-Policy": f'"address";q={usage["limit"]};w=60',
                "RateLimit": f'"address";r=0;t={wait}',
            },
        )  # fmt: skip
    response = render(request, "429.html", status=429)
    response["Retry-After"] = str(wait)
    return response


def address_of(request: HttpRequest) -> str:
    """For django-ratelimit, which counts IPv6 by network. Callers without an address share one count."""
    return context.current().ip or "0.0.0.0"  # noqa: S104 - nobody's, and nothing listens on it
