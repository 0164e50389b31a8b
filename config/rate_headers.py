"""Says on each answer to a counted request how the caller stands with its limits."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from billing.rates import headers_of


class RateHeadersMiddleware:
    """After the view: by then it is known whose key it was, and what was counted."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in headers_of(request).items():
            response[name] = value
        return response
