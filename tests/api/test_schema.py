"""The OpenAPI description: complete, without warnings, and true of what is answered."""

import json

import jsonschema
import pytest
import yaml
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from config import api_examples
from config.api_urls import urlpatterns
from tenants.events import EVENTS
from tenants.scope import tenant_scope
from tests.factories import connect_all, make_run
from workflows.models import Record

CSV = b"First Name,Last Name,Website\nAda,Byron,engines.example\nGrace,,x.example\n"


@pytest.fixture(scope="module")
def schema():
    GENERATOR_STATS.reset()
    made = SchemaGenerator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache
    return made


def test_the_description_is_valid_openapi(schema):
    validate_schema(schema)


def test_every_route_is_described(schema):
    described = {path.removeprefix("/api/v1/") for path in schema["paths"]}
    routed = {
        str(p.pattern).replace("<uuid:", "{").replace(">", "}")
        for p in urlpatterns
        if hasattr(p.callback, "view_class")
    }
    assert described == routed


def test_every_operation_has_a_name_a_description_and_errors(schema):
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"], (path, method)
            assert operation["description"], (path, method)
            assert {"401", "403"} <= set(operation["responses"]), (path, method)
            if method == "get":
                assert "requestBody" not in operation


def test_every_operation_has_an_example_of_the_shape_that_it_says(schema):
    operations = {o["operationId"]: o for path in schema["paths"].values() for o in path.values()}
    for name, operation in operations.items():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert_valid(schema, content["schema"], content["example"], f"{name}: request")
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                for kind, content in answer.get("content", {}).items():
                    if kind == "application/json":
                        assert_fits(schema, content["schema"], content["example"], name)
                    assert_valid(schema, content["schema"], content["example"], f"{name}: {status}")
    known = {*api_examples.REQUESTS, *api_examples.ANSWERS}
    assert known <= operations.keys(), known - operations.keys()


def test_every_event_is_described_with_an_example_of_its_shape(schema):
    assert schema["webhooks"].keys() == EVENTS.keys()
    for name, path in schema["webhooks"].items():
        (content,) = path["post"]["requestBody"]["content"].values()
        assert content["example"]["type"] == name
        assert_fits(schema, content["schema"], content["example"] | {"test": True}, name)
        assert_valid(schema, content["schema"], content["example"], name)


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_it_is_served_and_made_once_in_each_process(db, schema, kind, monkeypatch):
    address = f"/api/schema/{'?format=json' if kind == 'json' else ''}"
    first = Client().get(address)
    assert yaml.safe_load(first.content) == json.loads(json.dumps(schema))
    assert first["Content-Disposition"] == f'inline; filename="weir.{kind}"'
    monkeypatch.setattr(SchemaGenerator, "get_schema", None)
    assert Client().get(address).content == first.content


def test_every_problem_has_an_example_of_each_code(schema):
    for answer in schema["components"]["responses"].values():
        content = content_of(schema, answer)
        assert content["examples"]
        for code, example in content["examples"].items():
            assert_fits(schema, content["schema"], example["value"], code)


def test_every_status_that_any_request_may_have_is_described(schema):
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert {"400", "401", "403", "429", "500", "503"} <= set(operation["responses"]), (path, method)
            names = {parameter["name"] for parameter in operation["parameters"]}
            assert ("Idempotency-Key" in names) == (method == "post"), (path, method)


def assert_valid(schema, shape, value, where):
    """JSON Schema's own opinion, formats aside."""
    rooted = {"components": schema["components"], **shape}
    problems = [
        f"{e.json_path}: {e.message}" for e in jsonschema.Draft202012Validator(rooted).iter_errors(value)
    ]
    assert not problems, (where, problems)


def assert_fits(schema, shape, value, where="$"):
    """Whether a value has exactly the properties that the description says, at every depth."""
    if "$ref" in shape:
        return assert_fits(
            schema, schema["components"]["schemas"][shape["$ref"].split("/")[-1]], value, where
        )
    options = shape.get("oneOf") or shape.get("anyOf") or shape.get("allOf")
    if options:
        if value is None:
            return None
        return assert_fits(schema, options[0], value, where)
    types = shape.get("type")
    if value is None:
        assert types is None or "null" in types, f"{where} is null"
    elif "properties" in shape:
        assert isinstance(value, dict), where
        unknown = set(value) - set(shape["properties"])
        missing = set(shape.get("required", ())) - set(value)
        assert not unknown, f"{where}: {unknown} is not described"
        assert not missing, f"{where}: {missing} is missing"
        for name, inner in value.items():
            assert_fits(schema, shape["properties"][name], inner, f"{where}.{name}")
    elif isinstance(value, list):
        assert "array" in types, where
        for item in value:
            assert_fits(schema, shape["items"], item, f"{where}[]")
    return None


def answer_shape(schema, path, method, status):
    return content_of(schema, schema["paths"][f"/api/v1{path}"][method]["responses"][str(status)])["schema"]


def content_of(schema, answer):
    if "$ref" in answer:
        answer = schema["components"]["responses"][answer["$ref"].split("/")[-1]]
    return next(iter(answer["content"].values()))


def test_answers_are_as_described(schema, api, tenant):
    connect_all(tenant)
    run = make_run(tenant, 2)
    with tenant_scope(tenant):
        record = Record.objects.get(run=run, position=1)
        Record.objects.filter(run=run, position=2).update(
            status="found",
            output={"email": "a@b.example", "email_status": "valid", "found_by": "x", "verified_by": None},
        )
    lane = api.get("/lanes").json()["data"][0]["id"]
    for path in ("/runs", "/lanes", "/connections", "/workflows", "/templates", "/usage", "/tenant"):
        assert_fits(schema, answer_shape(schema, path, "get", 200), api.get(path).json(), path)
    for path, address in (
        ("/runs/{run_id}", f"/runs/{run.pk}"),
        ("/runs/{run_id}/records", f"/runs/{run.pk}/records"),
        ("/runs/{run_id}/records/{record_id}", f"/runs/{run.pk}/records/{record.pk}"),
        ("/lanes/{lane_id}", f"/lanes/{lane}"),
    ):
        assert_fits(schema, answer_shape(schema, path, "get", 200), api.get(address).json(), address)
    uploaded = api.upload(CSV)
    assert_fits(schema, answer_shape(schema, "/uploads", "post", 201), uploaded.json())
    started = api.post("/runs", {"workflow": "email-waterfall", "upload": uploaded.json()["id"]})
    assert_fits(schema, answer_shape(schema, "/runs", "post", 202), started.json())
    assert_fits(schema, answer_shape(schema, "/runs", "post", 422), api.post("/runs", {}).json())


def test_description_and_documentation_are_served_from_here(db):
    answer = Client().get("/api/schema/")
    assert answer.status_code == 200
    assert b"openapi: 3.1.0" in answer.content
    page = Client().get("/api/docs/reference/").content.decode()
    assert "swagger" in page.lower()
    assert "https://" not in page
