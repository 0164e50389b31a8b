"""`python -m tests.chaos.forge`: makes worker processes by forking one that has loaded everything, in milliseconds.

Reads one JSON command a line and answers each with a line: {"do": "work" | "run", "log": …, "odds": {…}} starts a Celery
worker with its runner, or the runner alone, and answers {"pid", "holder"} (the holder is null when the child died before
its runner stood), "send" the sender of
webhooks, {"do": "ended"} with {pid: exit code} of children that
have ended since, {"do": "accept" | "fill", …} with {"pid"} of a process that does this one thing and ends.
"""

import json
import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from config.boot import prepare

prepare()

import django  # noqa: E402

django.setup()

from celery.signals import worker_ready  # noqa: E402
from django.conf import settings  # noqa: E402

from config.celery import app  # noqa: E402
from integrations.webhooks import schedule  # noqa: E402
from integrations.webhooks.sender import Sender  # noqa: E402
from tenants.scope import tenant_scope  # noqa: E402
from tests.chaos import odds  # noqa: E402
from workflows.lanes import host  # noqa: E402
from workflows.lanes.runner import Runner  # noqa: E402
from workflows.lanes.watch import Watch  # noqa: E402
from workflows.operations.accept_run import accept_run, find_workflow  # noqa: E402
from workflows.operations.fill_run import fill_run  # noqa: E402


def _work(command: dict[str, Any], tell: int) -> None:
    """A Celery worker with its runner, as in production."""
    if url := command["odds"].get("broker"):
        app.conf.broker_url = url

    def ready(**kwargs: Any) -> None:
        runner = host._Hosted.runner
        os.write(tell, str(runner.holder if runner else "").encode())
        os.close(tell)

    worker_ready.connect(ready, weak=False)
    app.worker_main(
        ["worker", "-P", "threads", "-c", "2", "-Q", "rings,jobs", "-n", f"{os.getpid()}@chaos",
         "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    )  # fmt: skip


def _run(command: dict[str, Any], tell: int) -> None:
    """The lane runner alone, until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    runner = Runner(on_broken=host._end_process)
    runner.start()
    if command["odds"].get("watch_s"):
        Watch(runner, SimpleNamespace(concurrency=0), None).start()
    os.write(tell, str(runner.holder).encode())
    os.close(tell)
    stop.wait()
    runner.stop()


def _send(command: dict[str, Any], tell: int) -> None:
    """The sender of webhooks alone, until SIGTERM; it may call this machine, and does not wait for days."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings.WEBHOOKS_TO_LOOPBACK = True
    quick: Any = schedule
    quick.DELAYS_S, quick.RESTS_AFTER = (0.2,) * 9, 1_000
    sender = Sender(timeout_s=1.0, lease_s=2.0)
    sender.start()
    os.write(tell, b"sender")
    os.close(tell)
    stop.wait()
    sender.stop()


def _accept(command: dict[str, Any], _tell: int) -> None:
    with tenant_scope(uuid.UUID(command["tenant"])):
        accept_run(
            workflow=find_workflow("email-waterfall"), records=command["records"], actor="system:tests",
            source="api", livemode=True,
        )  # fmt: skip


def _fill(command: dict[str, Any], _tell: int) -> None:
    fill_run(uuid.UUID(command["tenant"]), uuid.UUID(command["run"]))


_WHAT: dict[str, Callable[[dict[str, Any], int], None]] = {
    "work": _work,
    "run": _run,
    "send": _send,
    "accept": _accept,
    "fill": _fill,
}


def _files_in(folder: str) -> dict[str, Any]:
    return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": folder}}


def _child(command: dict[str, Any], tell: int) -> None:
    """Never returns."""
    code = 1
    try:
        log = os.open(command["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        quiet = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((quiet, 0), (log, 1), (log, 2)):
            os.dup2(number, target)
        os.setpgid(0, 0)
        if folder := command.get("files"):
            settings.MEDIA_ROOT = folder
            settings.STORAGES = {**settings.STORAGES, "default": _files_in(folder)}
        odds.apply(command["odds"])
        _WHAT[command["do"]](command, tell)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    except BaseException:  # noqa: BLE001 - whatever it was, this process must not go on as the forge
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _fork(command: dict[str, Any]) -> dict[str, Any]:
    hear, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hear)
        _child(command, tell)
    os.close(tell)
    holder = b""
    if command["do"] in ("work", "run", "send"):
        while part := os.read(hear, 100):
            holder += part
    os.close(hear)
    return {"pid": pid, "holder": holder.decode() or None}


def _ended() -> dict[str, int]:
    codes: dict[str, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return codes
        if not pid:
            return codes
        codes[str(pid)] = os.waitstatus_to_exitcode(status)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        command = json.loads(line)
        out.write(json.dumps(_ended() if command["do"] == "ended" else _fork(command)) + "\n")


if __name__ == "__main__":
    main()
