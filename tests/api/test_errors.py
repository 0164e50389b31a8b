"""Every refusal is a problem of RFC 9457 with a stable code, whatever part of the stack refuses."""

import json

import pytest
from django.db import InterfaceError, OperationalError, connections
from django.test import Client

from tenants.operations.tenants import suspend_tenant
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import connect_all, contact, make_key, make_run
from workflows import queries
from workflows.api import runs as runs_api
from workflows.models import Run
from workflows.operations import accept_run

PROBLEM_KEYS = {"type", "title", "status", "detail", "code", "errors", "request_id"}


def assert_problem(answer, status, code):
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == PROBLEM_KEYS
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["type"] == f"urn:weir:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer["X-Request-Id"]
    assert answer["Cache-Control"] == "no-store"
    return body


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"", b"nonsense", b'{"workflow": NaN}', b"[1,]", b'\xff\xfe{"a"', b'{"a": "\xff"}', b"{'a': 1}",
        b'{"a": 1e999}', b'{"a": ' + b"9" * 5_000 + b"}", b'{"a":' * 40 + b"1" + b"}" * 40, b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=range(13),
)  # fmt: skip
def test_a_body_that_is_not_json_is_named(api, raw):
    answer = api.send("POST", "/runs", raw, Content_Type="application/json")
    if raw:
        assert_problem(answer, 400, "invalid_json")
    else:
        assert_problem(answer, 422, "invalid_input")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_body_in_another_encoding_than_utf_8_is_named(api, encoding):
    raw = '{"workflow": "Müller"}'.encode(encoding)
    for kind in ("application/json", f"application/json; charset={encoding}"):
        assert_problem(api.send("POST", "/runs", raw, Content_Type=kind), 400, "invalid_json")
    assert api.send("POST", "/runs", b'\xef\xbb\xbf{"a": 1}').json()["code"] == "invalid_input"


@pytest.mark.parametrize("lost", [OperationalError, InterfaceError])
def test_a_commit_whose_answer_is_lost_does_not_say_that_nothing_was_changed(
    committed, tenant, monkeypatch, lost
):
    connect_all(tenant)
    api, body = Api(make_key(tenant)), {"workflow": "email-waterfall", "records": [contact(1)]}
    api.get("/tenant")
    wrapper, real, accept = (
        type(connections["default"]),
        type(connections["default"])._commit,
        accept_run.accept_run,
    )
    armed: list[int] = []

    def commit(self):
        real(self)
        if armed:
            armed.clear()
            raise lost("server closed the connection unexpectedly")

    def accepting(**named):
        armed.append(1)
        return accept(**named)

    monkeypatch.setattr(wrapper, "_commit", commit)
    monkeypatch.setattr(runs_api, "accept_run", accepting)
    said = assert_problem(api.post("/runs", body), 503, "unavailable")["detail"]
    assert "not known" in said
    assert "Idempotency-Key" in said
    with tenant_scope(tenant):
        assert Run.objects.count() == 1


def test_a_database_that_goes_away_after_a_change_does_not_say_that_nothing_was_changed(
    committed, tenant, monkeypatch
):
    connect_all(tenant)
    api, run, asked = Api(make_key(tenant)), make_run(tenant), []
    real = runs_api.queries.get_run

    def get_run(*given, **options):
        asked.append(1)
        if len(asked) == 2:  # to show what came of it
            raise OperationalError("server closed the connection unexpectedly")
        return real(*given, **options)

    monkeypatch.setattr(runs_api.queries, "get_run", get_run)
    said = assert_problem(api.patch(f"/runs/{run.pk}", {"priority": 9}), 503, "unavailable")["detail"]
    assert "not known" in said
    with tenant_scope(tenant):
        assert Run.objects.get().priority == 9


@pytest.mark.parametrize("body", [[], "text", 5, None, True])
def test_a_body_that_is_no_object_is_named(api, body):
    assert_problem(api.post("/runs", body), 422, "invalid_input")


def test_another_media_type_is_named(api):
    assert_problem(
        api.send("POST", "/runs", b"a=1", Content_Type="text/plain"), 415, "unsupported_media_type"
    )
    assert_problem(
        api.send("POST", "/uploads", b"{}", Content_Type="application/json"), 415, "unsupported_media_type"
    )


