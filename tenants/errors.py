"""The base of every error of ours, and the errors of the tenants app."""

from collections.abc import Mapping, Sequence
from typing import Any


class WeirError(Exception):
    """Something we refuse or cannot do. The class names code and HTTP status; the message says what to do."""

    code = "error"
    status = 400
    title = "The request could not be carried out"

    def __init__(self, detail: str, *, errors: Sequence[Mapping[str, str]] = (), **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = [dict(error) for error in errors]
        self.data = data


class ScopeError(WeirError):
    """Tenant data was touched outside a tenant scope, or a scope was opened inside another tenant's."""

    code = "scope_error"
    status = 500
    title = "Tenant scope violation"


class NotFound(WeirError):
    """There is no such object for this tenant."""

    code = "not_found"
    status = 404
    title = "Not found"


class InvalidInput(WeirError):
    """The input is well-formed but cannot be accepted; `errors` names the fields."""

    code = "invalid_input"
    status = 422
    title = "The input cannot be accepted"


class NotAllowed(WeirError):
    """The caller is known but may not do this."""

    code = "not_allowed"
    status = 403
    title = "Not allowed"


class Conflict(WeirError):
    """The object is in a state that does not allow this."""

    code = "conflict"
    status = 409
    title = "Conflict"
