"""The API's way past the middleware that is there for people: sessions, sign-in, messages, pages.

Settings put that middleware between `ApiShortcut` and `ApiShortcutEnd`. Requests to the API know their caller by a key
alone; they carry no session, and an answer to them sets no cookie.
"""

from collections.abc import Callable
from typing import ClassVar

from django.http import HttpRequest, HttpResponse

Next = Callable[[HttpRequest], HttpResponse]

API = "/api/v1/"


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
        return (self.api if request.path.startswith(API) else self.people)(request)
