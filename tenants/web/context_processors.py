"""What the frame around every page needs."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

THEME_COOKIE = "weir_theme"
THEMES = ("light", "dark")
_MAIL = {"console": "printed", "filebased": "printed", "dummy": "off"}


def frame(request: HttpRequest) -> dict[str, Any]:
    """The tenant that is open, the ones that the person could switch to, and the chosen theme ("" = the system's).

    `mail` says where mail does not go out: printed, off, or "" where it does; `signup` is who may make an account.
    """
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "membership": getattr(request, "membership", None),
        "memberships": getattr(request, "memberships", []),
        "mail": _MAIL.get(settings.EMAIL_BACKEND.split(".")[-2], ""),
        "signup": settings.SIGNUP,
        "theme": theme if theme in THEMES else "",
    }
