"""kill -9 of every process, each in the middle of a run: the run completes with no help."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import destroy
from config.embedded.keeper import wait_until_gone
from tests.journeys.system import System

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.fixture
def system() -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="weir-kills-") as folder:
        data_dir = Path(folder) / "data"
        made = System(data_dir)
        yield made
        made.stop()
        wait_until_gone(data_dir, seconds=30)
        destroy(data_dir)


def test_a_run_completes_though_every_process_is_killed_once(system: System) -> None:
    system.connect_vendors(windows=[{"rate": 40, "period": 1}], parallelism=10)
    records = [
        {"first_name": f"Person{number}", "last_name": "Smith", "domain": f"firm{number}.example"}
        for number in range(400)
    ]
    run_id = system.call("POST", "/runs", {"workflow": "email-waterfall", "records": records})["id"]

    system.wait_for(run_id, seconds=60, until=30)
    assert system.kill("celery", "worker") >= 1
    system.wait_for(run_id, seconds=120, until=80)
    assert system.kill("granian") >= 1
    system.wait_for(run_id, seconds=120, until=140)
    assert system.kill("celery", "beat") >= 1
    assert system.kill_server("redis-server") >= 1
    system.wait_for(run_id, seconds=120, until=200)
    assert system.kill_server("postgres") >= 1

    run = system.wait_for(run_id, seconds=240)
    assert run["status"] == "completed"
    assert run["records"]["total"] == 400
    assert run["records"]["found"] + run["records"]["not_found"] == 400
    vendors = system.sandbox("GET", "summary")
    assert {name: vendor["over_limit"] for name, vendor in vendors.items()} == dict.fromkeys(vendors, 0)
    # Only what was stamped at a kill may have been asked twice: at most twice the parallelism per kill and vendor.
    assert all(vendor["repeated"] <= 2 * 10 * 2 for vendor in vendors.values())
    usage = system.call("GET", "/usage")
    assert usage["records"] == 400
    assert len(system.csv_of(run_id)) == 400
