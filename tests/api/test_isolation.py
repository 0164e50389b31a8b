"""Another tenant's objects are not there: for every route of the API, whatever is sent."""

import re

import pytest
from django.urls import URLPattern

from config.api_urls import urlpatterns
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import connect_all, make_run
from workflows.models import Lane, Record, Run

CSV = b"First Name,Last Name,Website\nAda,Byron,engines.example\n"
METHODS = {"patch": {"parallelism": 1}, "post": {}, "get": None}


def routes() -> list[tuple[str, str]]:
    """(method, route) of every view that takes an object's id."""
    found = []
    for pattern in urlpatterns:
        route = str(pattern.pattern)
        if isinstance(pattern, URLPattern) and "<uuid:" in route:
            view = pattern.callback.view_class
            found += [(method, route) for method in METHODS if hasattr(view, method)]
    return found


@pytest.fixture
def theirs(other_tenant):
    """What the other tenant has, by the name of the route's parameter."""
    connect_all(other_tenant)
    run = make_run(other_tenant, 2)
    with tenant_scope(other_tenant):
        record = Record.objects.filter(run=run).first()
        lane = Lane.objects.get(provider="prospeo")
    return {"run_id": run.pk, "record_id": record.pk, "lane_id": lane.pk}


def test_the_table_of_routes_is_not_empty():
    assert len(routes()) >= 12
    assert ("post", "runs/<uuid:run_id>/cancel") in routes()


@pytest.mark.parametrize(("method", "route"), routes())
def test_another_tenant_s_object_is_not_found(api, other_tenant, other_api, theirs, method, route):
    path = re.sub(r"<uuid:(\w+)>", lambda match: str(theirs[match[1]]), f"/{route}")
    answer = api.send(method.upper(), path, METHODS[method] if method != "get" else b"")
    assert_problem(answer, 404, "not_found")
    with tenant_scope(other_tenant):
        assert Run.objects.get().status == "queued"
        assert not Lane.objects.filter(paused=True).exists()
        assert not Lane.objects.filter(pinned=True).exists()
    # Its owner does find it, so what was refused was the tenant and not the address.
    assert (
        other_api.send(method.upper(), path, METHODS[method] if method != "get" else b"").status_code == 200
    )


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


def test_no_route_but_the_unknown_answers_without_a_key(db):
    for pattern in urlpatterns:
        view = getattr(pattern.callback, "view_class", None)
        if view is None:
            continue
        path = re.sub(r"<uuid:\w+>", "01a1f977-6974-7578-b646-3639ec331732", f"/{pattern.pattern}")
        for method in ("get", "post", "patch"):
            if hasattr(view, method):
                assert_problem(Api("").send(method.upper(), path), 401, "missing_api_key")
