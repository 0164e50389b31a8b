"""The API's way past the middleware that is there for people: pages' content policy, sessions, sign-in, messages.

Settings put that middleware between `ApiShortcut` and `ApiShortcutEnd`. Requests to the API know their caller by a key
alone; they carry no session, and an answer to them sets no cookie.
"""

from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest, HttpResponse

Next = Callable[[HttpRequest], HttpResponse]

API = "/api/v1/"
POLICY = "default-src 'none'; frame-ancestors 'none'"
"""What a browser may do with an answer of the API: nothing but show it."""


class ApiShortcutEnd:
    """Where both ways meet again. Django makes middleware from the inside out: this one before `ApiShortcut`."""

    newest: ClassVar["ApiShortcutEnd"]

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response
        ApiShortcutEnd.newest = self

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)


class ApiShortcut:
    """Takes requests to the API past what lies between here and `ApiShortcutEnd`."""

    def __init__(self, get_response: Next) -> None:
        self.people = get_response
        self.api = ApiShortcutEnd.newest.get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(API):
            return self.people(request)
        response = self.api(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response
