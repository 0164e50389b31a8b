"""Standard Webhooks 1.0 (standardwebhooks.com), symmetric: the secret, the signature, the three headers.

Signed is `id.timestamp.body` with HMAC-SHA256 under the bytes that the secret's base64 stands for.
"""

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Iterable

from tenants.secret import Secret

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> Secret:
    return Secret(PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode())


def message_id(message: uuid.UUID) -> str:
    """The `webhook-id`: the same for every attempt and every endpoint."""
    return f"msg_{message.hex}"


def headers(message: uuid.UUID, timestamp: int, body: bytes, keys: Iterable[Secret]) -> dict[str, str]:
    """The headers of an attempt made at `timestamp` (Unix seconds), with one signature for each secret."""
    name = message_id(message)
    signed = b".".join((name.encode(), str(timestamp).encode(), body))
    return {
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_sign(signed, key) for key in keys),
    }


def _sign(signed: bytes, key: Secret) -> str:
    plain = base64.b64decode(key.reveal().removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.new(plain, signed, hashlib.sha256).digest()).decode()
