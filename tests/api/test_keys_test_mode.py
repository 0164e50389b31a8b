"""A test key sees and steers what belongs to the sandbox; whatever is live is not there for it (docs/decisions/0004)."""

import pytest

from tenants.ids import uuid7
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import connect_all, make_connection, make_run
from workflows.models import Lane, Record, Run


@pytest.fixture
def test_api(test_key):
    return Api(test_key)


@pytest.fixture
def both(tenant):
    """A live and a test run, a live and a sandbox connection."""
    connect_all(tenant)
    make_connection(tenant, "hunter", mode="live")
    return make_run(tenant, livemode=True), make_run(tenant, livemode=False)


def answers_for(test_api, run, record):
    yield test_api.get(f"/runs/{run}")
    yield test_api.get(f"/runs/{run}/records")
    yield test_api.get(f"/runs/{run}/records/{record}")
    yield test_api.get(f"/runs/{run}/results.csv")
    yield test_api.get(f"/runs/{run}/results.jsonl")
    for verb in ("pause", "resume", "cancel"):
        yield test_api.post(f"/runs/{run}/{verb}")


def record_of(tenant, run):
    with tenant_scope(tenant):
        return Record.objects.get(run=run).pk


def test_a_live_run_is_not_there_for_a_test_key(tenant, both, test_api):
    live, _ = both
    refused = list(answers_for(test_api, live.pk, record_of(tenant, live)))
    nowhere = list(answers_for(test_api, uuid7(), uuid7()))
    for answer, expected in zip(refused, nowhere, strict=True):
        assert_problem(answer, 404, "not_found")
        assert answer.json() | {"request_id": ""} == expected.json() | {"request_id": ""}
    with tenant_scope(tenant):
        assert Run.objects.get(pk=live.pk).status == live.status


def test_a_test_run_is_open_to_both(tenant, both, test_api, api):
    _, test = both
    record = record_of(tenant, test)
    assert {answer.status_code for answer in answers_for(test_api, test.pk, record)} == {200}
    assert api.get(f"/runs/{test.pk}").status_code == 200


def test_lists_hold_what_a_key_may_see(both, test_api, api):
    live, test = both
    assert [row["id"] for row in test_api.get("/runs").json()["data"]] == [str(test.pk)]
    assert {row["id"] for row in api.get("/runs").json()["data"]} == {str(live.pk), str(test.pk)}
    for path, mode in (("/connections", "mode"), ("/lanes", "provider")):
        seen = {row[mode] for row in test_api.get(path).json()["data"]}
        assert seen == ({"sandbox"} if mode == "mode" else {"prospeo", "findymail", "zerobounce"})
        assert len(api.get(path).json()["data"]) == 4


def test_a_lane_of_a_live_connection_cannot_be_seen_or_steered(tenant, both, test_api, api):
    with tenant_scope(tenant):
        live, sandbox = Lane.objects.get(provider="hunter").pk, Lane.objects.get(provider="prospeo").pk
    for lane, status in ((live, 404), (sandbox, 200)):
        assert test_api.get(f"/lanes/{lane}").status_code == status
        assert test_api.patch(f"/lanes/{lane}", {"parallelism": 3}).status_code == status
        assert test_api.post(f"/lanes/{lane}/pause").status_code == status
        assert test_api.post(f"/lanes/{lane}/resume").status_code == status
    with tenant_scope(tenant):
        lane = Lane.objects.get(pk=live)
    assert (lane.pinned, lane.paused) == (False, False)
    assert api.post(f"/lanes/{live}/pause").status_code == 200
