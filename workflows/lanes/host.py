"""Hosting the runner in a Celery worker process: started when the worker is ready, drained before it ends."""

import os
from typing import Any

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down

from workflows.lanes.runner import Runner


class _Hosted:
    runner: Runner | None = None


def connect() -> None:
    """Join the worker's signals; in every other process nothing happens."""
    worker_ready.connect(_start, weak=False, dispatch_uid="weir_runner_start")
    worker_shutting_down.connect(_drain, weak=False, dispatch_uid="weir_runner_drain")
    worker_shutdown.connect(_stop, weak=False, dispatch_uid="weir_runner_stop")


def _start(**kwargs: Any) -> None:
    _Hosted.runner = Runner(on_broken=_end_process)
    _Hosted.runner.start()


def _drain(**kwargs: Any) -> None:
    if _Hosted.runner is not None:
        _Hosted.runner.begin_drain()


def _stop(**kwargs: Any) -> None:
    if _Hosted.runner is not None:
        _Hosted.runner.stop()


def _end_process() -> None:
    """A broken loop cannot be trusted with leases; the supervisor starts a fresh process."""
    os._exit(70)
