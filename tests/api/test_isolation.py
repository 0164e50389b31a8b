"""Another tenant's rows in lists, cursors and figures. Every route with every id: tests/invariants/test_routes_*.py."""

import pytest

from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.factories import connect_all, make_run
from workflows.models import Lane, Record


@pytest.fixture
def theirs(other_tenant):
    """What the other tenant has, by the name of the route's parameter."""
    connect_all(other_tenant)
    run = make_run(other_tenant, 2)
    with tenant_scope(other_tenant):
        record = Record.objects.filter(run=run).first()
        lane = Lane.objects.get(provider="prospeo")
    return {"run_id": run.pk, "record_id": record.pk, "lane_id": lane.pk}


@pytest.mark.parametrize("path", ["/runs", "/lanes", "/connections"])
def test_lists_hold_the_caller_s_own_rows_alone(api, theirs, other_api, path):
    assert api.get(path).json()["data"] == []
    assert other_api.get(path).json()["data"] != []


def test_a_cursor_of_another_tenant_reveals_nothing(api, tenant, theirs, other_api, other_tenant):
    make_run(other_tenant)
    theirs_next = other_api.get("/runs?limit=1").json()["next"]
    assert api.get(theirs_next).json()["data"] == []


def test_a_workflow_of_another_tenant_is_unknown(api, other_api):
    their_id = other_api.get("/workflows").json()["data"][0]["id"]
    answer = api.post("/runs", {"workflow": their_id, "records": [{}]})
    assert_problem(answer, 404, "unknown_workflow")


def test_usage_is_the_caller_s_own(api, theirs, other_api):
    assert api.get("/usage").json()["records"] == 0
    assert other_api.get("/usage").json()["records"] == 2
