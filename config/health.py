"""Liveness, readiness and metrics: cheap, bounded in time, never stored.

Whether work is attended to is told beside readiness and does not decide it: web that is taken away because workers
are stuck would help nobody. `manage.py health` fails for it.
"""

import math
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager
from threading import Event

import structlog
from django.conf import settings
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from kombu.connection import Connection
from kombu.exceptions import KombuError
from prometheus_client import CONTENT_TYPE_LATEST, Gauge

from billing.operations import telling
from config.metrics import as_text as metrics_text
from tenants.scope import OPS_ALIAS, ops_scope
from workflows import ops_facts
from workflows.lanes import partitions

PATIENCE = 3.0
"""Seconds after which a part that does not answer counts as failing."""

UNATTENDED_MOST = 60.0
"""Seconds that work may stand with no worker to do it: a dead worker's lanes are another's within half of that."""
UNATTENDED = Gauge(
    "weir_work_unattended_seconds",
    "For how long work that could go on has had no worker.",
    multiprocess_mode="mostrecent",
)
OLDEST_READY = Gauge(
    "weir_oldest_ready_step_seconds",
    "Age of the oldest step that could be started, waiting for limits too.",
    multiprocess_mode="mostrecent",
)
OUT_OF_TIME = Gauge(
    "weir_steps_out_of_time",
    "Steps, up to 1,000, that say they are of a time that no partition is for.",
    multiprocess_mode="mostrecent",
)
USAGE_WAITS = Gauge(
    "weir_usage_waits_for_stripe_seconds",
    "For how long the oldest usage has waited for Stripe's definite answer.",
)

_log = structlog.stdlib.get_logger("weir.health")

# A frozen server would hold a thread for ever; the checks get a few of their own and no more.
_checkers = ThreadPoolExecutor(max_workers=6, thread_name_prefix="health")


class NotReady(Exception):
    """A part cannot do its work; the message may be shown to anybody."""


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is asked."""
    return _no_store(JsonResponse({"status": "ok"}))


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when requests can be served; else 503 naming every failing part."""
    parts = ask(CHECKS | {"work": check_work})
    work = parts.pop("work")
    failing = [name for name, state in parts.items() if state != "ok"]
    answer = {"status": "failing" if failing else "ok", "failing": failing, "parts": parts}
    if work != "ok" and parts["database"] == "ok":
        answer["work"] = work
    return _no_store(JsonResponse(answer, status=503 if failing else 200))


def ask(checks: dict[str, Callable[[], None]]) -> dict[str, str]:
    """Each part with `ok` or what is wrong with it; all are asked at once."""
    running = {name: _checkers.submit(check) for name, check in checks.items()}
    parts = {}
    for name, future in running.items():
        try:
            future.result(timeout=PATIENCE)
            parts[name] = "ok"
        except TooLate:
            parts[name] = f"no answer within {PATIENCE:g} s"
        except NotReady as error:
            parts[name] = str(error)
        except Exception:  # noqa: BLE001 whatever a driver raises, the answer is that this part fails
            _log.exception("readiness check failed", part=name)
            parts[name] = "check failed"
    if parts["database"] != "ok":
        del parts["migrations"]  # nobody can tell, and the part to mend is the database
    return parts


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for whoever has the token; closed in staging and production while there is none."""
    wanted: str = settings.METRICS_TOKEN
    if not wanted and settings.HARDENED:
        return _no_store(
            HttpResponse(
                "Set WEIR_METRICS_TOKEN to open the metrics.\n", status=403, content_type="text/plain"
            )
        )
    given = request.headers.get("Authorization", "")
    if wanted and not secrets.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
        response = HttpResponse("A bearer token is needed.\n", status=401, content_type="text/plain")
        response["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return _no_store(response)
    ask({"database": measure_work})
    return _no_store(HttpResponse(metrics_text(), content_type=CONTENT_TYPE_LATEST))


def _no_store(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    return response


def check_database() -> None:
    """The app's login gets an answer from PostgreSQL. Raises NotReady."""
    with _own_connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def check_broker() -> None:
    """Celery's broker takes a connection. Raises NotReady."""
    options = {"socket_timeout": 2, "socket_connect_timeout": 2}
    with Connection(settings.CELERY_BROKER_URL, connect_timeout=2, transport_options=options) as broker:
        try:
            broker.ensure_connection(max_retries=1, timeout=2, interval_start=0.1)
            broker.default_channel.close()
        except (KombuError, OSError, *broker.connection_errors) as error:
            raise NotReady("not reachable") from error


def check_migrations() -> None:
    """Every migration of this code is applied. Raises NotReady; a yes is kept, since it stays true."""
    if _migrated.is_set():
        return
    with _own_connection() as connection:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        raise NotReady(f"{len(waiting)} not applied: run manage.py migrate")
    _migrated.set()


def check_work() -> None:
    """Every lane with work has a worker, or had one a moment ago. Raises NotReady."""
    seconds, _ = _work()
    if seconds > UNATTENDED_MOST:
        raise NotReady(f"work has waited for {seconds:.0f} s with no worker to do it")


def measure_work() -> None:
    """Set the gauges; NaN while the database does not tell. Raises NotReady then."""
    UNATTENDED.set(math.nan)
    OLDEST_READY.set(math.nan)
    OUT_OF_TIME.set(math.nan)
    USAGE_WAITS.set(math.nan)
    unattended, oldest = _work()
    UNATTENDED.set(unattended)
    OLDEST_READY.set(oldest)
    with _own_connection(OPS_ALIAS) as connection, ops_scope("health"), connection.cursor() as cursor:
        OUT_OF_TIME.set(partitions.out_of_time(cursor))
        USAGE_WAITS.set(telling.waiting_s())


def _work() -> tuple[float, float]:
    """Seconds that work has been unattended, and the age of the oldest step that could be started."""
    with _own_connection(OPS_ALIAS), ops_scope("health"):
        oldest = ops_facts.oldest_ready()
        waits = (timezone.now() - oldest).total_seconds() if oldest else 0.0
        return ops_facts.unattended_s(), max(0.0, waits)


_migrated = Event()
CHECKS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "broker": check_broker,
    "migrations": check_migrations,
}


@contextmanager
def _own_connection(alias: str = "default") -> Iterator[BaseDatabaseWrapper]:
    """This thread's connection, closed afterwards; database errors become NotReady."""
    connection = connections[alias]
    try:
        yield connection
    except DatabaseError as error:
        raise NotReady("not reachable") from error
    finally:
        connection.close()
