"""Master keys: one small interface, and the ring of those that this installation has, newest first.

They come from one place: the environment, a file (both read and checked with the settings), or AWS Secrets Manager,
which is asked once per process, when the first key is needed. A key management service would be another class
with the same three members.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from django.conf import settings

from integrations.errors import MasterKeyMissing
from integrations.vault.sealing import seal, unseal
from integrations.vault_keys import KEY_BYTES, decode, parse_keys


class MasterKey(Protocol):
    """Wraps data keys, and nothing else."""

    @property
    def id(self) -> str:
        """Up to 16 characters that name the key without telling anything about it."""

    def wrap(self, data_key: bytes, binding: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes, binding: bytes) -> bytes:
        """The data key. Raises VaultError when it was not wrapped by this key, for this binding."""


class LocalKey:
    """A master key whose 32 bytes this process holds."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a master key has 32 bytes")
        self._key = key
        self.id = hashlib.sha256(key).hexdigest()[:16]

    def wrap(self, data_key: bytes, binding: bytes) -> bytes:
        return seal(self._key, data_key, binding)

    def unwrap(self, wrapped: bytes, binding: bytes) -> bytes:
        return unseal(self._key, wrapped, binding)

    def __repr__(self) -> str:
        return f"LocalKey({self.id})"


class Ring:
    """The master keys at hand. New data keys are wrapped by the newest; older ones still open theirs."""

    def __init__(self, keys: Iterable[MasterKey]) -> None:
        self.keys = tuple(keys)
        if not self.keys:
            raise MasterKeyMissing("The vault has no master key: set WEIR_VAULT_KEYS.")
        self._by_id = {key.id: key for key in self.keys}

    @property
    def newest(self) -> MasterKey:
        return self.keys[0]

    @property
    def ids(self) -> list[str]:
        return [key.id for key in self.keys]

    def get(self, key_id: str) -> MasterKey:
        """Raises MasterKeyMissing, naming the key, when it is not in the ring."""
        key = self._by_id.get(key_id)
        if key is None:
            raise MasterKeyMissing(
                f"The vault's master key {key_id} is not among those of this process ({', '.join(self.ids)}). "
                "Put it back behind the newest one and start again."
            )
        return key


def ring() -> Ring:
    """This process's ring. Raises MasterKeyMissing when there is none, or AWS does not hand it out."""
    return _ring(tuple(settings.VAULT_KEYS), settings.VAULT_KEYS_AWS_SECRET)


@lru_cache(maxsize=4)
def _ring(keys: tuple[str, ...], aws_secret: str) -> Ring:
    if aws_secret:
        # The library takes a while to load, and is needed nowhere else.
        from integrations.vault.aws import fetch

        try:
            keys = tuple(parse_keys(fetch(aws_secret)))
        except ValueError as error:
            raise MasterKeyMissing(f"The AWS secret of WEIR_VAULT_KEYS_AWS_SECRET {error}") from None
    return Ring(LocalKey(decode(key)) for key in keys)
