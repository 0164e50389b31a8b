"""The stable codes of the API's errors, read from docs/api/errors.md: the one place where they are listed."""

import re
from typing import Final

from config.env import BASE_DIR

_ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def read_codes() -> dict[str, tuple[int, str, str, str]]:
    """Code -> (HTTP status, title, what happened, what to do)."""
    text = (BASE_DIR / "docs" / "api" / "errors.md").read_text()
    return {
        code: (int(status), title, cause, cure) for code, status, title, cause, cure in _ROW.findall(text)
    }


CODES: Final = read_codes()
