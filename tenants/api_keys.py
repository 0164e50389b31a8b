"""API keys: `wk_<live|test>_<43 base62 characters><6-character checksum>`, 256 random bits.

Pure: no database. The checksum lets the front door refuse typos (and scanners recognise keys) without a query.
"""

import hashlib
import secrets
import zlib
from dataclasses import dataclass

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 43  # 62 ** 43 > 2 ** 256
CHECKSUM_LENGTH = 6
KEY_LENGTH = len("wk_live_") + RANDOM_LENGTH + CHECKSUM_LENGTH


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: `plain` is shown once and kept nowhere."""

    plain: str
    digest: bytes
    hint: str

    def __repr__(self) -> str:
        return f"NewKey({self.hint})"


def new_key(*, livemode: bool) -> NewKey:
    """Mint a key."""
    body = f"wk_{'live' if livemode else 'test'}_{_base62(secrets.randbits(256), RANDOM_LENGTH)}"
    plain = body + _checksum(body)
    return NewKey(plain=plain, digest=digest(plain), hint=f"{plain[:12]}…{plain[-4:]}")


def digest(plain: str) -> bytes:
    """What is stored and looked up: SHA-256 of the whole key, 32 bytes."""
    return hashlib.sha256(plain.encode()).digest()


def well_formed(candidate: str) -> bool:
    """Whether this can be a key at all: prefix, length, alphabet and checksum. No database is asked."""
    if len(candidate) != KEY_LENGTH or not candidate.startswith(("wk_live_", "wk_test_")):
        return False
    if not candidate.isascii() or not candidate[8:].isalnum():
        return False
    return _checksum(candidate[:-CHECKSUM_LENGTH]) == candidate[-CHECKSUM_LENGTH:]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, remainder = divmod(number, 62)
        digits.append(ALPHABET[remainder])
    return "".join(reversed(digits))
