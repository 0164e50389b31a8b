"""Lets signed-in staff (with a second factor, where it matters) and nobody else cross tenants under /admin/."""

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from config.ops_login import is_staff, missing_proof
from tenants import context
from tenants.scope import ops_scope

PREFIX = "/admin/"
DOORS = {"/admin/login/", "/admin/logout/"}
_log = structlog.stdlib.get_logger("weir.ops_console")


class OpsConsoleMiddleware:
    """Opens an ops scope for the whole request; the console's pages, their saving and their rendering run in it.

    Comes after sessions, people and messages, so that none of those depends on the scope.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        if not is_staff(request):
            return self.get_response(request)
        if request.path_info not in DOORS and (elsewhere := missing_proof(request)):
            return elsewhere
        email = request.user.get_username()
        context.update(actor=f"staff:{email}")
        with ops_scope(f"ops console: {email}"):
            response = self.get_response(request)
        match = request.resolver_match
        _log.info(
            "ops_scope",
            actor=f"staff:{email}",
            method=request.method,
            route=match.route if match else None,
        )
        return response
