"""Second factors at rest: keys of authenticator apps and seeds of recovery codes are sealed by the vault's master key.

What is stored is bound to whose it is and of which kind: copied into another person's row it does not open. The library
seals before it knows the row, so `bind` does it when a row is saved. What was stored before that still opens, and is bound
when it is next used or the master key changes.
"""

import base64
from collections.abc import Collection
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models.signals import post_init, pre_save

from integrations.errors import VaultError
from integrations.vault.masters import ring
from tenants.web import accounts

BINDING = b"weir second factor"
"""Of what is not stored yet, and of what was stored before bindings named the row."""
BOUND = "bound:"
SEALED = ("secret", "seed")
"""The entries of an authenticator's data that are sealed."""
BATCH = 200
KINDS = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)


class Stored(str):
    """A sealed text as a row has it, with what it must be bound to."""

    __slots__ = ("binding",)
    binding: bytes


class MFAAdapter(accounts.MFAAdapter):
    def encrypt(self, text: str) -> str:
        """`<id of the master key>:<base64>`, bound to no row yet."""
        return _seal(text, BINDING)

    def decrypt(self, encrypted_text: str) -> str:
        """Raises VaultError for what was not sealed so, or for another row, and when the master key is not in the ring."""
        key_id, _, sealed = encrypted_text.partition(":")
        if not sealed:
            raise VaultError("A second factor is not sealed.")
        binding = BINDING
        if sealed.startswith(BOUND):
            binding = getattr(encrypted_text, "binding", BINDING)
        body = base64.b64decode(sealed.removeprefix(BOUND))
        return ring().get(key_id).unwrap(body, binding).decode()


def _seal(text: str, binding: bytes) -> str:
    key = ring().newest
    mark = "" if binding == BINDING else BOUND
    return f"{key.id}:{mark}{base64.b64encode(key.wrap(text.encode(), binding)).decode()}"


def _stored(factor: Authenticator, text: str) -> Stored:
    stored = Stored(text)
    stored.binding = b"%s %s %s" % (BINDING, str(factor.user_id).encode(), factor.type.encode())
    return stored


def claim(instance: Authenticator, **_: Any) -> None:
    """After a row was read: its sealed texts know whose they have to be."""
    data = instance.__dict__.get("data")
    if isinstance(data, dict) and instance.__dict__.get("type") in KINDS:
        for name in SEALED:
            if isinstance(data.get(name), str):
                data[name] = _stored(instance, data[name])


def bind(instance: Authenticator, update_fields: Collection[str] | None = None, **_: Any) -> None:
    """Before a row is saved: seal for this row what was sealed for none."""
    if instance.type not in KINDS:
        return
    claim(instance)
    free = [name for name in SEALED if name in instance.data and not _bound(instance.data[name])]
    for name in free:
        text = _stored(instance, instance.data[name])
        instance.data[name] = _stored(instance, _seal(MFAAdapter().decrypt(text), text.binding))
    # Using an app's code notes the time alone. Recovery codes are saved whole.
    if free and update_fields is not None and "data" not in update_fields:
        Authenticator.objects.filter(pk=instance.pk).update(data=instance.data)


def _bound(text: str) -> bool:
    return text.partition(":")[2].startswith(BOUND)


def connect() -> None:
    post_init.connect(claim, sender=Authenticator, dispatch_uid="weir_second_factor_read")
    pre_save.connect(bind, sender=Authenticator, dispatch_uid="weir_second_factor_bound")


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
    found = Authenticator.objects.filter(pk__gt=pk, type__in=KINDS).order_by("pk")
    return list(found.values_list("pk", flat=True)[:BATCH])


def _reseal_one(factor: Authenticator, newest: str) -> bool:
    adapter = MFAAdapter()
    old = {name: factor.data[name] for name in SEALED if name in factor.data}
    due = {name: text for name, text in old.items() if not text.startswith(f"{newest}:{BOUND}")}
    if due:
        factor.data |= {name: adapter.encrypt(adapter.decrypt(text)) for name, text in due.items()}
        factor.save(update_fields=["data"])
    return bool(due)
