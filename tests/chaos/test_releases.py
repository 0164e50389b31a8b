"""A release under load: the database goes on to this code's migrations, back and on again, while web and workers of the
release before are at work. No request fails, nothing is lost, and no statement of a migration waits for longer than the
owner's lock_timeout (tenants/roles.py): it is run as `release` of the Procfile runs it."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import destroy
from config.embedded.keeper import wait_until_gone
from config.env import BASE_DIR
from tests.journeys.system import System

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]
APPS = ("tenants", "integrations", "billing", "workflows")
RECORDS = int(os.environ.get("WEIR_RELEASE_RECORDS", "1000"))


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=BASE_DIR, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def migrations_at(commit: str) -> dict[str, str]:
    """app -> its last migration in a commit."""
    last = {}
    for app in APPS:
        names = [
            Path(name).stem for name in git("ls-tree", "--name-only", commit, f"{app}/migrations/").split()
        ]
        last[app] = max(name for name in names if name[0].isdigit())
    return last


@pytest.fixture
def release_before() -> Iterator[tuple[Path, dict[str, str]]]:
    """The code from before the newest migration, in a folder of its own, and the migrations that it knows."""
    newest = git(
        "log", "-1", "--diff-filter=A", "--format=%H", "--", *(f"{app}/migrations/0*.py" for app in APPS)
    )
    if not newest:
        pytest.fail(
            "The history of the repository is needed: a shallow clone does not have the release before."
        )
    with tempfile.TemporaryDirectory(prefix="weir-release-") as folder:
        tree = Path(folder) / "weir"
        git("worktree", "add", "--detach", str(tree), f"{newest}^")
        (tree / ".venv").symlink_to(BASE_DIR / ".venv")
        try:
            yield tree, migrations_at(f"{newest}^")
        finally:
            git("worktree", "remove", "--force", str(tree))


class Released(System):
    def __init__(self, data_dir: Path, tree: Path) -> None:
        self.folder = tree
        super().__init__(data_dir)

    def migrate(self, *where: str) -> float:
        """As `release` does, with this code; how many seconds it took."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", *where], cwd=BASE_DIR, capture_output=True, text=True,
            env=self.environment, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return time.monotonic() - began


def test_migrations_up_down_and_up_again_under_load(release_before: tuple[Path, dict[str, str]]) -> None:
    tree, before = release_before
    with tempfile.TemporaryDirectory(prefix="weir-release-data-") as folder:
        data_dir = Path(folder) / "data"
        system = Released(data_dir, tree)
        try:
            _migrate_under_load(system, before)
        finally:
            system.stop()
            wait_until_gone(data_dir, seconds=30)
            destroy(data_dir)


def _migrate_under_load(system: Released, before: dict[str, str]) -> None:
    system.connect_vendors(windows=[{"rate": 12, "period": 1}], parallelism=10)
    records = [
        {"first_name": f"Person{number}", "last_name": "Everyone", "domain": f"firm{number}.example"}
        for number in range(RECORDS)
    ]
    run_id = system.call("POST", "/runs", {"workflow": "email-waterfall", "records": records[:1000]})["id"]
    answers: Counter[str] = Counter()
    small: list[str] = []
    over = threading.Event()

    def ask() -> None:
        """What integrators do, each request once: a failure is a failure."""
        number = 0
        while not over.is_set():
            number += 1
            try:
                system.call("GET", f"/runs/{run_id}")
                system.call("GET", f"/runs/{run_id}/records?limit=20")
                body = {
                    "workflow": "email-waterfall",
                    "records": [{**records[0], "domain": f"small{number}.example"}],
                }
                small.append(system.call("POST", "/runs", body)["id"])
                answers["fine"] += 3
            except (AssertionError, OSError) as error:
                answers[str(error)[:200]] += 1
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    took: list[tuple[str, float]] = []
    try:
        took.append(("on", system.migrate()))
        for app, name in before.items():
            took.append((f"{app} back to {name}", system.migrate(app, name)))
        took.append(("on again", system.migrate()))
    finally:
        over.set()
        asking.join()
    print(f"\nmigrations: {took}\nrequests: {dict(answers)}")
    assert answers.keys() == {"fine"}, answers
    run = system.wait_for(run_id, seconds=300)
    counts = run["records"]
    assert counts["found"] + counts["not_found"] == counts["total"] == min(RECORDS, 1000)
    ended = [system.wait_for(id_, seconds=60)["records"] for id_ in small]
    assert all(counts["found"] + counts["not_found"] == 1 for counts in ended)
    vendors = system.sandbox("GET", "summary")
    assert {
        name: (vendor["over_limit"], vendor["repeated"]) for name, vendor in vendors.items()
    } == dict.fromkeys(vendors, (0, 0))
