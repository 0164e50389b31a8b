"""Small private files of the data directory: written in one step, readable by their owner alone."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Account:
    """An operating-system account."""

    uid: int
    gid: int


def prepare_data_dir(data_dir: Path) -> Path:
    """Create the private data directory with its folders; returns its absolute path."""
    data_dir = data_dir.expanduser().resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("logs", "run"):
        (data_dir / name).mkdir(mode=0o700, exist_ok=True)
    return data_dir


def write_private(path: Path, content: str, *, account: Account | None = None) -> None:
    """Replace a file atomically, mode 0600."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
        if account:
            os.fchown(out.fileno(), account.uid, account.gid)
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """A recorded object, or an empty one when the file is missing or was torn by a crash."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive file lock; the kernel gives it back when the process dies."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
