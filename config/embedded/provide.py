"""What manage.py, web and workers call before settings are read: servers for whoever has none."""

from collections.abc import MutableMapping
from pathlib import Path

from config.embedded.keeper import Use, use

_held: dict[Path, Use] = {}


def provide(environ: MutableMapping[str, str], data_dir: Path) -> Use | None:
    """Fill in the addresses that the environment lacks, starting the embedded servers when needed.

    Only where WEIR_ENV is local (also when unset) or test, and DATABASE_URL or REDIS_URL is unset; else nothing
    happens. The servers run at least as long as this process; the last user's end stops them. Raises EmbeddedError.
    """
    if environ.get("WEIR_ENV", "local") not in {"local", "test"}:
        return None
    if environ.get("DATABASE_URL") and environ.get("REDIS_URL"):
        return None
    data_dir = data_dir.expanduser().resolve()
    if data_dir not in _held:
        _held[data_dir] = use(data_dir, fsync=environ.get("WEIR_ENV") != "test")
    _held[data_dir].fill(environ)
    return _held[data_dir]
