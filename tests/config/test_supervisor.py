"""`manage.py up`, with real processes: it starts everything, mends what dies, and leaves nothing behind."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.embedded import destroy, running
from config.embedded.layout import make_layout
from config.embedded.processes import free_port, working_in
from config.env import BASE_DIR
from config.files import prepare_data_dir, read_json
from config.supervisor import child as child_module
from config.supervisor import plan
from config.supervisor.child import Child
from tests.config.conftest import bare_environment, eventually


def processes_of(data_dir: Path) -> dict[int, str]:
    """Every process that belongs to a data directory: by its environment, or because it serves it."""
    found = {}
    mark = f"WEIR_DATA_DIR={data_dir}\0".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if mark in (entry / "environ").read_bytes() + b"\0" and command:
                    found[int(entry.name)] = command
            except OSError:
                continue
    if data_dir.exists():
        layout = make_layout(data_dir)
        for folder, name in ((layout.pgdata, "postgres"), (layout.redis_dir, "redis-server")):
            found |= dict.fromkeys(working_in(folder, name), name)
    return found


def ready(port: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return {
            "code": answer.status,
            "cache": answer.getheader("Cache-Control"),
            **json.loads(answer.read()),
        }
    except (OSError, http.client.HTTPException):
        return {"code": 0}
    finally:
        connection.close()


@dataclass
class Up:
    process: subprocess.Popen[str]
    data_dir: Path
    port: int

    def pid_of(self, *words: str) -> int:
        """The process whose command has these words; of several (a web worker and its parent), the first."""
        found = processes_of(self.data_dir).items()
        return min((pid for pid, command in found if all(word in command for word in words)), default=0)


def environment(data_dir: Path, port: int) -> dict[str, str]:
    return bare_environment(WEIR_ENV="test", WEIR_DATA_DIR=str(data_dir), PORT=str(port))


def start_up(data_dir: Path, port: int) -> subprocess.Popen[str]:
    with (data_dir.parent / "out").open("a") as out:
        return subprocess.Popen(
            [sys.executable, "manage.py", "up", "--no-demo"],
            cwd=BASE_DIR,
            env=environment(data_dir, port),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with tempfile.TemporaryDirectory(prefix="weir-up-") as folder:
        data_dir, port = Path(folder) / "data", free_port(None)
        process = start_up(data_dir, port)
        try:
            assert eventually(lambda: ready(port)["code"] == 200, seconds=90), (
                Path(folder) / "out"
            ).read_text()
            yield Up(process, data_dir, port)
        finally:
            process.kill()
            process.wait()
            assert eventually(lambda: not processes_of(data_dir), seconds=60)
            destroy(data_dir)


def test_everything_runs_and_readiness_names_its_parts(up: Up):
    answer = ready(up.port)
    assert (answer["code"], answer["cache"]) == (200, "no-store")
    assert answer["parts"] == {"database": "ok", "broker": "ok", "migrations": "ok"}
    for words in (
        ["granian"],
        ["celery", "worker"],
        ["celery", "beat"],
        ["integrations.sandbox"],
        ["postgres"],
    ):
        assert up.pid_of(*words), words


def test_another_up_says_that_it_is_already_running(up: Up):
    done = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=BASE_DIR,
        env=environment(up.data_dir, up.port),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert f"already running at http://localhost:{up.port}" in done.stderr
    assert ready(up.port)["code"] == 200


@pytest.mark.parametrize(
    "words",
    [["granian"], ["celery", "worker"], ["celery", "beat"], ["integrations.sandbox"], ["config.embedded"]],
    ids=["web", "worker", "beat", "sandbox", "keeper"],
)
def test_what_is_killed_comes_back(up: Up, words: list[str]):
    old = up.pid_of(*words)
    assert old, "it does not run, and killing 0 would kill whoever runs the tests"
    os.kill(old, signal.SIGKILL)
    assert eventually(lambda: up.pid_of(*words) not in (0, old), seconds=30)
    assert eventually(lambda: ready(up.port)["code"] == 200, seconds=30)


def test_killed_servers_come_back_where_they_were(up: Up):
    def pids() -> list[int]:
        return [read_json(up.data_dir / "run" / f"{name}.json")["pid"] for name in ("postgres", "redis")]

    # An earlier test may have replaced the keeper: wait until its servers are the ones on record.
    assert eventually(
        lambda: running(up.data_dir) and set(pids()) <= processes_of(up.data_dir).keys(), seconds=30
    )
    before, killed = running(up.data_dir), pids()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: running(up.data_dir) == before and not set(pids()) & set(killed), seconds=30)
    assert eventually(lambda: ready(up.port)["code"] == 200, seconds=30)


def test_a_killed_supervisor_leaves_nothing_and_the_next_stops_in_order(up: Up):
    """Kills the module's `up`, starts another over what it left, and stops that one as Ctrl-C does."""
    up.process.kill()
    up.process.wait()
    assert eventually(lambda: not processes_of(up.data_dir), seconds=60), processes_of(up.data_dir)

    second = start_up(up.data_dir, up.port)
    try:
        assert eventually(lambda: ready(up.port)["code"] == 200, seconds=60)
        second.send_signal(signal.SIGINT)
        assert second.wait(80) == 0
        assert processes_of(up.data_dir) == {}
    finally:
        second.kill()
        second.wait()


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=BASE_DIR,
            env=environment(tmp_path / "data", port),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 2
    assert f"Port {port} is taken" in done.stderr
    assert f"make run PORT={port + 1}" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "data" / "logs").exists() or not list((tmp_path / "data" / "logs").iterdir())


