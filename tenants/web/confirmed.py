"""What only somebody may do who proved a short while ago who they are: signed in, or gave a password or key again."""

import functools
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

P = ParamSpec("P")


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the person at this session signed in or confirmed within ACCOUNT_REAUTHENTICATION_TIMEOUT seconds."""
    if not request.user.is_authenticated:
        return False
    records = get_authentication_records(request, request.user)
    return bool(records) and time.time() - records[-1]["at"] < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT


def recently_confirmed(
    back: str = "",
) -> Callable[[Callable[Concatenate[Any, P], HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """A view that asks who one is when that was not proven of late; goes under `tenant_page`.

    After it the person is at the page that was asked for, or at the URL named `back`, where the button was: what was
    sent is not repeated for them. Name `back` for views that take POST alone.
    """

    def decorate(view: Callable[Concatenate[Any, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(view)
        def confirmed(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if is_confirmed(request):
                return view(request, *args, **kwargs)
            return ask_again(request, reverse(back) if back else request.get_full_path())

        confirmed.wants_confirmation = True  # type: ignore[attr-defined]
        return confirmed

    return decorate


def ask_again(request: HttpRequest, then: str) -> HttpResponse:
    """Send a signed-in person to prove who they are, and to `then` afterwards. Raises PermissionDenied for no way to."""
    ways = get_adapter().get_reauthentication_methods(request.user)
    if not ways:
        raise PermissionDenied("Set a password first (“Forgot your password?”): this step asks for it.")
    url = f"{ways[0]['url']}?{urlencode({'next': then})}"
    return HttpResponseClientRedirect(url) if request.htmx else HttpResponseRedirect(url)  # type: ignore[attr-defined]
