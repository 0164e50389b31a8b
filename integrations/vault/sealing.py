"""AES-256-GCM with a version in front, so that a stored value says how it was sealed, and cannot be told to say otherwise.

A sealed value is one byte of version, 12 of nonce, then the ciphertext with its tag. Version and binding (what the
value is, and whose) are authenticated with it: moved elsewhere or relabelled, it does not open.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from integrations.errors import VaultError
from integrations.vault_keys import KEY_BYTES

VERSION = b"\x01"
NONCE_BYTES = 12
_TAG_BYTES = 16


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def seal(key: bytes, plain: bytes, binding: bytes) -> bytes:
    """Encrypt under a fresh random nonce."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return VERSION + nonce + AESGCM(key).encrypt(nonce, plain, VERSION + binding)


def unseal(key: bytes, sealed: bytes, binding: bytes) -> bytes:
    """The plain value. Raises VaultError for anything but what `seal` made with this key and binding."""
    if sealed[:1] != VERSION:
        raise VaultError("The stored secret has an unknown form. Enter the key again.")
    if len(sealed) < 1 + NONCE_BYTES + _TAG_BYTES:
        raise VaultError("The stored secret is cut short. Enter the key again.")
    nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, body, VERSION + binding)
    except InvalidTag:
        raise VaultError("The stored secret cannot be opened. Enter the key again.") from None
