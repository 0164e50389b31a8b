"""Workflows over the API: listed, made, changed."""

import pytest

from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import connect_all, contact, make_run
from workflows.models import Run

KEYS = {"id", "slug", "name", "template", "config", "version", "enabled", "created_at", "updated_at"}


def only(api: Api) -> dict:
    return next(row for row in api.get("/workflows").json()["data"] if row["slug"] == "email-waterfall")


def test_a_workflow_is_made_from_a_template(api):
    answer = api.post(
        "/workflows", {"template": "email-waterfall", "name": " Fast  lane ", "config": {"verifier": None}}
    )
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == KEYS
    assert (made["slug"], made["name"], made["version"], made["enabled"]) == (
        "fast-lane",
        "Fast lane",
        1,
        True,
    )
    assert made["config"]["verifier"] is None
    assert made["config"]["finders"] == ["prospeo", "findymail"], "what is left out is the template's own"
    assert api.get(f"/workflows/{made['id']}").json() == made


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"template": "magic"}, "template"),
        ({"name": " "}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"slug": "Not a slug"}, "slug"),
        ({"config": {"finders": ["nobody"]}}, "config.finders"),
        ({"config": {"colour": "red"}}, "config.colour"),
        ({"config": []}, "config"),
        ({"version": 3}, "version"),
    ],
)
def test_what_does_not_fit_is_named(api, body, field):
    answer = api.post("/workflows", {"template": "email-waterfall", "name": "Other", **body})
    assert_problem(answer, 422, "invalid_input")
    assert field in {error["field"] for error in answer.json()["errors"]}


def test_a_slug_is_taken_once(api):
    body = {"template": "email-waterfall", "name": "Email waterfall", "slug": "email-waterfall"}
    assert_problem(api.post("/workflows", body), 409, "conflict")


def test_settings_that_are_not_named_stay(api):
    before = only(api)
    after = api.patch(f"/workflows/{before['id']}", {"config": {"max_attempts": 5}}).json()
    assert after["config"] == {**before["config"], "max_attempts": 5}
    assert after["version"] == before["version"] + 1
    renamed = api.patch(f"/workflows/{before['id']}", {"name": "Addresses"}).json()
    assert (renamed["name"], renamed["version"]) == ("Addresses", after["version"])


def test_a_faulty_change_changes_nothing(api):
    before = only(api)
    answer = api.patch(f"/workflows/{before['id']}", {"name": "New", "config": {"max_attempts": 0}})
    assert_problem(answer, 422, "invalid_input")
    assert only(api) == before


def test_a_workflow_that_is_off_takes_no_runs(api, tenant):
    connect_all(tenant)
    made = only(api)
    assert api.patch(f"/workflows/{made['id']}", {"enabled": False}).json()["enabled"] is False
    body = {"workflow": "email-waterfall", "records": [contact(1)]}
    assert api.post("/runs", body).json()["code"] == "workflow_disabled"
    api.patch(f"/workflows/{made['id']}", {"enabled": True})
    assert api.post("/runs", body).status_code == 202


def test_runs_keep_what_they_were_accepted_with(api, tenant):
    connect_all(tenant)
    run = make_run(tenant)
    api.patch(f"/workflows/{only(api)['id']}", {"config": {"finders": ["findymail"]}})
    with tenant_scope(tenant):
        assert Run.objects.get(pk=run.pk).config["finders"] == ["prospeo", "findymail"]


def test_changing_takes_a_live_key(test_key, api):
    made = only(api)
    answer = Api(test_key).patch(f"/workflows/{made['id']}", {"name": "x"})
    assert_problem(answer, 403, "live_key_needed")
