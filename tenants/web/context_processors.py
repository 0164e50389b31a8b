"""What the frame around every page needs."""

from typing import Any

from django.http import HttpRequest


def frame(request: HttpRequest) -> dict[str, Any]:
    """The tenant that is open, and the ones that the person could switch to."""
    membership = getattr(request, "membership", None)
    return {"membership": membership, "memberships": getattr(request, "memberships", [])}
