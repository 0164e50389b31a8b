"""Thousands of rows through upload, run and export, with a worker whose memory does not follow."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from config.embedded import destroy
from config.embedded.keeper import wait_until_gone
from tests.journeys.system import System

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def system() -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="weir-large-") as folder:
        data_dir = Path(folder) / "data"
        made = System(data_dir, WEIR_SANDBOX_LATENCY="0")
        yield made
        made.stop()
        wait_until_gone(data_dir, seconds=30)
        destroy(data_dir)


def worker_memory(system: System) -> int:
    """Resident bytes of the worker, the one process of Celery's that has the runner."""
    return max(process.memory_info().rss for process in system.children("celery", "worker"))


@pytest.mark.parametrize(
    ("rows", "growth"), [(6_000, 1.05), pytest.param(20_000, 1.10, marks=pytest.mark.campaign)]
)
def test_rows_are_uploaded_run_and_exported_in_level_memory(system: System, rows: int, growth: float) -> None:
    system.connect_vendors(windows=[{"rate": 100_000, "period": 1}], parallelism=64)
    lines = ["First Name,Last Name,Company Domain Name,Owner"]
    lines += [f"Person{number},Smith,firm{number}.example,Owner {number % 7}" for number in range(rows)]
    upload = system.upload("\n".join(lines).encode())
    assert (upload["rows"], upload["error_count"]) == (rows, 0)

    run_id = system.call("POST", "/runs", {"workflow": "email-waterfall", "upload": upload["id"]})["id"]
    system.wait_for(run_id, seconds=60, until=2_000)
    at_2000 = worker_memory(system)
    run = system.wait_for(run_id, seconds=300)
    at_the_end = worker_memory(system)

    assert run["status"] == "completed"
    assert run["records"]["found"] + run["records"]["not_found"] == rows
    assert at_the_end < at_2000 * growth, f"{at_2000 / 1e6:.0f} MB grew to {at_the_end / 1e6:.0f} MB"
    exported = system.csv_of(run_id)
    assert [row["First Name"] for row in exported] == [f"Person{number}" for number in range(rows)]
    assert sum(row["status"] == "found" for row in exported) == run["records"]["found"]
    vendors = system.sandbox("GET", "summary")
    assert {name: vendor["repeated"] for name, vendor in vendors.items()} == dict.fromkeys(vendors, 0)
    assert psutil.Process(system.process.pid).is_running()
