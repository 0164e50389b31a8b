"""Hosting the runner in a Celery worker process: started with the worker, drained before it ends.

It does not wait for the broker: lanes are worked on without one.
"""

import gc
import os
import sys
from typing import Any

from celery.signals import celeryd_after_setup, worker_shutdown, worker_shutting_down
from django.conf import settings

from workflows.lanes.runner import Runner
from workflows.lanes.watch import Watch, touched_file

SWITCH_S = 0.001
"""A thread that has its answer from the database waits for so long at most for its turn beside the loop and the others;
each statement of a flush is such a wait. Python's own 5 ms are for threads that calculate."""


class _Hosted:
    runner: Runner | None = None
    watch: Watch | None = None


def connect() -> None:
    """Join the worker's signals; in every other process nothing happens."""
    celeryd_after_setup.connect(_start, weak=False, dispatch_uid="weir_runner_start")
    worker_shutting_down.connect(_drain, weak=False, dispatch_uid="weir_runner_drain")
    worker_shutdown.connect(_stop, weak=False, dispatch_uid="weir_runner_stop")


def _start(instance: Any, **kwargs: Any) -> None:
    # What is loaded by now stays: a full collection would look at a million objects of Django's in the middle of a flush.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    _Hosted.runner = Runner(on_broken=_end_process)
    _Hosted.runner.start()
    _Hosted.watch = Watch(_Hosted.runner, instance, touched_file(settings.DATA_DIR, instance.hostname))
    _Hosted.watch.start()


def _drain(**kwargs: Any) -> None:
    if _Hosted.watch is not None:
        _Hosted.watch.stop()
    if _Hosted.runner is not None:
        _Hosted.runner.begin_drain()


def _stop(**kwargs: Any) -> None:
    if _Hosted.runner is not None:
        _Hosted.runner.stop()


def _end_process() -> None:
    """A broken loop cannot be trusted with leases; the supervisor starts a fresh process."""
    os._exit(70)
