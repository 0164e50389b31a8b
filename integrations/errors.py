"""Errors of the integrations app."""

from tenants.errors import WeirError


class VaultError(WeirError):
    """A secret cannot be opened: the master key is missing or the value was tampered with."""

    code = "secret_unreadable"
    status = 500
    title = "The secret cannot be opened"
