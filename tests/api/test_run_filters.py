"""Filters of GET /runs. That each has an index: tests/workflows/test_plans.py."""

from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from django.utils import timezone

from tests.client import Api
from tests.factories import connect_all, contact, make_run


def ids(answer):
    assert answer.status_code == 200, answer.content
    return {run["id"] for run in answer.json()["data"]}


def test_runs_are_found_by_workflow_time_status_and_mode(api, tenant, test_key):
    connect_all(tenant)
    live = str(make_run(tenant, [contact(1)]).pk)
    test = str(make_run(tenant, [contact(2)], livemode=False).pk)
    made = api.post("/workflows", {"template": "email-waterfall", "name": "Other"}).json()
    other = str(make_run(tenant, [contact(3)], workflow=made["slug"]).pk)
    assert ids(api.get("/runs")) == {live, test, other}
    for named in (made["id"], made["slug"]):
        assert ids(api.get(f"/runs?workflow={named}")) == {other}
    assert ids(Api(test_key).get("/runs")) == {test}
    assert ids(api.get("/runs?status=queued&workflow=email-waterfall")) == {live, test}

    def at(**ago):
        return quote((timezone.now() - timedelta(**ago)).isoformat())

    assert ids(api.get(f"/runs?created_since={at(minutes=5)}")) == {live, test, other}
    assert ids(api.get(f"/runs?created_before={at(minutes=5)}")) == set()
    later = at(minutes=-5)
    assert ids(api.get(f"/runs?created_since={later}")) == set()
    assert ids(api.get(f"/runs?created_before={later}&workflow=other")) == {other}
    page = api.get("/runs?limit=1&workflow=email-waterfall").json()
    assert ids(api.get(page["next"])) == {live}


@pytest.mark.parametrize("upload", [False, True])
def test_runs_are_found_by_the_very_moment_that_they_show(api, tenant, upload):
    connect_all(tenant)
    body = {"records": [contact(number) for number in range(50)]}
    if upload:
        body = {"upload": api.upload(b"First Name,Last Name,Website\nAda,Byron,e.example\n").json()["id"]}
    run = api.post("/runs", {"workflow": "email-waterfall", **body}).json()
    shown = datetime.fromisoformat(run["created_at"])
    for microseconds in (-1000, -1, 0, 1, 500, 1000):
        moment = quote((shown + timedelta(microseconds=microseconds)).isoformat())
        assert (ids(api.get(f"/runs?created_since={moment}")) == {run["id"]}) == (microseconds <= 0)
        assert (ids(api.get(f"/runs?created_before={moment}")) == {run["id"]}) == (microseconds > 0)


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-03-02", "2026-03-02T09:30:00", "", "0001-01-01T00:00:00Z", "9" * 30]
)
def test_a_moment_that_is_none_is_named(api, text):
    answer = api.get(f"/runs?created_since={quote(text)}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "created_since")


def test_a_workflow_that_is_none_is_named(api):
    assert api.get("/runs?workflow=nope").json()["code"] == "unknown_workflow"
