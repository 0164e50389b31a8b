"""Liveness, readiness and metrics, as a load balancer and Prometheus meet them."""

import time

import pytest
from django.test import Client, override_settings

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
    monkeypatch.setitem(health.CHECKS, "broker", lambda: time.sleep(1))
    began = time.monotonic()
    answer = client.get("/readyz")
    assert time.monotonic() - began < 0.9
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
