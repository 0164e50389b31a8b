"""What a session holds is sealed before it is stored: whoever reads the table, or a copy of it, reads nothing there.

allauth keeps things in sessions that would open an account while they are valid: the key of a followed reset link, codes
that were mailed, the key of an authenticator app that is being set up.
"""

import functools
import hashlib
import hmac
from typing import Any

from django.conf import settings
from django.contrib.sessions.serializers import JSONSerializer
from django.core.signing import BadSignature

from integrations.errors import VaultError
from integrations.vault.sealing import seal, unseal

BINDING = b"weir session"


class SealedSerializer:
    """JSON under AES-256-GCM, by a key made of SECRET_KEY. Raises BadSignature for what no current key sealed."""

    def dumps(self, values: Any) -> bytes:
        return seal(_key(settings.SECRET_KEY), JSONSerializer().dumps(values), BINDING)

    def loads(self, stored: bytes) -> Any:
        if stored[:1] == b"{":  # from before sessions were sealed; signed all the same
            return JSONSerializer().loads(stored)
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            try:
                return JSONSerializer().loads(unseal(_key(secret), stored, BINDING))
            except VaultError:
                continue
        raise BadSignature("This session was sealed under another key.")


@functools.lru_cache(maxsize=8)
def _key(secret: str) -> bytes:
    """A key for this use alone."""
    return hmac.digest(secret.encode(), b"weir session", hashlib.sha256)
