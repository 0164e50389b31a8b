"""The embedded Redis: launch, recover from a crash, stop."""

import json
import signal
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.embedded.errors import EmbeddedError
from config.embedded.layout import Layout, own_file, own_folder
from config.embedded.processes import free_port, signal_all, spawn, stop_child, tail, wait_until, working_in
from config.files import read_json, write_private

_START_SECONDS = 60


def launch(layout: Layout, password: str, *, fsync: bool, port: int | None = None) -> subprocess.Popen[bytes]:
    """Start the server on `port` (else the recorded or a free one) and wait until it answers. Raises EmbeddedError."""
    own_folder(layout, layout.redis_dir)
    clear_leftovers(layout)
    chosen = port or free_port(recorded_port(layout.data_dir))
    own_file(layout, layout.redis_conf, _config(layout, password, chosen, fsync=fsync))
    child = spawn(
        [layout.redis_program, str(layout.redis_conf)],
        log=layout.log("redis"),
        cwd=layout.home,
        account=layout.account,
        death_signal=signal.SIGTERM,
    )
    write_private(layout.record("redis"), json.dumps({"port": chosen, "pid": child.pid}))
    wait_until(lambda: child.poll() is not None or answers(chosen, password), seconds=_START_SECONDS)
    if child.poll() is None and answers(chosen, password):
        return child
    stop(child)
    raise EmbeddedError(f"Redis did not start; {layout.log('redis')} ends with:\n{tail(layout.log('redis'))}")


def _config(layout: Layout, password: str, port: int, *, fsync: bool) -> str:
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{layout.redis_dir}"',
        "daemonize no",
        'pidfile ""',
        'save ""',
        "appendonly yes",
        f"appendfsync {'everysec' if fsync else 'no'}",
        "maxmemory-policy noeviction",
        "loglevel notice",
    ]
    return "\n".join(lines) + "\n"


def recorded_port(data_dir: Path) -> int | None:
    """The port that the server last listened on."""
    return read_json(data_dir / "run" / "redis.json").get("port")


def url(password: str, port: int) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def answers(port: int, password: str) -> bool:
    """Whether our server (it knows our password) answers on this port and has loaded its data."""
    client = redis.Redis(
        host="127.0.0.1",
        port=port,
        password=password,
        socket_timeout=3,
        socket_connect_timeout=3,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def clear_leftovers(layout: Layout) -> None:
    """Stop an orphan of ours: a redis-server that works in our folder."""
    for number, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        signal_all(working_in(layout.redis_dir, "redis-server"), number)
        if wait_until(lambda: not working_in(layout.redis_dir, "redis-server"), seconds=seconds):
            return
    raise EmbeddedError(f"An old Redis in {layout.redis_dir} cannot be stopped.")


def stop(child: subprocess.Popen[bytes]) -> None:
    """Orderly shutdown: what was written is on disk afterwards."""
    stop_child(child, number=signal.SIGTERM, seconds=20)
