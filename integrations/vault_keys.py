"""Master keys as text, as the environment, a file or AWS Secrets Manager holds them. Knows nothing of Django."""

import base64
import binascii

KEY_BYTES = 32
WANTED = (
    "must be keys of 32 bytes in URL-safe base64, separated by commas, the newest first: "
    "python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
)


def parse_keys(text: str) -> list[str]:
    """The keys of a text that separates them by commas or lines, newest first.

    Raises ValueError with what is wanted; it never repeats a key.
    """
    keys = [part.strip() for part in text.replace(",", "\n").split("\n")]
    while keys and not keys[-1]:  # a file ends with the end of a line
        keys.pop()
    if not keys or not all(_is_key(key) for key in keys):
        raise ValueError(WANTED)
    if len({decode(key) for key in keys}) != len(keys):
        raise ValueError("names a key twice")
    return keys


def decode(key: str) -> bytes:
    """The bytes of one key. Raises ValueError for text that is not base64."""
    return base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True)


def _is_key(key: str) -> bool:
    try:
        return len(decode(key)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False
