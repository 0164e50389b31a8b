"""Celery as every process of Weir has it."""

import threading

from celery import current_app
from django.conf import settings


def test_messages_go_to_the_same_broker_whatever_thread_sends_them() -> None:
    """Web answers requests in threads, and Celery remembers the current app per thread."""
    brokers: list[str] = []
    thread = threading.Thread(target=lambda: brokers.append(current_app.conf.broker_url))
    thread.start()
    thread.join()
    assert brokers == [settings.CELERY_BROKER_URL]
