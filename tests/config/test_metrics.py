"""Workers of one web process count together."""

import os
import subprocess
import sys
from pathlib import Path

from config import metrics

COUNT = """
from config import metrics
from prometheus_client import Counter, Gauge
count, gauge = Counter("met", "x"), Gauge("seen", "y", multiprocess_mode="mostrecent")
count.inc({n}); gauge.set({n})
print(metrics.as_text().decode())
"""


def test_what_several_processes_count_is_added_up(tmp_path: Path):
    folder = metrics.folder_of(os.getpid(), tmp_path)
    told = ""
    for n in (2, 3):
        told = subprocess.run(
            [sys.executable, "-c", COUNT.format(n=n)],
            env={**os.environ, metrics.FOLDER: str(folder)}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    assert "met_total 5.0" in told
    assert "seen 3.0" in told


def test_what_ended_processes_left_is_cleared(tmp_path: Path):
    gone = metrics.folder_of(2**22 + 1, tmp_path)
    mine = metrics.folder_of(os.getpid(), tmp_path)
    assert mine
    assert mine.is_dir()
    assert gone
    assert not gone.exists()


def test_a_place_that_is_somebody_elses_is_left_alone(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"weir-metrics-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert metrics.folder_of(os.getpid(), tmp_path) is None
    assert not list((tmp_path / "elsewhere").iterdir())
