"""Metrics of a web process that has several workers: each writes into files of its own, and whoever is asked adds up."""

import os
import shutil
import tempfile
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads it when it is loaded."""


def folder_of(parent: int, inside: Path | None = None) -> Path | None:
    """Where the workers of the process `parent` write; what ended ones have left there is cleared away.

    None where somebody else has taken the place: each worker then tells of itself alone.
    """
    home = (inside or Path(tempfile.gettempdir())) / f"weir-metrics-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        return None
    for one in home.iterdir():
        if one.name.isdigit() and not Path(f"/proc/{one.name}").exists():
            shutil.rmtree(one, ignore_errors=True)
    folder = home / str(parent)
    folder.mkdir(exist_ok=True)
    return folder


def as_text() -> bytes:
    """All metrics, of this process or of all workers together, as Prometheus reads them."""
    # Loaded when it is known whether there are several.
    from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
