"""A run's records and their steps."""

import pytest
from django.utils import timezone

from tenants.ids import uuid7
from tenants.scope import tenant_scope
from tests.factories import connect_all, make_run
from workflows.models import Record, Step, StepQueue

STEP_KEYS = {
    "name", "provider", "status", "outcome", "attempt", "http_status", "latency_ms", "credits", "wait_reason",
    "ready_at", "started_at", "finished_at",
}  # fmt: skip


@pytest.fixture
def run(tenant):
    connect_all(tenant)
    return make_run(tenant, 5)


def test_records_come_by_position_and_page(api, run):
    first = api.get(f"/runs/{run.pk}/records?limit=2").json()
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()
    assert [r["position"] for r in (*first["data"], *second["data"], *third["data"])] == [1, 2, 3, 4, 5]
    assert third["next"] is None
    assert api.get(third["previous"]).json()["data"] == second["data"]
    assert set(first["data"][0]) == {"id", "position", "status", "input", "output", "error", "credits"}


def test_records_can_be_narrowed_to_a_status(api, run, tenant):
    with tenant_scope(tenant):
        Record.objects.filter(position__in=[2, 5]).update(status="found")
    first = api.get(f"/runs/{run.pk}/records?status=found&limit=1").json()
    assert [r["position"] for r in (*first["data"], *api.get(first["next"]).json()["data"])] == [2, 5]
    answer = api.get(f"/runs/{run.pk}/records?status=lost")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_one_record_comes_with_its_steps(api, run, tenant):
    with tenant_scope(tenant):
        record = Record.objects.get(run=run, position=1)
        entry = StepQueue.objects.get(record_id=record.pk)
        Step.objects.create(
            id=uuid7(), lane_id=entry.lane_id, run_id=run.pk, record_id=record.pk, queue_id=entry.pk,
            name="find:prospeo", provider="prospeo", operation="find", attempt=1, status="failed", outcome="timeout",
            http_status=504, latency_ms=1_234, credits=1_500,
        )  # fmt: skip
        StepQueue.objects.filter(pk=entry.pk).update(attempt=2, not_before=timezone.now(), reason="backoff")
    answer = api.get(f"/runs/{run.pk}/records/{record.pk}").json()
    assert answer["input"]["first_name"] == "Ada0"
    ended, waiting = answer["steps"]
    assert set(ended) == STEP_KEYS
    assert (ended["status"], ended["outcome"], ended["http_status"], ended["credits"]) == (
        "failed",
        "timeout",
        504,
        1.5,
    )
    assert (waiting["status"], waiting["wait_reason"], waiting["attempt"]) == ("waiting", "backoff", 2)
    assert (waiting["outcome"], waiting["started_at"], waiting["finished_at"]) == (None, None, None)


def test_a_record_is_found_under_its_own_run_alone(api, run, tenant):
    other = make_run(tenant)
    with tenant_scope(tenant):
        record = Record.objects.get(run=other)
    assert api.get(f"/runs/{other.pk}/records/{record.pk}").status_code == 200
    assert api.get(f"/runs/{run.pk}/records/{record.pk}").status_code == 404


@pytest.mark.parametrize("count", [1, 60])
def test_listing_records_takes_as_many_queries_for_one_as_for_many(
    api, tenant, run, count, django_assert_max_num_queries
):
    run = make_run(tenant, count)
    api.get("/tenant")
    with django_assert_max_num_queries(6):
        assert len(api.get(f"/runs/{run.pk}/records?limit=200").json()["data"]) == count
