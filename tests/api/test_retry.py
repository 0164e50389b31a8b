"""POST /runs/{id}/retry, and what can be done with one record that failed. The engine's part: tests/workflows/lanes."""

import pytest
from django.db.models.functions import Now

from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import connect_all, contact, make_key, make_run
from workflows.models import LaneRun, Record, Run, RunEvent, StepQueue


@pytest.fixture
def failed(tenant):
    """A run of two records that a vendor gave up on, and a faulty one; it has ended."""
    connect_all(tenant)
    run = make_run(tenant, [contact(1), contact(2), {"first_name": "Ada"}])
    with tenant_scope(tenant):
        StepQueue.objects.all().delete()
        LaneRun.objects.all().delete()
        Record.objects.filter(status="queued").update(
            status="failed",
            started_at=Now(),
            finished_at=Now(),
            error={"code": "vendor_error", "message": "Gave up."},
        )
        Run.objects.update(status="completed", pending=0, queued=0, failed=3, finished_at=Now())
    return run


def positions(api, run, status):
    return [
        record["position"] for record in api.get(f"/runs/{run.pk}/records?status={status}").json()["data"]
    ]


def test_a_run_is_retried_once_and_its_faulty_records_are_left(api, tenant, failed):
    for _ in range(2):
        answer = api.post(f"/runs/{failed.pk}/retry")
        assert answer.status_code == 200, answer.json()
        run = answer.json()
        assert (run["status"], run["finished_at"]) == ("running", None)
        assert (run["records"]["queued"], run["records"]["failed"]) == (2, 1)
    with tenant_scope(tenant):
        assert StepQueue.objects.count() == 2
        assert LaneRun.objects.count() == 1
        assert RunEvent.objects.filter(kind="run.retried").count() == 1


@pytest.mark.parametrize(
    ("body", "queued"),
    [({"error_code": "vendor_error"}, 2), ({"error_code": "vendor_timeout"}, 0), ({"provider": "hunter"}, 0)],
)
def test_a_filter_narrows_a_retry_down(api, failed, body, queued):
    assert api.post(f"/runs/{failed.pk}/retry", body).json()["records"]["queued"] == queued


def test_a_record_is_retried_with_other_input(api, failed):
    records = api.get(f"/runs/{failed.pk}/records").json()["data"]
    path = f"/runs/{failed.pk}/records/{records[2]['id']}/retry"
    refused = api.post(path, {"input": {"last_name": "Byron"}})
    assert (refused.status_code, refused.json()["errors"][0]["field"][:6]) == (422, "input.")
    for _ in range(2):
        answer = api.post(path, {"input": {"last_name": "Byron", "domain": "engines.example"}})
        assert (answer.status_code, answer.json()["status"]) == (200, "queued")
        assert answer.json()["input"]["domain"] == "engines.example"
        assert [step["status"] for step in answer.json()["steps"]] == ["waiting"]
    other = api.post(path, {"input": {"last_name": "Lovelace"}})
    assert (other.status_code, other.json()["code"]) == (409, "record_not_retryable")
    assert positions(api, failed, "queued") == [3]


@pytest.mark.parametrize(
    "body",
    [{"mode": "anew"}, {"input": ["x"]}, {"input": {"first_name": 3}}, {"inputs": {}}, {"input": {"a": {}}}],
)
def test_a_retry_of_a_record_refuses_what_it_does_not_know(api, failed, body):
    record = api.get(f"/runs/{failed.pk}/records").json()["data"][0]
    assert api.post(f"/runs/{failed.pk}/records/{record['id']}/retry", body).status_code == 422


def test_a_record_is_discarded(api, failed):
    record = api.get(f"/runs/{failed.pk}/records").json()["data"][0]
    for _ in range(2):
        answer = api.post(f"/runs/{failed.pk}/records/{record['id']}/discard").json()
        assert (answer["status"], answer["error"]["code"]) == ("skipped", "discarded")
        assert "Gave up." in answer["error"]["message"]
    run = api.get(f"/runs/{failed.pk}").json()["records"]
    assert (run["failed"], run["skipped"]) == (2, 1)
    assert api.post(f"/runs/{failed.pk}/retry").json()["records"]["queued"] == 1


def test_a_cancelled_run_and_a_test_key_get_no_retry(api, tenant, failed):
    other = Api(make_key(tenant, livemode=False))
    assert other.post(f"/runs/{failed.pk}/retry").status_code == 404
    with tenant_scope(tenant):
        Run.objects.update(status="cancelled")
    answer = api.post(f"/runs/{failed.pk}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_is_final")


def test_a_run_s_limit_and_turn_are_changed_while_it_is_under_way(api, tenant):
    connect_all(tenant)
    run = make_run(tenant, 2, credit_limit=1_000)
    answer = api.patch(f"/runs/{run.pk}", {"credit_limit": 2.5, "priority": 9})
    assert answer.status_code == 200
    assert (answer.json()["credits"]["limit"], answer.json()["priority"]) == (2.5, 9)
    assert api.patch(f"/runs/{run.pk}", {"credit_limit": None}).json()["credits"]["limit"] is None
    for body in ({}, {"priority": 10}, {"credit_limit": -1}, {"limit": 1}):
        assert api.patch(f"/runs/{run.pk}", body).status_code == 422
    api.post(f"/runs/{run.pk}/cancel")
    assert api.patch(f"/runs/{run.pk}", {"priority": 1}).json()["code"] == "run_is_final"
