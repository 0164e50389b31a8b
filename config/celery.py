"""Celery: a doorbell and a clock. Nothing that must not be lost is kept in the broker; rows in PostgreSQL are the truth.

celery -A config.celery worker -P threads -c 4
celery -A config.celery beat
"""

from typing import Any

from celery import Celery
from celery.signals import worker_init
from django.conf import settings
from django_structlog.celery.steps import DjangoStructLogInitStep

from config.boot import prepare, refuse
from config.errors import CannotStart

if not settings.configured:  # started by celery's own command; manage.py and web have done it
    prepare()

RINGS = "rings"
"""Doorbells of lanes: short, many, harmless when lost."""
JOBS = "jobs"
"""Everything else: uploads, exports, notices."""

# A task that a killed worker held returns after the visibility timeout; the hard time limit is half of it, so that no
# task is handed out a second time while it still runs.
_TIME_LIMIT = 300

BEAT: dict[str, dict[str, Any]] = {
    "purge": {"task": "workflows.tasks.purge_expired", "schedule": 3600.0},
    "billing": {"task": "billing.tasks.sweep", "schedule": 20.0},
    "meter": {"task": "billing.tasks.meter", "schedule": 60.0},
    "stripe": {"task": "billing.tasks.catch_up", "schedule": 900.0},
    "quotas": {"task": "billing.tasks.tell_quotas", "schedule": 60.0},
    "usage": {"task": "billing.tasks.compare_usage", "schedule": 6 * 3600.0},
}

# A broker that is dead or silent must not hold up the request that rings: its row is safe, and the sweep finds it.
_WRITING = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "connect_retries_timeout": 1.0,
    "max_retries": 1,
}


class Weir(Celery):
    """Celery, whose messages go out soon or not at all; workers wait for theirs with more patience."""

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Any:
        options = {**(kwargs.pop("transport_options", None) or {}), **_WRITING}
        return super().connection_for_write(url, transport_options=options, **kwargs)


app = Weir("weir", task_cls="tenants.task_base:WeirTask")
# Else it is the current app of the thread that made it alone, and web's threads would ring at a broker that is not ours.
app.set_default()
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 2 * _TIME_LIMIT,
        "socket_timeout": 30,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "queue_order_strategy": "priority",
    },
    task_publish_retry=True,
    task_publish_retry_policy={
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.1,
    },
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=False,
    task_time_limit=_TIME_LIMIT,
    task_default_queue=JOBS,
    task_routes={"workflows.*.ring_lane": {"queue": RINGS}, "workflows.tasks.ring_*": {"queue": RINGS}},
    task_create_missing_queues=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_soft_shutdown_timeout=25,
    worker_enable_soft_shutdown_on_idle=True,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    enable_utc=True,
    timezone="UTC",
    beat_schedule=BEAT,
)
app.autodiscover_tasks()
app.steps["worker"].add(DjangoStructLogInitStep)


@worker_init.connect(weak=False)
def _check_vault(**kwargs: Any) -> None:
    # Models can be imported only now: the app is made while Django starts.
    from config.start import check_logins, check_vault

    try:
        check_logins()
        check_vault()
    except CannotStart as error:
        raise SystemExit(refuse(error)) from None
