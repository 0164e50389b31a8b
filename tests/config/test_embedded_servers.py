"""The embedded servers' life: they start, keep data, survive every kind of end, and leave nothing behind."""

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.embedded import AlreadyHeld, Endpoints, Handle, destroy, provide, running, start, use
from config.embedded.keeper import has_users, wait_until_gone
from config.embedded.layout import Layout, make_layout
from config.embedded.processes import as_account, clean_environment, signal_all, working_in
from config.files import read_json
from tests.config.conftest import Run, eventually

Boot = Callable[[], Handle]


def ask(endpoints: Endpoints, query: str, name: str = "DATABASE_OWNER_URL") -> object:
    with psycopg.connect(endpoints.urls[name], autocommit=True) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def store(endpoints: Endpoints) -> redis.Redis:
    return redis.Redis.from_url(endpoints.urls["REDIS_URL"])


def server_pids(layout: Layout) -> list[int]:
    return working_in(layout.pgdata, "postgres") + working_in(layout.redis_dir, "redis-server")


def kill_everything(handle: Handle) -> None:
    signal_all(server_pids(handle.layout), signal.SIGKILL)
    assert eventually(lambda: not server_pids(handle.layout))


@pytest.fixture
def boot(data_dir: Path):
    """Starts the servers of the test's data directory; what it started is stopped however the test ends."""
    started: list[Handle] = []

    def boot() -> Handle:
        started.append(start(data_dir, fsync=False))
        return started[-1]

    yield boot
    for handle in started:
        handle.stop()


@pytest.fixture
def handle(boot: Boot) -> Handle:
    """Servers of the test's own, to be broken."""
    return boot()


@pytest.fixture(scope="module")
def served():
    """Servers that several tests look at."""
    with tempfile.TemporaryDirectory(prefix="weir-test-") as folder:
        handle = start(Path(folder) / "data", fsync=False)
        yield handle
        handle.stop()
        destroy(handle.layout.data_dir)


def test_every_login_reaches_the_database_as_itself_and_none_is_a_superuser(served: Handle):
    logins = {
        "DATABASE_URL": "weir_app",
        "DATABASE_OPS_URL": "weir_ops",
        "DATABASE_OWNER_URL": "weir_owner",
        "DATABASE_READONLY_URL": "weir_readonly",
        "DATABASE_BACKUP_URL": "weir_backup",
    }
    for name, login in logins.items():
        query = "SELECT concat_ws(' ', current_user, current_database(), current_setting('is_superuser'))"
        assert ask(served.endpoints, query, name) == f"{login} weir off"
    assert ask(served.endpoints, "SELECT current_user::text", "DATABASE_ADMIN_URL") == "weir_admin"


def test_text_is_utf8_time_is_utc_and_nothing_listens_beyond_loopback(served: Handle):
    wanted = {
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "listen_addresses": "127.0.0.1",
        "password_encryption": "scram-sha-256",
    }
    assert {name: ask(served.endpoints, f"SHOW {name}") for name in wanted} == wanted
    assert store(served.endpoints).config_get("bind")["bind"] == "127.0.0.1"


def test_redis_evicts_nothing_keeps_a_log_and_wants_its_password(served: Handle):
    config = store(served.endpoints).config_get("*")
    assert (config["maxmemory-policy"], config["appendonly"]) == ("noeviction", "yes")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host="127.0.0.1", port=served.endpoints.redis_port, retry=Retry(NoBackoff(), 0)).get("x")


