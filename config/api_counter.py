"""Counts each request that was made with an API key, for the tenant's usage."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from billing import api_calls
from tenants import context


class ApiCallsMiddleware:
    """After the view: by then it is known whose key it was."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        here = context.current()
        if here.key_id is not None and here.tenant_id is not None:
            api_calls.count_call(here.tenant_id, livemode=here.livemode)
        return response
