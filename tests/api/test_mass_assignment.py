"""S2: a write takes the fields that it declares and no others: every field of every model is tried on every write."""

import pytest
from django.apps import apps

from tests.api.test_schema import answer_shape, assert_fits, schema  # noqa: F401 - a fixture
from tests.client import Api
from tests.invariants.routes import every_route
from tests.invariants.test_routes_foreign_ids import BODIES
from tests.invariants.world import Rows, World

CALLS = [route for route in every_route() if route.kind == "api"]
WRITES = sorted(
    (method, r.path) for r in CALLS for method in r.permissions if method in ("POST", "PATCH", "PUT")
)
# Those without a body, and the upload, whose form takes two fields (tests/api/test_uploads.py).
BARE = {key for key in WRITES if key not in BODIES}
FIELDS = sorted(
    {
        name
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        for name in (field.name, field.attname)
    }
)
# What a log-in, a plan or an owner hangs on.
WORST = (
    "id",
    "tenant",
    "tenant_id",
    "plan",
    "status",
    "livemode",
    "scopes",
    "role",
    "is_staff",
    "digest",
    "created_by",
)


@pytest.fixture
def mine(committed):
    return World("Acme", "canary-a")


def test_there_are_writes_and_fields():
    assert len(FIELDS) > 150
    assert len(WRITES) > 15
    assert {"tenant_id", "digest", "credits_spent", "key_hash", "is_superuser", "sealed"} <= set(FIELDS)


def declared(schema, method, path):  # noqa: F811
    named = path.replace("<uuid:", "{").replace(">", "}")
    content = schema["paths"][named][method.lower()]["requestBody"]["content"]
    shape = next(iter(content.values()))["schema"]
    assert schema["components"]["schemas"][shape["$ref"].split("/")[-1]]["additionalProperties"] is False
    return set(schema["components"]["schemas"][shape["$ref"].split("/")[-1]]["properties"])


def test_no_field_that_is_not_declared_is_taken(mine, schema):  # noqa: F811
    api = Api(mine.key)
    mine.fill_every_table()
    with Rows(mine.tenant.pk, [user.pk for user in mine.people.values()]) as rows:
        before = rows.now()
        for method, path in sorted(BODIES):
            route = next(route for route in CALLS if route.path == path)
            address = route.at({name: mine.value_of(name, kind) for name, kind in route.parameters.items()})
            known = declared(schema, method, path)
            extra = [name for name in FIELDS if name not in known]
            answer = api.send(method, address, {**BODIES[method, path], **dict.fromkeys(extra, 1)})
            assert answer.status_code == 422, (method, path, answer.content[:300])
            named = {error["field"] for error in answer.json()["errors"]}
            assert len(named & set(extra)) == min(len(extra), 100), (method, path)
            for name in WORST:
                if name not in known:
                    answer = api.send(method, address, {**BODIES[method, path], name: mine.tenant.pk.hex})
                    assert answer.status_code == 422, (method, path, name)
                    assert name in {error["field"] for error in answer.json()["errors"]}, (method, path, name)
        after = rows.now()
        assert {table for table in before if before[table] != after[table]} <= {"tenants_apikey"}  # last used


def test_what_takes_no_body_is_moved_by_none(mine):
    """Fields sent to a POST without a body change nothing but what it does anyway."""
    for method, path in sorted(BARE):
        assert method == "POST", (method, path)
        assert path.rsplit("/", 1)[1] in {
            "cancel", "pause", "resume", "discard", "test", "uploads", "resend", "enable", "disable",
        }, f"{method} {path}: give it a body in BODIES (tests/invariants/test_routes_foreign_ids.py)."  # fmt: skip


def test_answers_have_the_fields_that_are_described_and_no_others(mine, schema):  # noqa: F811
    api = Api(mine.key)
    mine.fill_every_table()
    tried = 0
    for route in CALLS:
        if "GET" not in route.permissions or "results." in route.path:
            continue
        address = route.at({name: mine.value_of(name, kind) for name, kind in route.parameters.items()})
        answer = api.get(address)
        assert answer.status_code == 200, (route.path, answer.content[:200])
        named = route.path.removeprefix("/api/v1").replace("<uuid:", "{").replace(">", "}")
        assert_fits(schema, answer_shape(schema, named, "get", 200), answer.json(), route.path)
        tried += 1
    assert tried > 15
