"""What every answer has: a request id, a line in the log, and headers that keep it private."""

import ipaddress
import re
import secrets
import time
from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.bodies import KNOWN
from tenants.context import context, current

Next = Callable[[HttpRequest], HttpResponse]

REQUEST_ID = "X-Request-Id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_QUIET = {"/healthz", "/readyz", "/metrics"}
_log = structlog.stdlib.get_logger("weir.request")


class RequestContextMiddleware:
    """Gives the request an id (a well-formed one that it brought, else a new one), binds it to logs and tasks."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = request_id_of(request)
        request.request_id = request_id  # type: ignore[attr-defined]
        began = time.monotonic()
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            context(request_id=request_id, ip=client_ip(request)),
        ):
            response = self.get_response(request)
            response[REQUEST_ID] = request_id
            request.META[KNOWN] = current().tenant_id is not None
            if request.path not in _QUIET:
                _log_request(request, response, time.monotonic() - began)
        return response


def request_id_of(request: HttpRequest) -> str:
    brought = request.headers.get(REQUEST_ID, "")
    return brought if _WELL_FORMED.fullmatch(brought) else secrets.token_hex(11)


def client_ip(request: HttpRequest) -> str | None:
    """The caller's address: the connection's peer, or what the outermost proxy of ours says it saw.

    Only as many entries of X-Forwarded-For count, from the right, as there are proxies of ours; the rest is hearsay.
    What is no address (some proxies add a port, some say “unknown”) is left out; None when nothing is one.
    """
    peer = _address(request.META.get("REMOTE_ADDR", ""))
    proxies: int = settings.TRUSTED_PROXIES
    if not proxies:
        return peer
    forwarded = [
        part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()
    ]
    return (_address(forwarded[-proxies]) if len(forwarded) >= proxies else None) or peer


def _address(text: str) -> str | None:
    """An IP address in its one spelling, without the port that some proxies add; None for anything else."""
    with_port = re.fullmatch(r"\[([^\]]+)\](?::\d+)?|(\d+(?:\.\d+){3}):\d+", text.strip())
    try:
        address = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else text.strip())
    except ValueError:
        return None
    # A server that listens on both families sees ::ffff:192.0.2.1; limits count IPv6 by network, and that is one.
    return str(getattr(address, "ipv4_mapped", None) or address)


def _log_request(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    # The route, not the path: paths of hooks and mail links hold tokens.
    match = request.resolver_match
    _log.info(
        "request",
        method=request.method,
        route=match.route if match else None,
        status=response.status_code,
        ms=round(seconds * 1000, 1),
    )


class CacheHeadersMiddleware:
    """Nothing that Django answers is stored by anybody, unless the view says otherwise; assets go another way."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        )
        return response


class ContentPolicyMiddleware:
    """Loosens the content policy where a library's pages need it: the ops console and the API's documentation."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for prefix, changes in settings.CONTENT_POLICY_OF.items():
            if request.path.startswith(prefix):
                response._csp_update = changes  # type: ignore[attr-defined]
        return response