def test_a_form_that_cannot_be_read_is_named(api):
    answer = api.send("POST", "/uploads", b"nonsense", Content_Type="multipart/form-data")
    assert_problem(answer, 400, "invalid_body")


def test_another_method_is_named_with_those_that_are_allowed(api):
    for method in ("DELETE", "PUT", "OPTIONS"):
        answer = api.send(method, "/runs")
        assert_problem(answer, 405, "method_not_allowed")
        assert "POST" in answer["Allow"]


@pytest.mark.parametrize(
    "path", ["/nope", "/runs/", "/runs/1", "/runs/not-a-uuid/records", "/lanes/x/pause", "/"]
)
def test_an_unknown_address_is_named(api, path):
    assert_problem(api.get(path), 404, "not_found")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(api, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    assert_problem(api.post("/runs", {"workflow": "x" * 2_000}), 413, "payload_too_large")


def test_no_key_a_wrong_key_and_a_broken_one_are_told_apart(api, tenant, db):
    for headers, code in (
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer nonsense"}, "invalid_api_key"),
        ({"Authorization": f"Bearer {api.key[:-1]}x"}, "invalid_api_key"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "invalid_api_key"),
        ({"Authorization": "Bearer"}, "invalid_api_key"),
        ({"X-API-Key": "wk_live_\u00e9"}, "invalid_api_key"),
    ):
        answer = Client().get("/api/v1/tenant", headers=headers)
        assert_problem(answer, 401, code)
        assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_key_goes_in_either_header(api):
    assert Client().get("/api/v1/tenant", headers={"X-API-Key": api.key}).status_code == 200
    assert Client().get("/api/v1/tenant", headers={"Authorization": f"bearer {api.key}"}).status_code == 200


def test_a_suspended_tenant_is_refused(tenant):
    with tenant_scope(tenant):
        suspend_tenant(actor="system:tests")
    assert_problem(Api(make_key(tenant)).get("/tenant"), 403, "tenant_suspended")


@pytest.mark.parametrize(
    ("scopes", "method", "path", "allowed"),
    [
        (["read"], "GET", "/runs", True),
        (["write"], "GET", "/runs", False),
        (["read"], "POST", "/runs", False),
        (["write"], "POST", "/runs", True),
        (["read", "write"], "POST", "/connections", False),
        (["admin"], "POST", "/connections", True),
        (["read"], "POST", "/uploads", False),
        (["read", "write"], "PATCH", "/lanes/{lane}", False),
        (["admin"], "PATCH", "/lanes/{lane}", True),
        (["read", "write"], "POST", "/lanes/{lane}/pause", False),
        (["admin"], "POST", "/lanes/{lane}/pause", True),
    ],
)
def test_a_key_does_what_its_scopes_say(tenant, scopes, method, path, allowed):
    connect_all(tenant)
    with tenant_scope(tenant):
        lane = queries.lane_views()[0].id
    answer = Api(make_key(tenant, scopes=scopes)).send(
        method, path.format(lane=lane), {} if method != "GET" else b""
    )
    if allowed:
        assert answer.status_code in (200, 422)
    else:
        assert_problem(answer, 403, "missing_scope")


def test_a_fault_of_ours_says_nothing_but_that(api_key, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(queries, "runs", broken)
    answer = Api(api_key, raises=False).get("/runs")
    body = assert_problem(answer, 500, "internal_error")
    assert "secret detail" not in json.dumps(body)


def test_a_database_that_is_away_is_a_503_to_be_tried_again(api, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("connection refused")

    monkeypatch.setattr(queries, "runs", away)
    answer = api.get("/runs")
    assert_problem(answer, 503, "unavailable")
    assert int(answer["Retry-After"]) > 0


def test_the_request_id_of_the_caller_is_kept(api):
    answer = api.get("/runs/nope", X_Request_Id="my-request-0001")
    assert answer.json()["request_id"] == answer["X-Request-Id"] == "my-request-0001"


def test_whatever_the_caller_accepts_it_gets_json(api):
    for wanted in ("application/xml", "text/html", "nonsense"):
        assert api.get("/tenant", Accept=wanted)["Content-Type"] == "application/json"


def test_pages_for_people_are_no_problems(client, db):
    answer = client.get("/no/such/page")
    assert answer.status_code == 404
    assert "problem" not in answer["Content-Type"]
