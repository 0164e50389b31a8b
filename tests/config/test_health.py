"""Liveness, readiness and metrics, as a load balancer and Prometheus meet them."""

import io
import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client, override_settings
from django.utils import timezone

from config import health


@pytest.fixture
def unmigrated():
    """Forget that all migrations were seen applied."""
    health._migrated.clear()
    yield
    health._migrated.clear()


def test_liveness_asks_nothing_of_anybody(client: Client):
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer["Cache-Control"] == "no-store"


def test_ready_when_database_broker_and_migrations_are(committed, client: Client, unmigrated):
    answer = client.get("/readyz")
    assert answer.json()["parts"] == {"database": "ok", "broker": "ok", "migrations": "ok"}
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"


def test_a_broker_that_is_away_is_named(committed, client: Client):
    with override_settings(CELERY_BROKER_URL="redis://127.0.0.1:1/0"):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["failing"] == ["broker"]
    assert answer["Cache-Control"] == "no-store"


def test_a_database_that_is_away_is_named_alone(client: Client, monkeypatch: pytest.MonkeyPatch, committed):
    def away():
        raise health.NotReady("not reachable")

    monkeypatch.setitem(health.CHECKS, "database", away)
    monkeypatch.setitem(health.CHECKS, "migrations", away)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["failing"] == ["database"]


def test_a_missing_migration_is_named(committed, client: Client, monkeypatch: pytest.MonkeyPatch, unmigrated):
    monkeypatch.setattr(health.MigrationExecutor, "migration_plan", lambda *_: ["one", "two"])
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["failing"] == ["migrations"]
    assert answer.json()["parts"]["migrations"] == "2 not applied: run manage.py migrate"


def test_a_part_that_hangs_is_named_in_bounded_time(
    client: Client, monkeypatch: pytest.MonkeyPatch, committed
):
    monkeypatch.setattr(health, "PATIENCE", 0.2)
    over = threading.Event()
    monkeypatch.setitem(health.CHECKS, "broker", lambda: over.wait(30))
    began = time.monotonic()
    try:
        answer = client.get("/readyz")
    finally:
        over.set()
    assert time.monotonic() - began < 5
    assert answer.json()["failing"] == ["broker"]


def test_a_check_that_breaks_is_a_failing_part_not_a_server_error(
    client: Client, monkeypatch: pytest.MonkeyPatch, committed
):
    monkeypatch.setitem(health.CHECKS, "broker", lambda: 1 / 0)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["parts"]["broker"] == "check failed"
    assert "division" not in answer.content.decode()


@pytest.mark.parametrize(
    ("token", "hardened", "header", "status"),
    [
        ("", False, None, 200),
        ("", True, None, 403),
        ("", True, "Bearer ", 403),
        ("t" * 24, False, None, 401),
        ("t" * 24, True, "Bearer wrong", 401),
        ("t" * 24, True, "Bearer é", 401),
        ("t" * 24, True, "Bearer " + "t" * 24, 200),
        ("t" * 24, False, "Bearer " + "t" * 24, 200),
    ],
)
def test_metrics_are_for_whoever_has_the_token_and_closed_in_production_without_one(
    client: Client, token: str, hardened: bool, header: str | None, status: int
):
    headers = {"Authorization": header} if header else {}
    with override_settings(METRICS_TOKEN=token, HARDENED=hardened):
        answer = client.get("/metrics", headers=headers)
    assert answer.status_code == status
    assert answer["Cache-Control"] == "no-store"
    assert ("python_info" in answer.content.decode()) == (status == 200)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nothing_can_be_posted_here(client: Client, path: str):
    assert client.post(path).status_code == 405


@pytest.fixture
def unattended(committed, tenant) -> None:
    """Ready work whose lane nobody holds, since two minutes ago."""
    from tenants.scope import ops_scope
    from tests.factories import connect_all, make_run
    from workflows.models import StepQueue

    connect_all(tenant)
    make_run(tenant, 3)
    with ops_scope("test"):
        StepQueue.objects.update(ready_at=timezone.now() - timedelta(seconds=120))


def health_command() -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("health", stdout=out)
    except SystemExit as leaving:
        return int(str(leaving.code)), out.getvalue()
    return 0, out.getvalue()


def test_work_that_nobody_attends_to_is_told_and_web_stays_ready(client: Client, unattended):
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["failing"]) == (200, [])
    assert answer.json()["work"].startswith("work has waited for 12")
    code, said = health_command()
    assert code == 1
    assert "work: work has waited for 12" in said
    metrics = client.get("/metrics").content.decode()
    assert 119 < gauge(metrics, "weir_work_unattended_seconds") < 180
    assert 119 < gauge(metrics, "weir_oldest_ready_step_seconds") < 180


def gauge(text: str, name: str) -> float:
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.parametrize(
    "why", ["a worker holds the lane", "the lane is paused", "the run is paused", "it is fresh"]
)
def test_work_that_waits_for_a_reason_is_attended_to(client: Client, unattended, tenant, why: str):
    from tenants.scope import ops_scope
    from workflows.models import Lane, LaneRun, LaneState, StepQueue

    with ops_scope("test"):
        match why:
            case "a worker holds the lane":
                LaneState.objects.update(
                    holder=uuid.uuid4(), lease_until=timezone.now() + timedelta(seconds=10)
                )
            case "the lane is paused":
                Lane.objects.update(paused=True)
            case "the run is paused":
                LaneRun.objects.update(state="paused")
            case _:
                StepQueue.objects.update(ready_at=timezone.now())
    assert "work" not in client.get("/readyz").json()
    assert health_command()[0] == 0


def test_a_lane_whose_worker_died_is_unattended_from_then_on(client: Client, unattended):
    from tenants.scope import ops_scope
    from workflows.models import LaneState

    with ops_scope("test"):
        LaneState.objects.update(holder=uuid.uuid4(), lease_until=timezone.now() - timedelta(seconds=70))
    assert client.get("/readyz").json()["work"].startswith("work has waited for 7")