def test_the_sandbox_keeps_its_port_but_never_takes_the_one_that_is_to_be_served_on(tmp_path: Path):
    prepare_data_dir(tmp_path)
    first = plan.sandbox_port(tmp_path, free_port(None))
    assert plan.sandbox_port(tmp_path, first + 7) == first
    moved = plan.sandbox_port(tmp_path, first)
    assert moved != first
    assert read_json(tmp_path / "run" / "sandbox.json")["port"] == moved
    assert plan.sandbox_port(tmp_path, 65535) == moved


def test_up_is_refused_where_embedded_servers_are():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from config.deploy_check import *; import json; print(json.dumps(production_values()))",
        ],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=30,
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=BASE_DIR,
        env=bare_environment(**json.loads(done.stdout)),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "local use" in done.stderr


# --- One child ----------------------------------------------------------------------------------------------------------


def child_that(code: str, folder: Path) -> Child:
    argv = [sys.executable, "-c", code]
    return Child("child", argv, env=bare_environment(), cwd=folder, log=folder / "child.log")


def test_a_child_that_keeps_dying_is_started_with_growing_pauses_and_few_words(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(child_module, "FIRST_PAUSE", 0.05)
    child = child_that("raise SystemExit(3)", tmp_path)
    child._pause = 0.05
    child.start()
    told, starts, deadline = [], [child.pid], time.monotonic() + 20
    while child.restarts < 6 and time.monotonic() < deadline:
        news = child.tend()
        if news:
            told.append(news)
        if child.pid != starts[-1]:
            starts.append(child.pid)
        time.sleep(0.005)
    child.finish()
    assert child.restarts == 6
    assert len(starts) >= 6
    assert child._pause == pytest.approx(0.05 * 2**6)
    assert len(told) == child_module.TOLD_DEATHS
    assert "exit 3" in told[0]
    assert "keeps stopping" in told[-1]


def test_pauses_have_an_upper_bound(tmp_path: Path):
    child = child_that("raise SystemExit(1)", tmp_path)
    child._pause = child_module.LONGEST_PAUSE
    child.start()
    assert eventually(lambda: not child.alive)
    child.tend()
    assert child._pause == child_module.LONGEST_PAUSE
    child.finish()


SPAWNING = "import subprocess, time; p = subprocess.Popen(['sleep', '300']); print(p.pid, flush=True); time.sleep(300)"


@pytest.mark.parametrize("ending", ["killed", "finished"])
def test_what_a_child_started_goes_with_it(tmp_path: Path, ending: str):
    child = child_that(SPAWNING, tmp_path)
    child.start()
    assert eventually(lambda: (tmp_path / "child.log").read_text().strip())
    grandchild = int((tmp_path / "child.log").read_text())
    if ending == "killed":
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        assert eventually(lambda: not child.alive)
        child.tend()
    else:
        child.finish()
    stat = Path(f"/proc/{grandchild}/stat")
    assert eventually(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")
    child.finish()


def test_a_step_runs_once(tmp_path: Path):
    step = Child("step", ["true"], env=bare_environment(), cwd=tmp_path, log=tmp_path / "log", restart=False)
    step.start()
    assert eventually(lambda: not step.alive)
    assert step.tend() is None
    assert (step.code, step.restarts) == (0, 0)
    step.finish()


TOUCHING = (
    "import pathlib, sys, time\nfile = pathlib.Path(sys.argv[1])\nwhile True: file.touch(); time.sleep(0.02)"
)


def test_a_child_that_lives_but_shows_no_work_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "SILENT_SECONDS", 0.5)
    file = tmp_path / "alive"
    child = Child(
        "worker", [sys.executable, "-c", TOUCHING, str(file)], env=bare_environment(), cwd=tmp_path,
        log=tmp_path / "log", touches=file,
    )  # fmt: skip
    child.start()
    told: list[str] = []

    def tend() -> bool:
        if news := child.tend():
            told.append(news)
        return False

    assert eventually(file.exists)
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:  # works: left alone
        tend()
        time.sleep(0.01)
    assert told == []
    first = child.pid
    assert first
    os.kill(first, signal.SIGSTOP)
    assert eventually(lambda: tend() or child.pid != first)
    assert "lived but did not work" in told[0]
    child.finish()


def test_a_child_that_never_shows_work_has_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(child_module, "START_SECONDS", 0.6)
    child = Child(
        "worker", ["sleep", "300"], env=bare_environment(), cwd=tmp_path, log=tmp_path / "log",
        touches=tmp_path / "never",
    )  # fmt: skip
    began = time.monotonic()
    child.start()
    assert eventually(lambda: "did not work" in (child.tend() or ""))
    assert time.monotonic() - began >= 0.6
    child.finish()


def test_the_demo_sells_by_the_sandbox_unless_keys_are_given(tmp_path: Path):
    (tmp_path / "run").mkdir()
    options = plan.Options(tmp_path, 8000)
    first = plan.child_environment(options, {}, sandbox_port=8001)
    assert first["STRIPE_API_BASE"] == "http://127.0.0.1:8001/stripe"
    assert first["STRIPE_WEBHOOK_SECRET"].startswith("whsec_")
    assert plan.child_environment(options, {}, sandbox_port=8001) == first
    own = {"STRIPE_SECRET_KEY": "sk_test_own", "STRIPE_WEBHOOK_SECRET": "whsec_own"}
    assert "STRIPE_API_BASE" not in plan.child_environment(options, own, sandbox_port=8001)
    assert "STRIPE_SECRET_KEY" not in plan.child_environment(
        plan.Options(tmp_path, 8000, demo=False), {}, sandbox_port=8001
    )
