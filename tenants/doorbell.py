"""Messages to workers that may be lost: what they tell of is in the database, and a sweep finds it."""

import threading
import time
from typing import Any

import structlog
from celery import current_app
from kombu.exceptions import OperationalError

from tenants.failpoints import reach

REST_SECONDS = 5.0
"""How long the broker is left alone after a failure, so that not every request waits for its timeout."""

log = structlog.get_logger(__name__)


class _Broker:
    """What this process knows of the broker."""

    rest_until = 0.0
    """On the monotonic clock."""
    silent = False
    """It did not take the last message: it is asked again beside the requests, which have waited once."""


def send(task: str, *args: Any) -> bool:
    """Have a worker run a task (its arguments as JSON has them); False when the message was not sent.

    The first that finds the broker away takes about 2 s at most, the others nothing until it is back.
    """
    if time.monotonic() < _Broker.rest_until:
        return False
    if not _Broker.silent:
        return _send(task, args)
    _Broker.rest_until = time.monotonic() + REST_SECONDS
    threading.Thread(target=_send, args=(task, args), name="doorbell", daemon=True).start()
    return False


def _send(task: str, args: tuple[Any, ...]) -> bool:
    try:
        current_app.send_task(task, args=list(args), ignore_result=True)
    except (OperationalError, OSError) as error:
        _Broker.silent, _Broker.rest_until = True, time.monotonic() + REST_SECONDS
        log.warning("ring_not_sent", task=task, about=list(args), error=type(error).__name__)
        return False
    forget_rest()
    reach("ring.sent")
    return True


def forget_rest() -> None:
    """Ask the broker again at once."""
    _Broker.silent, _Broker.rest_until = False, 0.0
