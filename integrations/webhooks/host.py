"""Hosting the sender in a Celery worker process: started with the worker, ended after what is under way."""

import os
from typing import Any

from celery.signals import celeryd_after_setup, worker_shutdown, worker_shutting_down

from integrations.webhooks.sender import Sender


class _Hosted:
    sender: Sender | None = None


def connect() -> None:
    """Join the worker's signals; in every other process nothing happens."""
    celeryd_after_setup.connect(_start, weak=False, dispatch_uid="weir_sender_start")
    worker_shutting_down.connect(_begin_stop, weak=False, dispatch_uid="weir_sender_begin_stop")
    worker_shutdown.connect(_stop, weak=False, dispatch_uid="weir_sender_stop")


def _start(**kwargs: Any) -> None:
    _Hosted.sender = Sender(on_broken=_end_process)
    _Hosted.sender.start()


def _begin_stop(**kwargs: Any) -> None:
    if _Hosted.sender is not None:
        _Hosted.sender.begin_stop()


def _stop(**kwargs: Any) -> None:
    if _Hosted.sender is not None:
        _Hosted.sender.stop()


def _end_process() -> None:
    """As a broken lane runner: the supervisor starts a fresh process."""
    os._exit(70)
