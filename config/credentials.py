"""Secrets that a local installation makes for itself, once, in `credentials.json` (mode 0600)."""

import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from config.errors import CannotStart
from config.files import locked, prepare_data_dir, read_json, write_private


def _token() -> str:
    return secrets.token_urlsafe(32)


def ensure(data_dir: Path, makers: Mapping[str, Callable[[], str] | None]) -> dict[str, str]:
    """The named secrets of a data directory, making those that are missing.

    A maker of None means 43 URL-safe random characters. Raises CannotStart when the file is there but unreadable,
    since new passwords would lock us out of the old cluster.
    """
    data_dir = prepare_data_dir(data_dir)
    path = data_dir / "credentials.json"
    with locked(data_dir / "run" / "credentials.lock"):
        known = read_json(path)
        if not known and path.exists() and path.stat().st_size:
            raise CannotStart(f"{path} is damaged: restore it, or remove the data directory to start afresh.")
        missing = {name: (maker or _token)() for name, maker in makers.items() if name not in known}
        if missing:
            known |= missing
            write_private(path, json.dumps(known, indent=1))
        return {name: known[name] for name in makers}
