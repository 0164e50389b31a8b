"""What the frame around every page needs."""

from typing import Any

from django.http import HttpRequest

THEME_COOKIE = "weir_theme"
THEMES = ("light", "dark")


def frame(request: HttpRequest) -> dict[str, Any]:
    """The tenant that is open, the ones that the person could switch to, and the chosen theme ("" = the system's)."""
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "membership": getattr(request, "membership", None),
        "memberships": getattr(request, "memberships", []),
        "theme": theme if theme in THEMES else "",
    }
