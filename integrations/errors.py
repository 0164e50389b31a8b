"""Errors of the integrations app."""

from tenants.errors import WeirError


class VaultError(WeirError):
    """A secret cannot be opened: it was tampered with, cut short, or its tenant's data key is gone."""

    code = "secret_unreadable"
    status = 500
    title = "The secret cannot be opened"


class MasterKeyMissing(VaultError):
    """This process lacks a master key. The operator's affair: entering a secret again would not help.

    `why` is for the operator's eyes; what the tenant reads names no key.
    """

    code = "vault_unavailable"
    status = 503
    title = "The vault is not available"

    def __init__(self, why: str) -> None:
        super().__init__("Stored keys cannot be used at the moment. Nothing is lost; try again later.")
        self.why = why

    def __str__(self) -> str:
        return self.why
