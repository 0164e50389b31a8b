"""House rules: the commands' names, the pins, the import directions, and what the landing runs."""

import re
import runpy
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from config.env import BASE_DIR
from tests import order
from tests.config.conftest import bare_environment

MAKEFILE = (BASE_DIR / "Makefile").read_text()
LOCK = (BASE_DIR / "requirements.lock").read_text()
PROJECT = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    "target", ["run", "install", "test", "check", "chaos", "bench", "help", "clean", "lock"]
)
def test_make_has_every_command_and_help_lists_it(target: str):
    assert re.search(rf"^{target}:.*##", MAKEFILE, re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=BASE_DIR, capture_output=True, text=True, timeout=30)
    assert f"make {target}" in shown.stdout


@pytest.mark.parametrize("target", ["run", "test", "check", "chaos", "bench"])
def test_every_command_installs_what_is_missing_first(target: str):
    assert re.search(rf"^{target}: install\b", MAKEFILE, re.MULTILINE)


def test_run_once_is_passed_on():
    def recipe(*arguments: str) -> str:
        command = ["make", "--dry-run", "run", *arguments]
        return subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, timeout=30).stdout

    assert "manage.py up --once" in recipe("ONCE=1")
    assert "--once" not in recipe()


def test_a_missing_python_is_explained():
    done = subprocess.run(
        ["make", "install", "PYTHON="], cwd=BASE_DIR, capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert "Weir needs Python 3.11" in done.stderr


def test_a_wrong_python_is_refused_by_the_installer():
    code = "import sys, runpy; sys.version_info = (3, 9, 1); runpy.run_path('config/install.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BASE_DIR, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "Weir needs Python 3.11" in done.stderr


def fake_python(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_python_that_was_compiled_with_profiles_is_preferred(tmp_path: Path):
    plain = 'case "$*" in *enable-optimizations*) exit 1;; esac'
    fake_python(tmp_path / "python3.11", plain)
    fake_python(tmp_path / "python3", "exit 0")

    def picked() -> str:
        command = ["/bin/sh", str(BASE_DIR / "config/pick_python.sh")]
        done = subprocess.run(
            command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30
        )
        return done.stdout.strip()

    assert picked() == "python3"
    fake_python(tmp_path / "python3", plain)
    assert picked() in ("python3.11", "/usr/bin/python3.11")
    for name in ("python3.11", "python3"):
        fake_python(tmp_path / name, "exit 1")
    assert picked() in ("", "/usr/bin/python3.11")


def test_an_environment_of_another_python_is_made_anew(monkeypatch: pytest.MonkeyPatch):
    install = runpy.run_path(str(BASE_DIR / "config/install.py"))
    assert install["_works"]()
    before = install["_fingerprint"]()
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")
    assert not install["_works"]()
    assert install["_fingerprint"]() != before


def test_the_lock_names_no_host_and_no_path_of_a_machine():
    assert not re.search(r"https?://|index-url|find-links|trusted-host|file:|@ ", LOCK)
    assert not re.search(r"/(home|root|tmp|work|opt|usr)/", LOCK)


def test_the_lock_pins_and_hashes_every_dependency_of_the_project():
    pins = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==\S+ \\\n(?:    --hash=sha256:[0-9a-f]{64}.*\n)+",
        LOCK,
        re.MULTILINE,
    )
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", line).group()) for line in wanted}  # type: ignore[union-attr]
    assert names <= {canonical(name) for name in pins}
    assert len(pins) == len(re.findall(r"^[A-Za-z0-9]", LOCK, re.MULTILINE))


def test_imports_run_one_way():
    done = subprocess.run(
        [str(BASE_DIR / ".venv" / "bin" / "lint-imports"), "--no-cache"],
        cwd=BASE_DIR,
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_the_import_contract_is_the_one_of_the_design():
    contracts = {contract["id"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    assert contracts["apps"]["layers"] == ["config", "workflows", "billing | integrations", "tenants"]
    assert set(contracts["inside"]["containers"]) == {"workflows", "billing", "integrations", "tenants"}


def test_the_landing_runs_make_test_requires_its_tools_and_ends_with_its_status(tmp_path):
    script = (BASE_DIR / ".ci" / "run").read_text()
    for status in (0, 7):
        stub = tmp_path / "make"
        stub.write_text(f'#!/bin/sh\necho "$WEIR_REQUIRE:$*" > {tmp_path}/called\nexit {status}\n')
        stub.chmod(0o755)
        for tool in ("chromium", "fc-list", "pgbouncer", "faketime"):
            (tmp_path / tool).write_text("#!/bin/sh\necho font\n")
            (tmp_path / tool).chmod(0o755)
        environment = bare_environment(PATH=f"{tmp_path}:/usr/bin:/bin")
        done = subprocess.run(
            ["bash", str(BASE_DIR / ".ci" / "run")], env=environment, stdin=subprocess.DEVNULL, timeout=30
        )
        assert done.returncode == status
        assert (tmp_path / "called").read_text() == "chromium,pgbouncer,faketime:test\n"
    assert "make test" in script


def test_the_procfile_names_every_process():
    lines = (BASE_DIR / "Procfile").read_text().splitlines()
    assert [line.split(":", 1)[0] for line in lines] == ["release", "web", "worker", "beat", "sandbox"]


def test_djangos_deployment_checks_are_clean():
    done = subprocess.run(
        [sys.executable, "-m", "config.deploy_check"],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_no_local_data_or_secret_is_tracked():
    tracked = subprocess.run(["git", "ls-files"], cwd=BASE_DIR, capture_output=True, text=True, timeout=30)
    names = tracked.stdout.splitlines()
    assert not [name for name in names if name == ".env" or name.startswith((".data/", ".venv/"))]


def test_the_files_that_are_begun_first_are_there():
    assert [name for name in order.LONGEST_FIRST if not (BASE_DIR / name).is_file()] == []
    assert len(set(order.LONGEST_FIRST)) == len(order.LONGEST_FIRST)


def test_an_index_that_is_built_beside_writers_can_be_built_again():
    """A build that dies leaves an invalid index of its name, and the migration is not applied: it has to go first."""
    from django.contrib.postgres.operations import AddIndexConcurrently
    from django.db.migrations import RunSQL
    from django.db.migrations.loader import MigrationLoader

    ours = ("tenants", "billing", "integrations", "workflows")
    built = 0
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        for before, operation in pairwise([None, *migration.operations]) if app in ours else ():
            if isinstance(operation, AddIndexConcurrently):
                built += 1
                dropped = before.sql if isinstance(before, RunSQL) else None
                assert dropped == f"DROP INDEX CONCURRENTLY IF EXISTS {operation.index.name}", (app, name)
    assert built >= 3
