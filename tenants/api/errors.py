"""What can be wrong with a request before any operation sees it."""

from tenants.errors import WeirError


class InvalidJson(WeirError):
    """The body is not JSON that we take."""

    code = "invalid_json"
    status = 400
    title = "The body is not valid JSON"


class PayloadTooLarge(WeirError):
    """The body is larger than this route takes."""

    code = "payload_too_large"
    status = 413
    title = "The body is too large"


class LengthRequired(WeirError):
    """The body came without its length."""

    code = "length_required"
    status = 411
    title = "The length of the body is missing"