def test_passwords_are_readable_by_their_owner_alone_and_shown_by_no_repr(served: Handle):
    credentials = served.layout.data_dir / "credentials.json"
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert stat.S_IMODE(served.layout.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(served.layout.pgdata.stat().st_mode) == 0o700
    secrets = json.loads(credentials.read_text())
    assert not any(secret in repr(served.endpoints) for secret in secrets.values())
    for pid in server_pids(served.layout):
        command = Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(secret in command for secret in secrets.values())


def test_as_root_the_servers_run_as_somebody_else(served: Handle):
    for pid in server_pids(served.layout):
        owner = Path(f"/proc/{pid}").stat().st_uid
        assert owner != 0
        assert owner == (served.layout.account.uid if served.layout.account else os.getuid())


def test_the_same_data_directory_is_not_served_twice(served: Handle):
    with pytest.raises(AlreadyHeld):
        start(served.layout.data_dir)
    assert running(served.layout.data_dir) == served.endpoints


def test_data_and_ports_survive_a_stop_and_nothing_is_left_running(data_dir: Path, boot: Boot):
    first = boot()
    endpoints = first.endpoints
    ask(endpoints, "CREATE TABLE public.kept AS SELECT 42 AS value")
    store(endpoints).set("kept", "42")
    first.stop()
    assert server_pids(first.layout) == []
    assert running(data_dir) is None

    second = boot()
    assert second.endpoints == endpoints
    assert ask(second.endpoints, "SELECT value FROM public.kept") == 42
    assert store(second.endpoints).get("kept") == b"42"


def test_a_start_survives_leftovers_whose_process_number_belongs_to_somebody_else(data_dir: Path, boot: Boot):
    first = boot()
    ask(first.endpoints, "CREATE TABLE public.kept AS SELECT 42 AS value")
    kill_everything(first)
    lock_file = first.layout.pgdata / "postmaster.pid"
    assert lock_file.exists()
    first.stop()

    stranger = subprocess.Popen(["sleep", "60"], cwd="/", **as_account(first.layout.account))
    try:
        lines = lock_file.read_text().splitlines()
        lock_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        second = boot()
        assert ask(second.endpoints, "SELECT value FROM public.kept") == 42
        assert stranger.poll() is None
        second.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_orphan_of_ours_is_stopped_and_replaced(data_dir: Path, boot: Boot):
    first = boot()
    layout, port = first.layout, first.endpoints.postgres_port
    first.stop()
    orphan = subprocess.Popen(
        [layout.postgres_program("postgres"), "-D", str(layout.pgdata), "-c", f"port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=layout.home,
        env=clean_environment(),
        **as_account(layout.account),
    )
    assert eventually((layout.pgdata / "postmaster.pid").exists)

    second = boot()
    assert orphan.wait(10) == 0
    assert ask(second.endpoints, "SELECT 1") == 1


def test_an_interrupted_initdb_is_started_over(data_dir: Path, boot: Boot):
    layout = make_layout(data_dir)
    fresh = layout.pgdata.with_name("postgres.new")
    fresh.mkdir()
    (fresh / "PG_VERSION").write_text("18\n")
    handle = boot()
    assert ask(handle.endpoints, "SELECT 1") == 1


def test_a_server_that_dies_comes_back_with_its_data_on_the_same_port(handle: Handle):
    before = handle.endpoints
    ask(before, "CREATE TABLE public.kept AS SELECT 42 AS value")
    os.kill(handle.postgres_pid, signal.SIGKILL)
    os.kill(handle.redis_pid, signal.SIGKILL)
    assert eventually(lambda: handle.tend() or running(handle.layout.data_dir))
    assert eventually(lambda: not handle.tend() and running(handle.layout.data_dir) == before)
    assert ask(before, "SELECT value FROM public.kept") == 42


def test_destroy_refuses_while_running_and_removes_everything_afterwards(data_dir: Path, boot: Boot):
    handle = boot()
    with pytest.raises(AlreadyHeld):
        destroy(data_dir)
    handle.stop()
    destroy(data_dir)
    assert not data_dir.exists()
    assert not handle.layout.home.exists()


def test_a_new_data_directory_at_an_old_path_starts_afresh(data_dir: Path, boot: Boot):
    first = boot()
    ask(first.endpoints, "CREATE TABLE public.kept AS SELECT 42 AS value")
    first.stop()
    for path in sorted(data_dir.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    second = boot()
    assert ask(second.endpoints, "SELECT to_regclass('public.kept')::text") is None
    assert second.layout.home == first.layout.home or not first.layout.home.exists()


HOLD = """
import os, sys, time
from pathlib import Path
from config.embedded import provide
provide(os.environ, Path(sys.argv[1]))
print(os.environ["DATABASE_URL"], flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_roots_servers_keep_data_elsewhere_and_say_when_it_is_lost(
    data_dir: Path, boot: Boot, run_python: Run
):
    first = boot()
    first.stop()
    if os.geteuid() != 0:
        assert first.layout.home == data_dir
        return
    shutil.rmtree(first.layout.home)
    command = run_python(HOLD, str(data_dir), "0", WEIR_ENV="test")
    told, _ = command.communicate(timeout=30)
    assert command.returncode == 0
    assert f"{first.layout.home} is gone" in told
    assert "postgresql://weir_app:" in told


def test_commands_at_the_same_time_share_the_servers_and_the_last_one_ends_them(
    data_dir: Path, run_python: Run
):
    short, long = (run_python(HOLD, str(data_dir), seconds, WEIR_ENV="test") for seconds in ("0.5", "60"))
    first, second = short.stdout.readline(), long.stdout.readline()  # type: ignore[union-attr]
    assert first == second
    assert first.startswith("postgresql://weir_app:")
    assert short.wait(20) == 0
    assert running(data_dir) is not None

    long.kill()
    layout = make_layout(data_dir)
    assert eventually(lambda: not server_pids(layout))


def test_releasing_says_at_once_when_others_go_on_using_the_servers(data_dir: Path, run_python: Run):
    other = run_python(HOLD, str(data_dir), "60", WEIR_ENV="test")
    assert other.stdout.readline()  # type: ignore[union-attr]
    ours = use(data_dir, fsync=False)
    ours.release()
    assert has_users(data_dir)
    assert not wait_until_gone(data_dir, seconds=30)
    assert running(data_dir) == ours.endpoints
    other.kill()
    other.wait()
    assert wait_until_gone(data_dir, seconds=30)
    assert not has_users(data_dir)
    assert running(data_dir) is None


def test_servers_do_not_outlive_their_keeper(data_dir: Path, run_python: Run):
    holder = run_python(HOLD, str(data_dir), "60", WEIR_ENV="test")
    assert holder.stdout.readline()  # type: ignore[union-attr]
    layout = make_layout(data_dir)
    keeper = int(Path(f"/proc/{read_json(layout.record('postgres'))['pid']}/stat").read_text().split()[3])
    os.kill(keeper, signal.SIGKILL)
    assert eventually(lambda: not server_pids(layout))


def test_the_keeper_starts_a_killed_server_again(data_dir: Path, run_python: Run):
    holder = run_python(HOLD, str(data_dir), "60", WEIR_ENV="test")
    url = holder.stdout.readline().strip()  # type: ignore[union-attr]
    layout = make_layout(data_dir)
    old = read_json(layout.record("postgres"))["pid"]
    os.kill(old, signal.SIGKILL)
    assert eventually(lambda: read_json(layout.record("postgres"))["pid"] != old and running(data_dir))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "environ",
    [
        {"WEIR_ENV": "production"},
        {"WEIR_ENV": "staging"},
        {"WEIR_ENV": "local", "DATABASE_URL": "postgresql://a@b/c", "REDIS_URL": "redis://b"},
    ],
)
def test_nothing_is_started_where_it_is_not_allowed_or_not_needed(environ: dict[str, str], data_dir: Path):
    before = dict(environ)
    assert provide(environ, data_dir) is None
    assert environ == before
    assert not data_dir.exists()
