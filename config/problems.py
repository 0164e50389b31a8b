"""Errors of the API as RFC 9457 problems: one place that writes them, for DRF and for Django's own handlers."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.views import set_rollback

from tenants.api.base import invalid
from tenants.errors import WeirError
from tenants.scope import may_be_done
from tenants.secret import Secret, mask

MEDIA_TYPE = "application/problem+json"
API_PREFIX = "/api/"
RETRY_AFTER_S = 5
_WRITES = {"POST", "PATCH", "DELETE"}
_log = structlog.stdlib.get_logger("weir.problems")

# What DRF calls it -> what we call it, with a title.
_NAMES = {
    "not_authenticated": ("missing_api_key", "An API key is needed"),
    "authentication_failed": ("invalid_api_key", "The API key is not valid"),
    "invalid_api_key": ("invalid_api_key", "The API key is not valid"),
    "expired_api_key": ("expired_api_key", "The API key has expired"),
    "permission_denied": ("not_allowed", "Not allowed"),
    "missing_scope": ("missing_scope", "The API key lacks a scope"),
    "live_key_needed": ("live_key_needed", "A live key is needed"),
    "people_only": ("people_only", "Keys cannot do this"),
    "tenant_suspended": ("tenant_suspended", "The tenant is suspended"),
    "method_not_allowed": ("method_not_allowed", "The method is not allowed here"),
    "unsupported_media_type": ("unsupported_media_type", "The media type is not supported"),
    "parse_error": ("invalid_body", "The body cannot be read"),
    "not_found": ("not_found", "Not found"),
    "rate_limited": ("rate_limited", "Too many requests"),
}
_DETAILS = {
    "missing_api_key": "Send your API key as “Authorization: Bearer wk_…” or in X-API-Key.",
    "not_found": "There is nothing at this address. GET /api/docs/ lists the routes; none ends with a slash.",
}


def handle(error: Exception, context: Mapping[str, Any]) -> HttpResponseBase | None:
    """The problem for an exception of a DRF view; None for what is a fault of ours, which ends in `server_error`."""
    request: HttpRequest = context["request"]._request
    posted = getattr(context["request"], "_full_data", None)  # of a body that could be read
    secret = posted.get("secret") if isinstance(posted, Mapping) else None
    _kept = (
        Secret(secret) if isinstance(secret, str) and secret else None
    )  # alive, so that it is masked below
    set_rollback()
    match error:
        case WeirError() if error.status < 500 or error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            wait = (
                {"Retry-After": str(RETRY_AFTER_S)}
                if error.status == HTTPStatus.SERVICE_UNAVAILABLE
                else None
            )
            return problem(request, error.status, error.code, error.title, error.detail, error.errors, wait)
        case exceptions.ValidationError():
            refused = invalid(error.detail)
            return problem(
                request, refused.status, refused.code, refused.title, refused.detail, refused.errors
            )
        case exceptions.APIException():
            return _of_drf(request, error)
        case Http404():
            return problem(request, 404, "not_found", *_words("not_found"))
        case DjangoPermissionDenied():
            return problem(request, 403, "not_allowed", "Not allowed", "This is not allowed.")
        case RequestDataTooBig():
            return problem(
                request, 413, "payload_too_large", "The body is too large", "A form field is too large."
            )
        case UnreadablePostError():
            return problem(request, 400, "invalid_body", "The body cannot be read", "The body ended early.")
        case OperationalError() | InterfaceError():
            _log.error("database_unavailable", error=type(error).__name__)
            apart = request.method in _WRITES and not getattr(context.get("view"), "one_transaction", True)
            return unavailable(request, unsure=apart or may_be_done(error))
    return None


def problem(
    request: HttpRequest,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """One answer in application/problem+json. Text quoted from the request can be sent; its secret is masked."""
    body = {
        "type": f"urn:weir:problem:{code}",
        "title": title,
        "status": status,
        "detail": mask(detail),
        "code": code,
        "errors": [{name: mask(text) for name, text in error.items()} for error in errors],
        "request_id": getattr(request, "request_id", ""),
    }
    return HttpResponse(json.dumps(body), status=status, content_type=MEDIA_TYPE, headers=headers)


def unavailable(request: HttpRequest, *, unsure: bool = False) -> HttpResponse:
    """503; `unsure`: what was asked for may have been done."""
    return problem(
        request,
        503,
        "unavailable",
        "Not available right now",
        "The database stopped answering. Whether this was done is not known: send it again under the same "
        "Idempotency-Key, or look."
        if unsure
        else "The database does not answer. Nothing was changed; try again in a few seconds.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _of_drf(request: HttpRequest, error: exceptions.APIException) -> HttpResponse:
    codes = error.get_codes()
    code, title = _NAMES.get(str(codes), (str(codes), HTTPStatus(error.status_code).phrase))
    headers = {}
    if wanted := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = wanted
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(wait)
    detail = _DETAILS.get(code, str(error.detail))
    return problem(request, error.status_code, code, title, detail, headers=headers)


def _words(code: str) -> tuple[str, str]:
    """(title, detail) of what needs no explaining."""
    return dict(_NAMES.values())[code], _DETAILS[code]


# --- Django's own handlers (config/urls.py): problems for the API, pages for people --------------------------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return problem(request, 400, "bad_request", "Bad request", "The request cannot be understood.")
    return defaults.bad_request(request, exception)


def not_allowed(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return problem(request, 403, "not_allowed", "Not allowed", "This is not allowed.")
    return defaults.permission_denied(request, exception)


@csrf_exempt  # as a view it answers every method alike
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    if _is_api(request):
        return problem(request, 404, "not_found", *_words("not_found"))
    return defaults.page_not_found(request, exception or Http404())


def server_error(request: HttpRequest) -> HttpResponseBase:
    if _is_api(request):
        detail = "This is a fault of ours and has been reported. Name the request_id when you ask about it."
        return problem(request, 500, "internal_error", "Internal error", detail)
    return defaults.server_error(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith(API_PREFIX)
