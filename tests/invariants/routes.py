"""Every route there is, found in the URL patterns: what it takes in its path, and who may use it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from tenants.api.base import ApiView

HTTP = ("get", "post", "put", "patch", "delete")
# Open to anybody, and why. A new route has a permission, or is talked about and put here.
PUBLIC = {
    "/": "leads to /app/",
    "/healthz": "says nothing about tenants",
    "/readyz": "says nothing about tenants",
    "/metrics": "has a token of its own (tests/config/test_health.py)",
    "/invitations/<str:token>/": "opens for who has the token (tests of the team)",
    "/invitations/": "the same, for the browser that had the link",
    "/hooks/stripe": "for who signs as Stripe does (tests/billing/test_stripe_webhooks.py)",
    "/hooks/callback/<str:token>": "for who has the signed address (tests/workflows/test_callbacks.py)",
    "/api/schema/": "the description of the API",
    "/api/docs/": "the documentation of the API",
    "/api/docs/reference/": "the documentation of the API",
    "/api/docs/<slug:name>/": "the documentation of the API",
    "/api/v1/^.*$": "the answer for addresses that are none",
}
# Nothing behind them, for their own tenant either: the row that they name is made up, and has no file.
EMPTY = {"/app/settings/leave/exports/<uuid:export_id>/"}
_PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")


@dataclass(frozen=True)
class Route:
    """A path as its pattern has it, and its view. `kind` is api, page, admin, account, public, or empty: unprotected."""

    path: str
    view: Any
    kind: str

    @property
    def parameters(self) -> dict[str, str]:
        """Name -> converter of what the path takes."""
        return {name: converter or "str" for converter, name in _PARAMETER.findall(self.path)}

    @property
    def permissions(self) -> dict[str, str]:
        """Method -> permission."""
        if self.kind == "api":
            view = self.view.view_class()
            return {
                method.upper(): view.permission_for(method.upper())
                for method in HTTP
                if hasattr(view, method)
            }
        return dict(self.view.permissions) if self.kind == "page" else {}

    def at(self, values: dict[str, Any]) -> str:
        """The address with these values in its path."""
        return _PARAMETER.sub(lambda match: str(values[match[2]]), self.path)


def every_route(patterns: Iterable[Any] | None = None) -> list[Route]:
    """The routes below these patterns; below config.urls when none are given."""
    found = get_resolver().url_patterns if patterns is None else patterns
    return [Route(path, view, kind_of(path, view)) for path, view in _walk(found, "/")]


def kind_of(path: str, view: Any) -> str:
    if issubclass(getattr(view, "view_class", object), ApiView):
        return "api"
    if hasattr(view, "permissions"):
        return "page"
    for prefix, kind in (("/admin/", "admin"), ("/accounts/", "account")):
        if path.startswith(prefix):
            return kind
    return "public" if path in PUBLIC else ""


def _walk(patterns: Iterable[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in patterns:
        if isinstance(entry, URLResolver):
            yield from _walk(entry.url_patterns, prefix + str(entry.pattern))
        elif isinstance(entry, URLPattern):
            yield prefix + str(entry.pattern), entry.callback
