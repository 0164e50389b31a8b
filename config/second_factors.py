"""Second factors at rest: keys of authenticator apps and seeds of recovery codes are sealed by the vault's master key."""

import base64
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction

from integrations.errors import VaultError
from integrations.vault.masters import ring
from tenants.web import accounts

BINDING = b"weir second factor"
SEALED = ("secret", "seed")
"""The entries of an authenticator's data that are sealed."""
BATCH = 200


class MFAAdapter(accounts.MFAAdapter):
    def encrypt(self, text: str) -> str:
        """`<id of the master key>:<base64>`."""
        key = ring().newest
        return f"{key.id}:{base64.b64encode(key.wrap(text.encode(), BINDING)).decode()}"

    def decrypt(self, encrypted_text: str) -> str:
        """Raises VaultError for what was not sealed so, and when the master key is not in the ring."""
        key_id, _, sealed = encrypted_text.partition(":")
        if not sealed:
            raise VaultError("A second factor is not sealed.")
        return ring().get(key_id).unwrap(base64.b64decode(sealed), BINDING).decode()


def reseal(**_: Any) -> int:
    """Seal by the newest master key whatever an older one sealed; returns how many factors that were.

    Harmless to repeat; people sign in meanwhile.
    """
    newest, after, changed = ring().newest.id, 0, 0
    while keys := _after(after):
        with transaction.atomic():
            for factor in Authenticator.objects.select_for_update().filter(pk__in=keys):
                changed += _reseal_one(factor, newest)
        after = keys[-1]
    return changed


def _after(pk: int) -> list[int]:
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
    found = Authenticator.objects.filter(pk__gt=pk, type__in=kinds).order_by("pk")
    return list(found.values_list("pk", flat=True)[:BATCH])


def _reseal_one(factor: Authenticator, newest: str) -> bool:
    adapter = MFAAdapter()
    old = {name: factor.data[name] for name in SEALED if name in factor.data}
    due = {name: text for name, text in old.items() if not text.startswith(f"{newest}:")}
    if due:
        factor.data |= {name: adapter.encrypt(adapter.decrypt(text)) for name, text in due.items()}
        factor.save(update_fields=["data"])
    return bool(due)
