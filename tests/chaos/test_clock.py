"""T7: a machine's clock that jumps neither frees a lease early nor starts anything late: times are the database's or
monotonic."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.env import BASE_DIR
from tests.chaos.campaign import Books, Field, contacts, hold, show, until
from tests.chaos.crew import Crew
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

TOOL = "faketime"
LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)
JUMP_S = 600

# Who may ask the machine what time it is, and what for. Nothing of it may decide when a lease ends or a step starts.
ALLOWED = {
    ("workflows/lanes/caller.py", "time.time"): "when a call began and ended, for the history",
    ("workflows/lanes/jobs.py", "time.time"): "when a job began, for the history",
    ("workflows/lanes/outcome.py", "time.time"): "when an answer was posted, for the history",
}
ENGINE = (
    "workflows/lanes/*.py",
    "workflows/operations/*.py",
    "tenants/leaving.py",
    "tenants/doorbell.py",
)
WALL = {
    "time.time",
    "time.time_ns",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "timezone.now",
    "date.today",
}


def _wall_clock(path: Path) -> Iterator[tuple[int, str]]:
    """Where a module asks for wall-clock time: line and name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in WALL:
                yield node.lineno, name


def test_no_lease_and_no_schedule_goes_by_the_machines_clock() -> None:
    files = sorted({path for pattern in ENGINE for path in BASE_DIR.glob(pattern)})
    assert len(files) > 15
    found = {
        (path.relative_to(BASE_DIR).as_posix(), name): line
        for path in files
        for line, name in _wall_clock(path)
    }
    assert set(found) <= set(ALLOWED), f"wall-clock time in the engine: {set(found) - set(ALLOWED)}"
    assert set(ALLOWED) <= set(found), "an exception that is no longer needed"


def test_the_lint_sees_wall_clock_time(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text("import time\n\ndef until():\n    return time.time() + 10\n")
    assert list(_wall_clock(file)) == [(4, "time.time")]


@pytest.fixture
def jumping(committed: None, sandbox: Sandbox, tmp_path: Path) -> Iterator[tuple[Crew, Path]]:
    """Workers whose wall clock is what a file says; their monotonic clock is everybody's."""
    library = next((path for path in LIBRARIES if Path(path).exists()), None)
    if library is None:
        if TOOL in os.environ.get("WEIR_REQUIRE", ""):
            pytest.fail("libfaketime is missing")
        pytest.skip("libfaketime is not installed: clocks that jump are not tested")
    file = tmp_path / "clock"
    file.write_text("+0")
    crew = Crew(
        tmp_path, sandbox.url,
        environment={
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        },
    )  # fmt: skip
    yield crew, file
    crew.stop()


@pytest.mark.parametrize(
    "jump", [JUMP_S, pytest.param(-JUMP_S, marks=pytest.mark.campaign)], ids=["forward", "back"]
)
def test_a_clock_that_jumps_takes_no_lease_and_delays_nothing(
    field: Field, jumping: tuple[Crew, Path], books: Books, jump: int
) -> None:
    crew, file = jumping
    field.run(field.tenant(parallelism=4, windows=[{"rate": 20, "period": 1}]), contacts(60))
    field.sandbox.fault("prospeo", "status_500", count=5)  # so that some steps wait for their next attempt
    holders = {crew.start(lease_s=3.0, call_s=8.0).holder, crew.start(lease_s=3.0, call_s=8.0).holder}
    until(lambda: books.left() <= 45, seconds=60, what="records end")
    held = "SELECT lane_id, holder FROM lane_state WHERE holder IS NOT NULL"
    before = dict(books.rows(held))
    file.write_text(f"{jump:+d}")
    until(lambda: books.left() <= 25, seconds=30, what="records go on")
    after = dict(books.rows(held))
    stolen = [lane for lane in before.keys() & after.keys() if before[lane] != after[lane]]
    until(lambda: books.left() == 0, seconds=60, what="all records end")
    late = books.rows("SELECT count(*) FROM step WHERE status = 'late' OR outcome = 'timeout'")[0][0]
    found = field.compare()
    show(
        f"T7: the clock jumps by {jump:+d} s",
        {"workers": len(holders), "leases stolen": len(stolen), "late answers": late},
    )
    assert (stolen, late) == ([], 0)
    hold(found, bound=0)
