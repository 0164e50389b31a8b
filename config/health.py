"""Liveness, readiness and metrics: cheap, bounded in time, never stored."""

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
from django.views.decorators.http import require_safe
from kombu.connection import Connection
from kombu.exceptions import KombuError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

PATIENCE = 3.0
"""Seconds after which a part that does not answer counts as failing."""

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
    running = {name: _checkers.submit(check) for name, check in CHECKS.items()}
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
    failing = [name for name, state in parts.items() if state != "ok"]
    answer = {"status": "failing" if failing else "ok", "failing": failing, "parts": parts}
    return _no_store(JsonResponse(answer, status=503 if failing else 200))


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
    return _no_store(HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST))


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


_migrated = Event()
CHECKS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "broker": check_broker,
    "migrations": check_migrations,
}


@contextmanager
def _own_connection() -> Iterator[BaseDatabaseWrapper]:
    """This thread's connection, closed afterwards; database errors become NotReady."""
    connection = connections["default"]
    try:
        yield connection
    except DatabaseError as error:
        raise NotReady("not reachable") from error
    finally:
        connection.close()
