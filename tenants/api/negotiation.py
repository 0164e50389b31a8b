"""Which format an answer has: there is one per route."""

from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request


class OneFormat(DefaultContentNegotiation):
    """The route's own format, whatever the caller says that it accepts."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
